import Base
import BlockInterface
import Glibc

/// A disk of a simulated machine. Writes reach a volatile cache when they complete and the media with a flush; a loss
/// of power keeps any part of what was not flushed, block by block.
public final class SimulatedDisk: BlockDevice, @unchecked Sendable {
    // Unchecked: one thread drives a simulation; the protocol asks for Sendable because reactors share real devices.
    public let name: String
    public let network: SimulatedNetwork
    public var behaviour = SimulatedDiskBehaviour()
    public private(set) var geometry: BlockGeometry
    public let identity = BlockIdentity()
    private(set) var change = BlockDeviceChange.unchanged
    /// Decides what a failing write leaves, and what leaves the cache early: apart from the network's, so that a disk that does
    /// neither does not change what else happens.
    private var random: SeededRandom

    /// Contents as reads see them, and contents that survive a loss of power. Blocks that were never written are zeroes.
    private(set) var cached: UnsafeMutableRawPointer
    private(set) var durable: UnsafeMutableRawPointer
    /// Blocks that were written and not flushed: marked, and listed in the order of their writes.
    private(set) var isUnflushed: [Bool]
    private(set) var unflushed: [UInt64] = []
    /// When a block was written last, counted in writes; how many there were; and up to which of them a flush that has been
    /// submitted covers.
    private var writtenAt: [UInt64]
    private(set) var writes: UInt64 = 0
    var flushMark: UInt64 = 0
    /// Blocks that a flush which failed should have covered.
    private(set) var forgotten: [UInt64] = []
    /// The next flush or write with FUA fails.
    private var owesFailure = false
    /// When a loss of power has reverted each block, in nanoseconds.
    public private(set) var revertedAt: [UInt64]
    /// Told of each write that reaches one of these blocks.
    public var watched: Range<UInt64> = 0..<0
    public var watcher: (() -> Void)?
    private(set) var unreadable: Set<UInt64> = []
    /// Operations that have ended in `capacityExceeded`.
    public private(set) var capacityRefusals: UInt64 = 0
    /// The channels that are open; each takes itself out when it goes.
    var channels: [Unmanaged<SimulatedDiskChannel>] = []
    /// When the first of the operations under way ends, unless a channel's has changed since it was looked for.
    var nextCompletion: MonotonicTime?

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
        writtenAt = Array(repeating: 0, count: Int(blockCount))
        revertedAt = Array(repeating: 0, count: Int(blockCount))
    }

    deinit {
        free(cached)
        free(durable)
    }

    public func refresh() -> BlockDeviceChange {
        defer { if change == .resized { change = .unchanged } }
        return change
    }

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
            writtenAt += Array(repeating: 0, count: Int(count) - old)
            revertedAt += Array(repeating: 0, count: Int(count) - old)
        } else {
            isUnflushed.removeLast(old - Int(count))
            writtenAt.removeLast(old - Int(count))
            revertedAt.removeLast(old - Int(count))
            forgotten.removeAll { $0 >= count }
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
        forgotten = []
        owesFailure = false
        unreadable = []
        for block in revertedAt.indices { revertedAt[block] = network.now.nanoseconds }
    }

    /// Another drive is in this one's place: what it holds is exchanged with these contents, all of them on the media.
    public func exchange(with other: inout [UInt8]) {
        let bytes = Int(geometry.byteCount)
        let taken = [UInt8](UnsafeRawBufferPointer(start: cached, count: bytes))
        erase()
        let count = min(other.count, bytes)
        other.withUnsafeBytes { source in
            guard let start = source.baseAddress else { return }
            memcpy(cached, start, count)
            memcpy(durable, start, count)
        }
        other = taken
    }

    /// The cache could not be written back: reads find it until the power goes, no later flush covers it, and the next
    /// flush or write with FUA says so, once (Linux: errseq_t).
    public func loseWriteback() {
        guard unflushedCount > 0 else { return }
        forgetUnflushed()
        owesFailure = true
    }

    /// Reads of this block end in `unrecoveredReadError` until it is written.
    public func makeUnreadable(_ block: UInt64) { unreadable.insert(block) }

    /// All blocks can be read again.
    public func makeReadable() { unreadable = [] }

    /// The process that used the disk has died: each block of what was running is done or not, as the seed decides, and
    /// nothing of it happens later.
    public func endOperations() {
        for channel in channels { channel.takeUnretainedValue().abandon() }
        channels.removeAll()
        nextCompletion = nil
    }

    /// Power is lost: each block that was written and not flushed is kept or lost, as the seed decides; what was
    /// running may have been done or not, and never ends.
    public func losePower() {
        endOperations()
        loseCache()
    }

    /// The drive is taken out. What is running may have been done or not, and fails: nothing of it happens when the drive is back.
    public func takeOut() {
        for channel in channels { channel.takeUnretainedValue().failAll() }
        behaviour.failure = .deviceGone
        loseCache()
    }

    /// Each block that was written and not flushed is kept or lost, as the seed decides.
    private func loseCache() {
        let size = Int(geometry.blockSize)
        for block in unflushed where isUnflushed[Int(block)] {
            let offset = Int(block) * size
            if behaviour.tearing.contains(block), Int.random(in: 0..<4, using: &random) == 0 {
                let kept = Int.random(in: 0..<size / 8, using: &random) * 8
                memcpy(durable + offset, cached + offset, kept)
                revert(block)
            } else if Bool.random(using: &network.random) {
                memcpy(durable + offset, cached + offset, size)
            } else {
                revert(block)
            }
            isUnflushed[Int(block)] = false
        }
        unflushed = []
        for block in forgotten { revert(block) }
        forgotten = []
    }

    private func revert(_ block: UInt64) {
        let offset = Int(block) * Int(geometry.blockSize)
        memcpy(cached + offset, durable + offset, Int(geometry.blockSize))
        revertedAt[Int(block)] = network.now.nanoseconds
    }

    // MARK: Operations

    /// Does an operation at the moment when it ends.
    ///
    /// - Parameter mark: the writes that had completed when it was submitted.
    func perform(_ request: BlockRequest, mark: UInt64) -> BlockStatus {
        if change == .vanished { return .deviceGone }
        if let failure = behaviour.failure { return failure }
        guard
            request.operation == .flush || request.length == 0
                || geometry.contains(offset: request.offset, length: request.length)
        else { return .outOfRange }
        let blocks = self.blocks(of: request)
        switch request.operation {
        case .flush: return flush(upTo: behaviour.flushIsStrict ? mark : writes)
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

    /// How much longer an operation takes than others.
    func drawTail() -> UInt64 {
        guard behaviour.tailRarity > 0, random.next() % behaviour.tailRarity == 0 else { return 0 }
        return UInt64.random(in: behaviour.tail, using: &random)
    }

    /// Stores those blocks of a write that chance chooses.
    private func storePart(
        of blocks: Range<UInt64>, _ content: UnsafeMutableRawPointer?, _ flags: BlockFlags,
        isFailing: Bool
    ) {
        let size = Int(geometry.blockSize)
        for (place, block) in blocks.enumerated() {
            let isDone = isFailing ? Bool.random(using: &random) : Bool.random(using: &network.random)
            guard isDone else { continue }
            var length = size
            if behaviour.tearing.contains(block), Int.random(in: 0..<4, using: &random) == 0 {
                length = Int.random(in: 0..<size / 8, using: &random) * 8
            }
            store(content.map { $0 + place * size }, block, flags, length: length)
        }
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
        if owesFailure, request.flags.contains(.forceUnitAccess) {
            owesFailure = false
            storePart(of: blocks, content, [], isFailing: true)
            return .writeFault
        }
        if let content {
            if isChosen(behaviour.droppedWriteRarity) { return .success }
            if isChosen(behaviour.repeatedWriteRarity) { storeAgain(blocks, content) }
        } else if behaviour.forgetsZeroes {
            return .success
        }
        let size = Int(geometry.blockSize)
        let blocks = behaviour.writesEndShort && blocks.count > 1 ? blocks.dropLast() : blocks
        let isMisdirected =
            isChosen(behaviour.misdirectedWriteRarity)
        for (place, block) in blocks.enumerated() {
            let reached = isMisdirected && block + 1 < geometry.blockCount ? block + 1 : block
            store(content.map { $0 + place * size }, reached, request.flags)
        }
        return .success
    }

    /// Whether chance chooses one operation in so many.
    private func isChosen(_ rarity: UInt64) -> Bool { rarity > 0 && random.next() % rarity == 0 }

    /// Does a write once more, later.
    private func storeAgain(_ blocks: Range<UInt64>, _ content: UnsafeMutableRawPointer) {
        let size = Int(geometry.blockSize)
        let kept = [UInt8](UnsafeRawBufferPointer(start: content, count: blocks.count * size))
        network.schedule(afterNanoseconds: behaviour.repetitionDelayNanoseconds) { [weak self] in
            var bytes = kept
            bytes.withUnsafeMutableBytes { bytes in
                guard let self, let start = bytes.baseAddress, blocks.upperBound <= self.geometry.blockCount else {
                    return
                }
                for (place, block) in blocks.enumerated() { self.store(start + place * size, block, []) }
            }
        }
    }

    private func flush(upTo mark: UInt64) -> BlockStatus {
        if behaviour.ignoresFlush { return .success }
        let size = Int(geometry.blockSize)
        if let failure = behaviour.failedFlush {
            if failure == .forgotten { forgetUnflushed() }
            return .writeFault
        }
        if owesFailure {
            owesFailure = false
            return .writeFault
        }
        for block in unflushed.prefix(behaviour.flushCapacity)
        where isUnflushed[Int(block)] && writtenAt[Int(block)] <= mark {
            memcpy(durable + Int(block) * size, cached + Int(block) * size, size)
            isUnflushed[Int(block)] = false
        }
        if mark == writes, unflushed.count <= behaviour.flushCapacity {
            unflushed.removeAll(keepingCapacity: true)
        } else {
            unflushed.removeAll { !isUnflushed[Int($0)] }
        }
        return .success
    }

    private func forgetUnflushed() {
        for block in unflushed where isUnflushed[Int(block)] {
            isUnflushed[Int(block)] = false
            forgotten.append(block)
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
        default:
            memcpy(buffer, cached + Int(request.offset), Int(request.length))
            if blocks.overlaps(behaviour.misreading) { misread(blocks, buffer) }
        }
        return .success
    }

    private func store(
        _ content: UnsafeMutableRawPointer?, _ block: UInt64, _ flags: BlockFlags, length: Int? = nil
    ) {
        let size = Int(geometry.blockSize)
        let place = cached + Int(block) * size
        if isUnflushed[Int(block)] {
            // A flush under way has what it covers on the media when it ends, whatever overwrites it meanwhile.
            let isCovered = behaviour.flushIsStrict && writtenAt[Int(block)] <= flushMark
            let isDestaged =
                behaviour.destagedPercent > 0 && Int.random(in: 0..<100, using: &random) < behaviour.destagedPercent
            if isCovered || isDestaged { memcpy(durable + Int(block) * size, place, size) }
        }
        writes += 1
        writtenAt[Int(block)] = writes
        if let content {
            memcpy(place, content, length ?? size)
        } else {
            memset(place, behaviour.zeroesAreNotZero ? 0xFF : 0, length ?? size)
        }
        if let watcher, watched.contains(block) { watcher() }
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
