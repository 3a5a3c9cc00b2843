import Base
import BlockInterface
import Glibc

/// Times and faults of a simulated disk.
public struct SimulatedDiskBehaviour: Sendable {
    /// Nanoseconds of an operation, drawn anew for each.
    public var latency: ClosedRange<UInt64> = 10_000...100_000
    /// Nanoseconds that operations on these blocks take longer.
    public var slowBlocks: Range<UInt64> = 0..<0
    public var slowness: UInt64 = 0
    /// Ends each operation with this instead of doing it.
    public var failure: BlockStatus?
    /// Writes to these blocks end in `writeFault`; any part of them has been done, also of the blocks beside these.
    public var failingWrites: Range<UInt64> = 0..<0
    /// Writes to these blocks end in `capacityExceeded`; any part of them has been done.
    public var fullBlocks: Range<UInt64> = 0..<0
    /// A flush ends, and flushes nothing; a write with FUA stays in the cache. Disks that lie.
    public var ignoresFlush = false
    public var ignoresForceUnitAccess = false
    /// Of a hundred blocks that are overwritten while they are in the cache, how many have reached the media before: what a
    /// loss of power leaves is then neither the newest content nor the one that was flushed.
    public var destagedPercent = 0
    /// Operations are taken and do not end until this is false again.
    public var isStuck = false

    public init() {}
}

/// A disk of a simulated machine. Writes reach a volatile cache when they complete and the media with a flush; a loss
/// of power keeps any part of what was not flushed, block by block.
public final class SimulatedDisk: BlockDevice, @unchecked Sendable {
    // One thread drives a simulation; the protocol asks for Sendable because real devices are shared by reactors.
    public let name: String
    public let network: SimulatedNetwork
    public var behaviour = SimulatedDiskBehaviour()
    public private(set) var geometry: BlockGeometry
    public let identity = BlockIdentity()
    private var change = BlockDeviceChange.unchanged
    /// Decides what a failing write leaves, and what leaves the cache early: apart from the network's, so that a disk that does
    /// neither does not change what else happens.
    private var random: SeededRandom

    /// What a read returns, and what survives a loss of power. Blocks that were never written are zeroes.
    private var cached: UnsafeMutableRawPointer
    private var durable: UnsafeMutableRawPointer
    /// Blocks that were written and not flushed: marked, and listed in the order of their writes.
    private var isUnflushed: [Bool]
    private var unflushed: [UInt64] = []
    private var unreadable: Set<UInt64> = []
    /// Operations that have ended in `capacityExceeded`.
    public private(set) var capacityRefusals: UInt64 = 0
    private var channels: [WeakChannel] = []
    /// When the first of the operations under way may end: a simulation need not poll before.
    public internal(set) var nextCompletion = MonotonicTime.distantFuture

    private struct WeakChannel {
        weak var channel: SimulatedDiskChannel?
    }

    public init(_ name: String, network: SimulatedNetwork, blockSize: UInt32 = 512, blockCount: UInt64) {
        self.name = name
        self.network = network
        random = SeededRandom(seed: name.utf8.reduce(network.seed ^ 0x6469_736b) { $0 &* 31 &+ UInt64($1) })
        geometry = BlockGeometry(
            blockSize: blockSize, blockCount: blockCount, hasVolatileWriteCache: true, canDeallocate: true,
            deallocatedReadsZeroes: true)
        cached = calloc(Int(blockCount), Int(blockSize))
        durable = calloc(Int(blockCount), Int(blockSize))
        isUnflushed = Array(repeating: false, count: Int(blockCount))
    }

    deinit {
        free(cached)
        free(durable)
    }

    public func openChannel(depth: Int) throws(TercetError) -> BlockChannel {
        guard change != .vanished else { throw TercetError(.notFound, "\(name): the device is gone") }
        let channel = SimulatedDiskChannel(self, depth: depth)
        channels.append(WeakChannel(channel: channel))
        return channel
    }

    public func refresh() -> BlockDeviceChange {
        defer { if change == .resized { change = .unchanged } }
        return change
    }

    // MARK: What a test looks at

    /// What reads return now.
    public var contents: UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(start: cached, count: Int(geometry.byteCount))
    }

    /// What would be there after a loss of power that keeps nothing.
    public var durableContents: UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(start: durable, count: Int(geometry.byteCount))
    }

    /// Blocks that were written and not flushed.
    public var unflushedCount: Int { isUnflushed.count { $0 } }

    /// Whether a block was written and not flushed.
    public func isUnflushed(_ block: UInt64) -> Bool { isUnflushed[Int(block)] }

    /// Blocks that cannot be read.
    public var unreadableCount: Int { unreadable.count }

    // MARK: What a test does to it

    /// The device grows or shrinks; blocks beyond the end are gone, new ones hold `fill`.
    public func resize(toBlocks count: UInt64, fill: UInt8 = 0) {
        let size = Int(geometry.blockSize)
        let old = Int(geometry.blockCount)
        cached = realloc(cached, Int(count) * size)
        durable = realloc(durable, Int(count) * size)
        if Int(count) > old {
            memset(cached + old * size, Int32(fill), (Int(count) - old) * size)
            memset(durable + old * size, Int32(fill), (Int(count) - old) * size)
            isUnflushed += Array(repeating: false, count: Int(count) - old)
        } else {
            isUnflushed.removeLast(old - Int(count))
            unflushed.removeAll { $0 >= count }
        }
        geometry.blockCount = count
        change = .resized
    }

    /// The device is pulled out: everything ends in `deviceGone`.
    public func vanish() { change = .vanished }

    /// Another device is in this one's place, all zeroes.
    public func erase() {
        memset(cached, 0, Int(geometry.byteCount))
        memset(durable, 0, Int(geometry.byteCount))
        for block in unflushed { isUnflushed[Int(block)] = false }
        unflushed = []
        unreadable = []
    }

    /// Reads of this block end in `unrecoveredReadError` until it is written.
    public func makeUnreadable(_ block: UInt64) { unreadable.insert(block) }

    /// All blocks can be read again.
    public func makeReadable() { unreadable = [] }

    /// The process that used the disk has died: each block of what was running is done or not, as the seed decides, and
    /// nothing of it happens later.
    public func endOperations() {
        for weak in channels { weak.channel?.abandon() }
        channels.removeAll()
        nextCompletion = .distantFuture
    }

    /// Power is lost: each block that was written and not flushed is kept or lost, as the seed decides; what was
    /// running may have been done or not, and never ends.
    public func losePower() {
        endOperations()
        loseCache()
    }

    /// Each block that was written and not flushed is kept or lost, as the seed decides. What is running goes on.
    public func loseCache() {
        let size = Int(geometry.blockSize)
        for block in unflushed where isUnflushed[Int(block)] {
            let offset = Int(block) * size
            if Bool.random(using: &network.random) {
                memcpy(durable + offset, cached + offset, size)
            } else {
                memcpy(cached + offset, durable + offset, size)
            }
            isUnflushed[Int(block)] = false
        }
        unflushed = []
    }

    // MARK: Operations

    /// Does an operation at the moment when it ends.
    func perform(_ request: BlockRequest) -> BlockStatus {
        if change == .vanished { return .deviceGone }
        if let failure = behaviour.failure { return failure }
        guard
            request.operation == .flush || request.length == 0
                || geometry.contains(offset: request.offset, length: request.length)
        else { return .outOfRange }
        let blocks = self.blocks(of: request)
        switch request.operation {
        case .flush: if !behaviour.ignoresFlush { flush() }
        case .verify: if blocks.contains(where: unreadable.contains) { return .unrecoveredReadError }
        case .deallocate, .writeZeroes:
            return write(request, blocks, nil)
        case .write, .read, .compare, .compareAndWrite:
            guard let buffer = request.buffer else { return request.length == 0 ? .success : .internalError }
            return transfer(request, blocks, buffer)
        }
        return .success
    }

    /// Does those blocks of an operation that the seed chooses; of a flush, nothing.
    func performPartly(_ request: BlockRequest) {
        guard change != .vanished, behaviour.failure == nil,
            geometry.contains(offset: request.offset, length: request.length)
        else { return }
        let content: UnsafeMutableRawPointer?
        switch request.operation {
        case .compareAndWrite where isEqual(request): content = request.replacement
        case .write: content = request.buffer
        case .deallocate, .writeZeroes: content = nil
        case .read, .flush, .compare, .verify, .compareAndWrite: return
        }
        let blocks = blocks(of: request)
        storePart(of: blocks, content, request.flags, isFailing: writeProblem(blocks) != nil)
    }

    /// Stores those blocks of a write that chance chooses.
    private func storePart(
        of blocks: Range<UInt64>, _ content: UnsafeMutableRawPointer?, _ flags: BlockFlags,
        isFailing: Bool
    ) {
        let size = Int(geometry.blockSize)
        for (place, block) in blocks.enumerated() {
            let isDone = isFailing ? Bool.random(using: &random) : Bool.random(using: &network.random)
            if isDone { store(content.map { $0 + place * size }, block, flags) }
        }
    }

    func blocks(of request: BlockRequest) -> Range<UInt64> {
        let size = UInt64(geometry.blockSize)
        return request.offset / size..<(request.offset / size + request.length / size)
    }

    private func writeProblem(_ blocks: Range<UInt64>) -> BlockStatus? {
        if blocks.overlaps(behaviour.fullBlocks) { return .capacityExceeded }
        return blocks.overlaps(behaviour.failingWrites) ? .writeFault : nil
    }

    /// Writes `content`, or zeroes; where that fails, a part of it.
    private func write(
        _ request: BlockRequest, _ blocks: Range<UInt64>, _ content: UnsafeMutableRawPointer?
    ) -> BlockStatus {
        if let problem = writeProblem(blocks) {
            if problem == .capacityExceeded { capacityRefusals += 1 }
            storePart(of: blocks, content, request.flags, isFailing: true)
            return problem
        }
        let size = Int(geometry.blockSize)
        for (place, block) in blocks.enumerated() { store(content.map { $0 + place * size }, block, request.flags) }
        return .success
    }

    private func flush() {
        let size = Int(geometry.blockSize)
        for block in unflushed where isUnflushed[Int(block)] {
            memcpy(durable + Int(block) * size, cached + Int(block) * size, size)
            isUnflushed[Int(block)] = false
        }
        unflushed.removeAll(keepingCapacity: true)
    }

    private func transfer(
        _ request: BlockRequest, _ blocks: Range<UInt64>, _ buffer: UnsafeMutableRawPointer
    ) -> BlockStatus {
        if request.operation == .write { return write(request, blocks, buffer) }
        if !unreadable.isEmpty, blocks.contains(where: unreadable.contains) { return .unrecoveredReadError }
        switch request.operation {
        case .compare: return isEqual(request) ? .success : .compareFailure
        case .compareAndWrite:
            guard let replacement = request.replacement else { return .internalError }
            guard isEqual(request) else { return .compareFailure }
            return write(request, blocks, replacement)
        default: memcpy(buffer, cached + Int(request.offset), Int(request.length))
        }
        return .success
    }

    /// Whether a comparison finds what it expects.
    private func isEqual(_ request: BlockRequest) -> Bool {
        guard let buffer = request.buffer else { return false }
        return memcmp(buffer, cached + Int(request.offset), Int(request.length)) == 0
    }

    private func store(_ content: UnsafeMutableRawPointer?, _ block: UInt64, _ flags: BlockFlags) {
        let size = Int(geometry.blockSize)
        let place = cached + Int(block) * size
        if isUnflushed[Int(block)], behaviour.destagedPercent > 0,
            Int.random(in: 0..<100, using: &random) < behaviour.destagedPercent
        {
            memcpy(durable + Int(block) * size, place, size)
        }
        if let content { memcpy(place, content, size) } else { memset(place, 0, size) }
        if flags.contains(.forceUnitAccess), !behaviour.ignoresForceUnitAccess {
            memcpy(durable + Int(block) * size, place, size)
            isUnflushed[Int(block)] = false
        } else if !isUnflushed[Int(block)] {
            isUnflushed[Int(block)] = true
            unflushed.append(block)
        }
        if !unreadable.isEmpty { unreadable.remove(block) }
    }
}
