import Base
import NVMeInitiator
import Replication

/// The volume's life and its I/O as `async` calls, for the control plane and for tools; usable from anywhere.
extension Volume {
    /// Begins to attach; the observer hears of the phases, and of what it waits for.
    public func attach(nonce: UInt32) {
        group.send { self.engine.attach(nonce: nonce, now: self.group.now) }
    }

    /// Begins to detach: drains, flushes, marks clean, releases. The observer hears of `detached` at the end. Where the volume
    /// is not served, or has to recover on the way, it is detached as soon as it can be.
    public func detach(leavesReservations: Bool = false) {
        group.send { self.beginDetach(leavesReservations: leavesReservations) }
    }

    /// Lets the volume go without making it clean: as if this process had died, but in order.
    public func abandon() {
        group.send { self.engine.abandon(now: self.group.now) }
    }

    /// Whether all connections to members have ended, and with them all use of memory.
    public func hasDisconnected() async -> Bool { await group.run { self.isDisconnected } }

    /// The state of the volume and its members.
    public func status() async -> VolumeStatusReport { await group.run { self.engine.status } }

    /// Whether a detach now would leave this host's reservations at the members, so that a host which has just been fenced
    /// cannot write.
    public func keepsReservations() async -> Bool { await group.run { self.engine.keepsReservations } }

    /// Counts since the attach.
    public func statistics() async -> VolumeStatistics { await group.run { self.engine.statistics } }

    /// How many I/Os of its users have ended.
    package var ended: UInt64 { load.ended }

    /// The load on the volume and its members.
    public func currentLoad() async -> VolumeLoad {
        await group.run {
            VolumeLoad(
                users: self.load.users, ended: self.load.ended, underWay: self.usersRunning,
                members: self.links.map { link in
                    VolumeLoad.Member(commands: link.completed, underWay: link.outstanding)
                }, statistics: self.engine.statistics, status: self.engine.status)
        }
    }

    /// Size and regions; meaningful while the volume is served.
    public func geometry() async -> VolumeGeometry { await group.run { self.engine.geometry } }

    public func pauseResync() { group.send { self.engine.pauseResync() } }

    public func resumeResync() { group.send { self.engine.resumeResync() } }

    /// Bytes per second that resync may copy; 0 for no limit. Regions that a read waits for are copied at once.
    public func setResyncRate(_ bytesPerSecond: UInt64) {
        group.send { self.engine.setResyncRate(bytesPerSecond) }
    }

    /// Compares the members in the background; the observer hears of differences and of the end.
    public func startScrub() { group.send { self.engine.startScrub() } }

    /// Declares `source` right for a region in which a scrub found members to differ, and has the others repaired.
    public func repairRegion(_ region: RegionIndex, from source: MemberIndex) {
        group.send { self.engine.repairRegion(region, from: source, now: self.group.now) }
    }

    /// Puts the namespace at `address` in a member's place; everything is copied to it while the volume is served. False
    /// where no other member is in sync, where the volume is not served, or where the namespace is one of its others.
    ///
    /// - Parameter uuid: what the namespace is known by.
    public func replaceMember(
        _ member: MemberIndex, with address: MemberAddress, uuid: UUIDBytes
    ) async -> Bool {
        await group.run {
            self.giveUpConnecting(self.links[member])
            guard self.engine.replaceMember(member, uuid: uuid, now: self.group.now) else { return false }
            self.links[member].address = address
            self.links[member].run = 0
            self.links[member].controllerID = nil
            return true
        }
    }

    /// Enlarges the volume after its namespaces have grown; the observer hears `grown` or `growFailed`. False where a
    /// member is not in sync, or has not grown by enough.
    public func grow(dataBlocks: UInt64) async -> Bool {
        await group.run { self.engine.grow(dataBlocks: dataBlocks, now: self.group.now) }
    }

    public func stopScrub() { group.send { self.engine.stopScrub() } }

    /// Memory for I/O, or `nil` when none is left.
    public func allocate(_ bytes: Int) async -> VolumeBuffer? {
        await group.run { self.memory.allocate(bytes).map { VolumeBuffer(pointer: $0, byteCount: bytes) } }
    }

    /// Gives memory back.
    public func free(_ buffer: VolumeBuffer) {
        group.send { self.memory.free(buffer.pointer) }
    }

    /// Detaches, now or as soon as the volume is served again.
    func beginDetach(leavesReservations: Bool) {
        self.leavesReservations = leavesReservations
        detachIfAsked(now: group.now)
    }

    func detachIfAsked(now: MonotonicTime) {
        guard let leavesReservations else { return }
        _ = engine.detach(now: now, leavesReservations: leavesReservations)
    }
}

/// Memory that a volume gave out.
public struct VolumeBuffer: @unchecked Sendable {
    // Unchecked: its holder alone uses the memory.
    public let pointer: UnsafeMutableRawPointer
    public let byteCount: Int
}
