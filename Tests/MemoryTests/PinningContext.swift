import Base
import CLinux
import FabricInterface
import Glibc
import Synchronization

/// A device that, like a real one, holds on to the pages that were mapped when memory was registered, and reads those
/// whatever is mapped there later: they are in a pipe, put there by `vmsplice`.
///
/// A registration is at most 16 pages, what a pipe holds. May be used from any thread.
final class PinningContext: FabricContext, @unchecked Sendable {
    // Unchecked: a mutex guards the regions.

    private struct Region {
        var reader: Int32
        var writer: Int32
        var start: UInt
        var bytes: Int
        var access: MemoryAccess
    }
    private struct State {
        var regions: [UInt32: Region] = [:]
        var nextKey: UInt32 = 1
        var most = 0
    }
    private let state = Mutex(State())
    private let maxRegions: Int

    init(maxRegions: Int = 1024) {
        self.maxRegions = maxRegions
        super.init()
    }

    override var domain: UInt { 1 }
    override var limits: DeviceLimits {
        DeviceLimits(
            maxQueuePairs: 1, maxWorkRequests: 1, maxCompletionQueueEntries: 1, maxSharedReceiveWorkRequests: 1,
            maxScatterGather: 1, maxScatterGatherPerRead: 1, maxMemoryRegions: maxRegions * 2, maxReadsAsInitiator: 1,
            maxReadsAsResponder: 1, maxMessageSize: 1 << 30, isIWARP: false, supportsSendWithInvalidate: false)
    }

    /// Registrations now, and the most that there were at once.
    var count: Int { state.withLock { $0.regions.count } }
    var mostAtOnce: Int { state.withLock { $0.most } }
    func access(ofKey key: UInt32) -> MemoryAccess? { state.withLock { $0.regions[key]?.access } }

    override func register(
        _ memory: UnsafeMutableRawBufferPointer, access: MemoryAccess
    ) throws(TercetError) -> MemoryRegion {
        func failure(_ code: Int32) -> TercetError { TercetError(call: "register", errno: code, reason: "\(code)") }
        if count >= maxRegions { throw failure(ENOMEM) }
        // As registration does: pages that were never touched come into being now.
        let populateWrite: Int32 = 23
        if madvise(memory.baseAddress, memory.count, populateWrite) != 0 { throw failure(EFAULT) }
        var ends: (Int32, Int32) = (-1, -1)
        let made = withUnsafeMutableBytes(of: &ends) { pipe($0.baseAddress!.assumingMemoryBound(to: Int32.self)) }
        if made != 0 { throw failure(errno) }
        var piece = iovec(iov_base: memory.baseAddress, iov_len: memory.count)
        guard vmsplice(ends.1, &piece, 1, UInt32(SPLICE_F_NONBLOCK)) == memory.count else {
            close(ends.0)
            close(ends.1)
            throw failure(EFAULT)
        }
        let region = Region(
            reader: ends.0, writer: ends.1, start: UInt(bitPattern: memory.baseAddress), bytes: memory.count,
            access: access)
        let key = state.withLock { state in
            let key = state.nextKey
            state.nextKey += 1
            state.regions[key] = region
            state.most = max(state.most, state.regions.count)
            return key
        }
        return MemoryRegion(handle: UInt(key), localKey: key, remoteKey: key)
    }

    override func deregister(_ region: MemoryRegion) {
        let gone = state.withLock { $0.regions.removeValue(forKey: UInt32(region.handle)) }
        guard let gone else { fatalError("a region is deregistered once") }
        close(gone.reader)
        close(gone.writer)
    }

    /// The bytes that the device reads through a key; `nil` if the key does not allow it.
    func read(key: UInt32, _ address: UnsafeRawPointer, _ length: Int) -> [UInt8]? {
        guard let region = state.withLock({ $0.regions[key] }), region.access.contains(.remoteRead) else { return nil }
        let offset = Int(UInt(bitPattern: address)) - Int(region.start)
        guard offset >= 0, offset + length <= region.bytes else { return nil }
        var ends: (Int32, Int32) = (-1, -1)
        let made = withUnsafeMutableBytes(of: &ends) { pipe($0.baseAddress!.assumingMemoryBound(to: Int32.self)) }
        guard made == 0 else { return nil }
        defer {
            close(ends.0)
            close(ends.1)
        }
        guard tee(region.reader, ends.1, region.bytes, UInt32(SPLICE_F_NONBLOCK)) == region.bytes else { return nil }
        var bytes = [UInt8](repeating: 0, count: region.bytes)
        guard Glibc.read(ends.0, &bytes, region.bytes) == region.bytes else { return nil }
        return Array(bytes[offset..<offset + length])
    }
}
