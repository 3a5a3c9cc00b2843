import Base
import BlockInterface
import Glibc
import Replication
import Simulation
import Synchronization
import Testing
import VolumeDriver

@testable import NVMeTarget
@testable import VolumeSimulation

extension Profile {
    /// Three good targets and a good network: only what a test does goes wrong, and only what it asks for is read and written.
    static var scripted: Profile {
        var profile = Profile()
        profile.operations = 0
        profile.faults = []
        profile.dataBlocks = 100
        // 200 blocks in all.
        profile.makes = profile.makes.map { make in
            var make = make
            make.extraBlocks = 200 - profile.memberBlocks(0)
            return make
        }
        profile.keepAliveMilliseconds = 1000
        profile.slowMargin = 20_000_000
        profile.slowDuration = 50_000_000
        return profile
    }
}

/// A world in which only what the test says goes wrong.
final class Scenario {
    let world: VolumeWorld
    private var heard: [Int: [VolumeNotice]] = [:]
    private(set) var attachError: AttachError?

    /// - Parameter change: how the world differs from one in which all is well.
    init(seed: UInt64 = 1, fault: DeliberateFault = .none, _ change: (inout Profile) -> Void = { _ in }) {
        var profile = Profile.scripted
        profile.deliberateFault = fault
        change(&profile)
        // For whoever looks for a fault: the world's history, as `tercet-simulate --trace` prints it.
        let trace: ((String) -> Void)? = getenv("TERCET_TRACE") == nil ? nil : { print($0) }
        world = VolumeWorld(seed: seed, profile: profile, schedule: [], trace: trace)
        // A test says itself how its I/O is to end.
        world.silenced = [.unexplainedError]
        for target in world.targets { target.start() }
    }

    deinit { world.close() }

    /// The initiator that began last.
    var initiator: InitiatorProcess { world.initiators.last! }
    var targets: [TargetMachine] { world.targets }
    var status: VolumeStatusReport { initiator.engine.status }
    /// Nanoseconds of the world's time.
    var now: UInt64 { world.network.now.nanoseconds }
    /// The notices of the initiator that began last.
    var notices: [VolumeNotice] { notices(of: initiator) }

    func notices(of initiator: InitiatorProcess) -> [VolumeNotice] { heard[initiator.number] ?? [] }

    // MARK: Time

    /// Lets time pass until the condition holds; false after `milliseconds`.
    func reaches(within milliseconds: UInt64 = 3000, _ condition: () -> Bool) -> Bool {
        world.run(until: world.network.now.advanced(byNanoseconds: milliseconds * 1_000_000), condition) || condition()
    }

    func wait(microseconds: UInt64) {
        world.run(until: world.network.now.advanced(byNanoseconds: microseconds * 1000)) { false }
    }

    /// Does something later.
    func after(milliseconds: UInt64, _ body: @escaping () -> Void) {
        world.network.schedule(afterNanoseconds: milliseconds * 1_000_000, body)
    }

    // MARK: Initiators

    /// Begins an initiator.
    func startInitiator() {
        world.startInitiator()
        let initiator = initiator
        let observe = initiator.observe
        initiator.observe = { [unowned self, unowned initiator] event in
            switch event {
            case .notice(let notice): heard[initiator.number, default: []].append(notice)
            case .attachFailed(let error): attachError = error
            case .phase, .memberUnreachable: break
            }
            observe?(event)
        }
    }

    /// Begins an initiator, and waits until it serves.
    func attach() -> Bool {
        startInitiator()
        return reaches { initiator.isServing }
    }

    func detach() -> Bool {
        let initiator = initiator
        world.isFinished = true
        defer { world.isFinished = false }
        guard initiator.engine.detach(now: initiator.now) else { return false }
        return reaches { !initiator.isAlive } && initiator.phase == .detached
    }

    /// The machine of the last initiator loses its power.
    func crashInitiator() {
        world.end(initiator, isSilent: true)
        world.checkCoverage("an initiator crashed")
    }

    /// Heals everything and returns what is wrong then.
    func ending() -> String? {
        if world.failure == nil { world.heal() }
        return world.failure
    }

    /// An operator asks for a larger volume until the members have told that there is room.
    func grow(toBlocks blocks: UInt64) -> Bool {
        let initiator = initiator
        for _ in 0..<100 {
            if initiator.engine.grow(dataBlocks: blocks, now: initiator.now) { return true }
            wait(microseconds: 10_000)
        }
        return false
    }

    // MARK: I/O

    func submit(_ kind: BlockOperation, _ start: Int = 0, _ count: Int = 4, forceUnitAccess: Bool = false) {
        initiator.workload?.submit(
            kind, start: kind == .flush ? 0 : start, count: kind == .flush ? 0 : count, forceUnitAccess: forceUnitAccess
        )
    }

    /// Whether all I/O has ended.
    func isDone(within milliseconds: UInt64 = 3000) -> Bool {
        reaches(within: milliseconds) { !hasUnfinished }
    }

    var hasUnfinished: Bool { initiator.workload.map { !$0.running.isEmpty } ?? false }

    /// How the last I/O ended.
    var lastStatus: BlockStatus? { initiator.workload?.lastStatus }

    /// Does one I/O to its end.
    func does(_ kind: BlockOperation, _ start: Int = 0, _ count: Int = 4) -> BlockStatus? {
        submit(kind, start, count)
        return isDone() ? lastStatus : nil
    }

    // MARK: Members

    /// The daemon of a member dies; with `power` its machine does.
    func stop(_ member: MemberIndex, power: Bool = false) {
        targets[member].stop(power: power, isSilent: false)
        world.history.cachesLost(world.lastLosses(of:))
    }

    func start(_ member: MemberIndex) { world.bringBack(targets[member]) }

    /// An operator puts an empty namespace in a member's place, or one that has been another volume's; it is there a millisecond
    /// later.
    func replace(_ member: MemberIndex, isForeign: Bool = false) -> Bool {
        let before = targets[member].generation
        world.inject(
            Fault(kind: .replace, time: 0, member: member, span: 8_000_000, choice: isForeign ? 0 : 1))
        return targets[member].generation != before
    }

    /// Nothing arrives at a member, or comes from it.
    func cut(_ member: MemberIndex) { world.links.cut(member) }
    func reconnect(_ member: MemberIndex) { world.links.connect(member) }

    /// A member's disk does nothing for a while.
    func stall(_ member: MemberIndex, milliseconds: UInt64) {
        let disk = targets[member].disk
        disk.behaviour.isStuck = true
        after(milliseconds: milliseconds) { disk.behaviour.isStuck = false }
    }

    /// All that a member's disk does takes this much longer.
    func slow(_ member: MemberIndex, milliseconds: UInt64) {
        targets[member].disk.behaviour.slowBlocks = 0..<UInt64.max
        targets[member].disk.behaviour.slowness = milliseconds * 1_000_000
    }

    /// Writes of the record fail on a member.
    func failRecords(_ member: MemberIndex) { targets[member].disk.behaviour.failingWrites = slots(member) }

    private func slots(_ member: MemberIndex) -> Range<UInt64> {
        let start = world.layouts[member].slotBlock(0)
        return start..<start + 2 * world.format.geometry.blocksPerPage
    }

    /// All that a member's disk does with the record takes this much longer.
    func slowRecords(_ member: MemberIndex, milliseconds: UInt64) {
        targets[member].disk.behaviour.slowBlocks = slots(member)
        targets[member].disk.behaviour.slowness = milliseconds * 1_000_000
    }

    /// Makes a member fall behind by some writes; it comes back, and is not brought up to date.
    func fallBehind(_ member: MemberIndex) {
        initiator.engine.pauseResync()
        cut(member)
        #expect(does(.write, 40 + 8 * member.number, 8) == .success)
        reconnect(member)
        #expect(reaches { status.members[member].phase == .active })
    }

    func isInSync(_ member: MemberIndex) -> Bool {
        status.members[member].isInSync && status.members[member].phase == .active
    }

    var areAllInSync: Bool { MemberSet.all.allSatisfy(isInSync) }

    /// The numbers of the initiators that are registered with a member.
    func registrants(_ member: MemberIndex) -> [UInt64] { reservation(member).registrants.hosts().map(\.id.low) }

    func isReserved(_ member: MemberIndex) -> Bool { reservation(member).type != nil }

    private func reservation(_ member: MemberIndex) -> Reservation {
        let namespace = targets[member].process?.target.subsystems.first?.namespaces.first
        return namespace.map { $0.reservation.withLock { $0.current } } ?? Reservation()
    }

    /// Whether a member's loss of power would change nothing in some blocks.
    func isDurable(_ member: MemberIndex, _ blocks: Range<Int>) -> Bool {
        world.isEqual(
            world.memory(member, .cached), world.memory(member, .durable),
            UInt64(blocks.lowerBound)..<UInt64(blocks.upperBound))
    }

    func hasUnflushed(_ member: MemberIndex) -> Bool { targets[member].disk.unflushedCount > 0 }

    func hasBit(_ member: MemberIndex, _ kind: Int, _ region: RegionIndex) -> Bool {
        world.hasBit(member, kind, region, world.layouts[member], .cached)
    }

    /// Changes a block of a member below all that the volume knows of.
    func rot(_ block: Int, _ member: MemberIndex) {
        for view in MemberView.allCases {
            UnsafeMutableRawBufferPointer(rebasing: world.memory(member, view)[block * 512..<(block + 1) * 512])
                .initializeMemory(as: UInt8.self, repeating: 0x99)
        }
        let geometry = world.format.geometry
        if block < geometry.dataBlocks { world.rottenRegion = geometry.region(of: UInt64(block)) }
    }

    /// A member's namespace becomes larger or smaller; hosts are told where the daemon runs.
    func resize(_ member: MemberIndex, toBlocks blocks: UInt64) {
        targets[member].disk.resize(toBlocks: blocks, fill: 0xA5)
        targets[member].process?.target.refreshNamespaces()
        world.network.tellNews()
    }

    /// A slot of a member's record, as reads see it.
    func slot(_ member: MemberIndex, _ number: Int) -> UnsafeMutableRawBufferPointer {
        let disk = targets[member].disk
        let block = MemberLayout.slotBlock(number, memberBlocks: disk.geometry.blockCount, blockSize: 512) ?? 0
        return UnsafeMutableRawBufferPointer(rebasing: disk.contents[Int(block) * 512..<Int(block) * 512 + 4096])
    }

    /// The slot with the newer of a member's records, by its sequence.
    func newestSlot(of member: MemberIndex) -> Int {
        let sequences = (0..<2).map { slot(member, $0).load(fromByteOffset: 16, as: UInt64.self) }
        return sequences[0] > sequences[1] ? 0 : 1
    }
}

extension InitiatorProcess {
    var isServing: Bool { phase == .serving }

    /// Its volume's engine, while it is alive.
    var engine: VolumeEngine {
        _read { yield volume!.engine }
        _modify {
            defer { touch() }
            yield &volume!.engine
        }
    }

    func breakConnection(_ member: MemberIndex) {
        fabric.breakConnections(to: member.number)
        touch()
    }
}
