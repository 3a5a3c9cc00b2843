import Base
import Glibc

/// Memory for the data of a queue's requests: a place for each. It outlives its queue, because a device may have it registered.
public final class UblkMemory: @unchecked Sendable {
    // Unchecked: it is the memory of one queue at a time, on that queue's thread.

    let bytes: UnsafeMutableRawBufferPointer

    public init() throws(TercetError) {
        let count = UblkQueue.depth * UblkQueue.longestRequest
        let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
        guard let address = mmap(nil, count, PROT_READ | PROT_WRITE, flags, -1, 0), address != MAP_FAILED else {
            throw TercetError(.init(errno: errno), "\(count) bytes of memory for a ublk device could not be had")
        }
        bytes = UnsafeMutableRawBufferPointer(start: address, count: count)
    }

    deinit { munmap(bytes.baseAddress, bytes.count) }

    /// The place of a request.
    func place(_ tag: Int) -> UnsafeMutableRawPointer? { bytes.baseAddress.map { $0 + tag * UblkQueue.longestRequest } }
}
