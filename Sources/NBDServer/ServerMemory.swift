import Base
import BlockInterface
import Buffers
import CLinux
import Glibc

/// A server's memory for data on its way, and what calls to the system and to devices need besides. One thread uses it.
final class ServerMemory {
    let memory: UnsafeMutableRawBufferPointer
    private let pool: DataPool

    init(bytes: Int) throws(TercetError) {
        let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
        guard let address = mmap(nil, bytes, PROT_READ | PROT_WRITE, flags, -1, 0), address != MAP_FAILED else {
            throw TercetError(.init(errno: errno), "\(bytes) bytes of memory for NBD could not be had")
        }
        memory = UnsafeMutableRawBufferPointer(start: address, count: bytes)
        pool = DataPool(memory, reservedBytes: 0)
    }

    deinit { munmap(memory.baseAddress, memory.count) }

    var count: Int { memory.count }

    /// `nil` where no memory is free now.
    @inline(__always)
    func allocate(_ bytes: Int) -> UnsafeMutableRawPointer? { pool.allocate(bytes, priority: .io) }

    @inline(__always)
    func free(_ buffer: UnsafeMutableRawPointer) { pool.free(buffer) }
}

/// Arrays for calls that many connections make one after the other.
struct CallMemory {
    static let capacity = 64
    let requests = UnsafeMutablePointer<BlockRequest>.allocate(capacity: capacity)
    let completions = UnsafeMutablePointer<BlockCompletion>.allocate(capacity: capacity)
    let vectors = UnsafeMutablePointer<iovec>.allocate(capacity: 2 * capacity)
    let events = UnsafeMutablePointer<epoll_event>.allocate(capacity: capacity)

    func deallocate() {
        requests.deallocate()
        completions.deallocate()
        vectors.deallocate()
        events.deallocate()
    }
}
