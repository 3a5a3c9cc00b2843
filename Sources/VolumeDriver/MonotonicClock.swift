import Glibc

/// The machine's `CLOCK_MONOTONIC`, which runs from its start.
enum MonotonicClock {
    /// Another number after each start of a machine: half of Linux's random boot identifier (`/proc/sys/kernel/random/boot_id`).
    /// 0 where that cannot be read.
    static var identity: UInt64 {
        guard let file = fopen("/proc/sys/kernel/random/boot_id", "re") else { return 0 }
        defer { fclose(file) }
        var text = [CChar](repeating: 0, count: 64)
        guard fgets(&text, Int32(text.count), file) != nil else { return 0 }
        let digits = text.compactMap { Character(Unicode.Scalar(UInt8(bitPattern: $0))).hexDigitValue }
        return digits.count == 32 ? digits.prefix(16).reduce(0) { $0 << 4 | UInt64($1) } : 0
    }
}
