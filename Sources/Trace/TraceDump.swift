import CLinux
import Glibc
import Synchronization

/// Writes the rings of the process to a file, in a signal handler too: it allocates nothing and takes no lock.
///
/// The file: `TraceFileHeader`; for each ring its name (32 bytes), its capacity, how many entries had been recorded, the
/// entries, and how many had been recorded after they were written. Numbers are as they are in memory.
public enum TraceDump {
    /// The path of a dump up to its number, with room for the rest; set once.
    private nonisolated(unsafe) static var path = UnsafeMutableBufferPointer<CChar>(start: nil, count: 0)
    private nonisolated(unsafe) static var prefixBytes = 0
    private static let count = Atomic<UInt32>(0)

    /// Says if dumps go: FOLDER/PROGRAM-PROCESS-NUMBER.trace. Called once, before threads are started.
    public static func prepare(program: String, folder: String) {
        let prefix = "\(folder)/\(program)-\(getpid())-".utf8CString.dropLast()
        path = .allocate(capacity: prefix.count + 24)
        path.initialize(repeating: 0)
        for (place, character) in prefix.enumerated() { path[place] = character }
        prefixBytes = prefix.count
        _ = TraceRegistry.shared
    }

    /// The folder for files that live a while: TMPDIR, else /var/tmp.
    public static var temporaryFolder: String { getenv("TMPDIR").map { String(cString: $0) } ?? "/var/tmp" }

    /// Writes all rings to a new file, which only the user may read, and calls `body` with its path. One call at a time.
    ///
    /// - Returns: 0, or the error number if the file cannot be written.
    @discardableResult
    public static func write(_ body: (UnsafePointer<CChar>) -> Void) -> Int32 {
        guard let start = path.baseAddress else { return ENOENT }
        let number = count.add(1, ordering: .relaxed).newValue
        append(number, at: prefixBytes)
        let descriptor = open(start, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { return errno }
        var header = TraceFileHeader()
        var isWritten = withUnsafeBytes(of: &header) { writeAll($0, to: descriptor) }
        TraceRegistry.shared.forEach { trace, name in
            guard isWritten else { return }
            isWritten = writeAll(UnsafeRawBufferPointer(start: name, count: TraceRegistry.nameBytes), to: descriptor)
            var before = (UInt64(trace.capacity), trace.head.pointee.position.load(ordering: .acquiring))
            isWritten = isWritten && withUnsafeBytes(of: &before) { writeAll($0, to: descriptor) }
            isWritten = isWritten && trace.withBytes { writeAll($0, to: descriptor) }
            var after = trace.head.pointee.position.load(ordering: .acquiring)
            isWritten = isWritten && withUnsafeBytes(of: &after) { writeAll($0, to: descriptor) }
        }
        let failure = isWritten ? 0 : errno
        close(descriptor)
        if failure == 0 { body(start) }
        return failure
    }

    /// Writes "NUMBER.trace" at a place of the path.
    private static func append(_ number: UInt32, at start: Int) {
        var digits = 1
        var rest = number
        while rest > 9 {
            rest /= 10
            digits += 1
        }
        rest = number
        for place in (0..<digits).reversed() {
            path[start + place] = CChar(48 + rest % 10)
            rest /= 10
        }
        var end = start + digits
        let suffix: StaticString = ".trace"
        for place in 0..<suffix.utf8CodeUnitCount {
            path[end] = CChar(suffix.utf8Start[place])
            end += 1
        }
        path[end] = 0
    }

    private static func writeAll(_ bytes: UnsafeRawBufferPointer, to descriptor: Int32) -> Bool {
        var done = 0
        while done < bytes.count {
            let count = Glibc.write(descriptor, bytes.baseAddress! + done, bytes.count - done)
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { return false }
            done += count
        }
        return true
    }
}

/// The beginning of a dump.
struct TraceFileHeader: BitwiseCopyable {
    static let signature: UInt64 = 0x4543_4152_5454_4354  // "TCTTRACE" in memory
    static let currentVersion: UInt32 = 1

    var magic = signature
    var version = currentVersion
    var process = UInt32(bitPattern: getpid())
    /// The time of the dump: since 1970, and as the rings tell it.
    var wallNanoseconds = Self.clock(CLOCK_REALTIME)
    var monotonicNanoseconds = Self.clock(CLOCK_MONOTONIC)

    private static func clock(_ clock: clockid_t) -> UInt64 {
        var time = timespec()
        clock_gettime(clock, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }
}
