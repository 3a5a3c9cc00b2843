import BlockInterface
import Glibc

/// Zeroes that every null device of the process lends: a read of one moves no memory but by the fabric, and its bytes stay in the
/// processor's cache.
enum Zeroes {
    /// No read of a larger range borrows. A huge page.
    private static let byteCount = 2 << 20

    /// Nobody writes there. It is writable, because the kernel registers memory for sending in the same way as for receiving.
    private nonisolated(unsafe) static let memory: UnsafeMutableRawBufferPointer? = {
        let address = mmap(nil, byteCount, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        guard let address, address != MAP_FAILED else { return nil }
        return UnsafeMutableRawBufferPointer(start: address, count: byteCount)
    }()

    /// So many zeroes; `nil` where there are not as many, or the system gave no memory.
    static func lend(_ length: UInt64) -> LentMemory? {
        guard length <= UInt64(byteCount), let memory, let start = memory.baseAddress else { return nil }
        return LentMemory(start: start, region: memory)
    }
}
