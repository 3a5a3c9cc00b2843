import Base
import BlockInterface
import Glibc

/// Times and faults of a simulated disk.
public struct SimulatedDiskBehaviour: Sendable {
    /// Nanoseconds of an operation, drawn anew for each.
    public var latency: ClosedRange<UInt64> = 10_000...100_000
    /// Ends each operation with this instead of doing it.
    public var failure: BlockStatus?
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

    /// What a read returns, and what survives a loss of power. Blocks that were never written are zeroes.
    private var cached: [UInt64: [UInt8]] = [:]
    private var durable: [UInt64: [UInt8]] = [:]
    private var unreadable: Set<UInt64> = []
    private var channels: [WeakChannel] = []

    private struct WeakChannel {
        weak var channel: SimulatedDiskChannel?
    }

    public init(_ name: String, network: SimulatedNetwork, blockSize: UInt32 = 512, blockCount: UInt64) {
        self.name = name
        self.network = network
        geometry = BlockGeometry(
            blockSize: blockSize, blockCount: blockCount, hasVolatileWriteCache: true, canDeallocate: true,
            deallocatedReadsZeroes: true)
    }

    public func openChannel(depth: Int) throws(BlockDeviceError) -> BlockChannel {
        guard change != .vanished else { throw BlockDeviceError("\(name): the device is gone") }
        let channel = SimulatedDiskChannel(self, depth: depth)
        channels.append(WeakChannel(channel: channel))
        return channel
    }

    public func refresh() -> BlockDeviceChange {
        defer { if change == .resized { change = .unchanged } }
        return change
    }

    // MARK: What a test does to it

    /// The device grows or shrinks; blocks beyond the end are gone.
    public func resize(toBlocks count: UInt64) {
        geometry.blockCount = count
        cached = cached.filter { $0.key < count }
        durable = durable.filter { $0.key < count }
        change = .resized
    }

    /// The device is pulled out: everything ends in `deviceGone`.
    public func vanish() { change = .vanished }

    /// Reads of this block end in `unrecoveredReadError` until it is written.
    public func makeUnreadable(_ block: UInt64) { unreadable.insert(block) }

    /// Power is lost: each block that was written and not flushed is kept or lost, as the seed decides; what was
    /// running may have been done or not, and never ends.
    public func losePower() {
        for weak in channels { weak.channel?.losePower() }
        channels.removeAll()
        for block in Set(cached.keys).union(durable.keys).sorted() where cached[block] != durable[block] {
            if Bool.random(using: &network.random) { durable[block] = cached[block] }
        }
        cached = durable
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
        let size = UInt64(geometry.blockSize)
        let blocks = request.offset / size..<(request.offset / size + request.length / size)
        switch request.operation {
        case .flush: durable = cached
        case .verify: if blocks.contains(where: unreadable.contains) { return .unrecoveredReadError }
        case .deallocate, .writeZeroes:
            for block in blocks { store(nil, block, request.flags) }
        case .write, .read, .compare:
            guard let buffer = request.buffer else { return request.length == 0 ? .success : .internalError }
            return transfer(request, blocks, buffer)
        }
        return .success
    }

    private func transfer(
        _ request: BlockRequest, _ blocks: Range<UInt64>, _ buffer: UnsafeMutableRawPointer
    ) -> BlockStatus {
        let size = Int(geometry.blockSize)
        for block in blocks {
            let memory = UnsafeMutableRawBufferPointer(
                start: buffer + Int(block - blocks.lowerBound) * size, count: size)
            if request.operation == .write {
                store(Array(memory), block, request.flags)
                continue
            }
            if unreadable.contains(block) { return .unrecoveredReadError }
            let content = cached[block]
            if request.operation == .compare {
                let isEqual =
                    content.map { memcmp(memory.baseAddress!, $0, size) == 0 } ?? memory.allSatisfy { $0 == 0 }
                if !isEqual { return .compareFailure }
            } else if let content {
                memory.copyBytes(from: content)
            } else {
                memory.initializeMemory(as: UInt8.self, repeating: 0)
            }
        }
        return .success
    }

    private func store(_ content: [UInt8]?, _ block: UInt64, _ flags: BlockFlags) {
        cached[block] = content
        if flags.contains(.forceUnitAccess) { durable[block] = content }
        unreadable.remove(block)
    }
}
