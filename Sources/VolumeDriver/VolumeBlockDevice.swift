import Base
import BlockInterface
import NVMeInitiator
import Reactor
import Replication
import Synchronization

/// An attached volume as a block device: a target serves it to hosts, and any other server to its clients, from any reactor.
///
/// A flush, and a write with FUA, end when what they promise is durable on every member in sync. While too few members can be
/// reached, I/O waits, or ends in `unavailable` where the volume is set to fail then; once another host has taken the volume
/// over it ends in `fenced`.
public final class VolumeBlockDevice: BlockDevice {
    /// The use that the volume is of now.
    public enum Availability: Sendable {
        case serving
        /// Too few members can be reached, or it recovers: later it is served again.
        case unavailable
        /// Another host has it, or it was detached.
        case fenced
    }

    public let name: String
    public let identity: BlockIdentity
    private let volume: Volume
    /// Wakes the volume's reactor.
    let bell: Doorbell
    /// A verify reads into this, and nobody looks at it.
    private let scratch: VolumeBuffer?

    private struct State {
        var geometry: BlockGeometry
        var isResized = false
        var availability = Availability.serving
        var observer: (@Sendable (Availability) -> Void)?
        var inlets: [VolumeInlet] = []
        /// I/Os that channels which are closed have copied.
        var copiedBefore: UInt64 = 0
        var known: KnownContents
    }
    private let state: Mutex<State>

    /// On the group's thread, once the volume has been served.
    ///
    /// - Parameter share: what the volumes of the group have in common, where they compete.
    package init(_ volume: Volume, share: FairShare? = nil) {
        self.volume = volume
        let configuration = volume.options.configuration
        name = "volume \(configuration.volume)"
        identity = BlockIdentity(uuid: configuration.volume.bytes)
        bell = volume.openDoor()
        let length = Int(volume.longestTransferBytes)
        scratch = volume.memory.allocate(length).map { VolumeBuffer(pointer: $0, byteCount: length) }
        // If the attachment before ended with a clean detach, changes since then are changes since this attach.
        let known = KnownContents(
            byteCount: volume.byteCount, regionSize: volume.regionSize,
            isBlank: volume.engine.contents == .blank, isChanged: !volume.engine.wasClean)
        volume.door.known = known
        volume.door.gate = VolumeGate(share)
        state = Mutex(
            State(
                geometry: Self.geometry(blockSize: configuration.blockSize, blocks: volume.dataBlocks),
                known: known))
        volume.changed = { [weak self] in self?.note() }
        note()
    }

    static func geometry(blockSize: UInt32, blocks: UInt64) -> BlockGeometry {
        BlockGeometry(
            blockSize: blockSize, blockCount: blocks,
            // Members may have one, and do not say so of each write.
            hasVolatileWriteCache: true, memoryAlignment: 4, canDeallocate: true, deallocatedReadsZeroes: true)
    }

    public var geometry: BlockGeometry { state.withLock { $0.geometry } }

    public var availability: Availability { state.withLock { $0.availability } }

    /// Hears of each change of `availability`, on the group's thread; a server tells its clients, in ANA states for one.
    public func observeAvailability(_ observer: @escaping @Sendable (Availability) -> Void) {
        state.withLock { $0.observer = observer }
    }

    /// I/Os whose data was copied, because their memory had not been announced or could not be registered.
    public var copiedCount: UInt64 { state.withLock { $0.copiedBefore + $0.inlets.map(\.copiedCount).reduce(0, +) } }

    public func openChannel(depth: Int) throws(TercetError) -> BlockChannel {
        try openChannel(depth: depth, for: .program)
    }

    public func openChannel(depth: Int, for user: BlockUser) throws(TercetError) -> BlockChannel {
        let inlet = VolumeInlet(depth: depth, user: user)
        state.withLock { $0.inlets.append(inlet) }
        let (volume, scratch) = (volume, scratch)
        volume.group.send { volume.add(inlet, scratch: scratch?.pointer) }
        return ForwardedChannel(inlet, self, depth: depth)
    }

    public func refresh() -> BlockDeviceChange {
        state.withLock { state in
            defer { state.isResized = false }
            return state.isResized ? .resized : .unchanged
        }
    }

    public func extent(at offset: UInt64, length: UInt64) -> BlockExtent {
        state.withLock { $0.known }.extent(at: offset, length: length)
    }

    /// The limits that its users keep to.
    public func limits() async -> VolumeLimits { await volume.group.run { self.volume.door.gate.limits } }

    /// Gives its users other limits; I/O that has begun is not concerned.
    public func change(_ limits: VolumeLimits) { volume.group.send { self.volume.door.gate.change(limits) } }

    func announce(_ memory: UnsafeMutableRawBufferPointer, by inlet: VolumeInlet) {
        guard let start = memory.baseAddress else { return }
        let area = VolumeBuffer(pointer: start, byteCount: memory.count)
        volume.group.send { inlet.announce(UnsafeMutableRawBufferPointer(start: area.pointer, count: area.byteCount)) }
    }

    func close(_ inlet: VolumeInlet) {
        state.withLock { state in
            state.copiedBefore += inlet.copiedCount
            state.inlets.removeAll { $0 === inlet }
        }
        inlet.isClosed.store(true, ordering: .releasing)
        bell.ring()
    }

    /// Looks at what has become of the volume. On the group's thread.
    func note() {
        let now: Availability =
            switch volume.currentPhase {
            case .serving: .serving
            case .suspended, .recovering, .attaching: .unavailable
            case .detaching, .detached, .deposed: .fenced
            }
        let observer = state.withLock { state in
            if volume.dataBlocks != state.geometry.blockCount {
                state.geometry.blockCount = volume.dataBlocks
                state.isResized = true
                state.known = state.known.grown(to: volume.byteCount)
                volume.door.known = state.known
            }
            let isChanged = state.availability != now
            state.availability = now
            return isChanged ? state.observer : nil
        }
        observer?(now)
    }
}

extension VolumeAttachment {
    /// The volume as a block device. Its channels are to be closed before the volume is detached.
    ///
    /// - Parameter share: what the volumes of the group have in common, where they compete.
    public func blockDevice(share: FairShare? = nil) async -> VolumeBlockDevice {
        await group.onExecutor { VolumeBlockDevice(self.volume, share: share) }
    }
}
