import Base
import BlockInterface
import Replication
import Simulation
import VolumeDriver

/// A second volume of a world's hosts, with its members on the same three targets. The process that has the first volume attaches it
/// too, and keeps it while others take the first one over. Nobody competes for it, and nothing is wrong with its disks: it loses
/// what its machines lose, and nothing by what goes wrong with the first one.
final class SecondVolume {
    unowned let world: VolumeWorld
    private let place: SecondVolumePlace
    private let format: VolumeFormat
    var history: BlockHistory
    private var random: SeededRandom
    /// Above all values of the first volume: a block that got into the other volume is seen.
    private var values: UInt64 = 1 << 30
    private(set) var attachment: SecondAttachment?
    private var attachments: UInt64 = 0
    /// Processes attach both volumes by one host identifier.
    private let sharesHost: Bool
    private var lastProcess = 0
    /// An attachment has ended before it served. Its claim may be the higher one on a member that was away, until that is back.
    private var isContended = false
    /// It was detached for good.
    var isFinished = false

    static let volume = UUIDBytes(high: 0x5445_5243, low: 0x3256)
    private static let dataBlocks: UInt64 = 64

    static func namespaceUUID(of member: MemberIndex) -> UUIDBytes {
        UUIDBytes(high: 8, low: UInt64(member.number) + 1)
    }

    private static func memberBlocks(_ profile: Profile) -> UInt64 {
        let page = max(4096, UInt64(profile.blockSize)) / UInt64(profile.blockSize)
        // Two records, three bitmaps, and a page that is not used.
        return dataBlocks + 6 * page
    }

    static func makeDisk(_ member: MemberIndex, network: SimulatedNetwork, profile: Profile) -> SimulatedDisk {
        let disk = SimulatedDisk(
            "second\(member)", network: network, blockSize: profile.blockSize, blockCount: memberBlocks(profile))
        disk.behaviour.flushIsStrict = profile.disksAreStrict
        disk.behaviour.latency = profile.diskLatency
        disk.behaviour.destagedPercent = profile.destagedPercent
        return disk
    }

    init(_ world: VolumeWorld, _ place: SecondVolumePlace) {
        self.world = world
        self.place = place
        let profile = world.profile
        random = SeededRandom(seed: world.seed ^ 0x7365_6376)
        sharesHost = Bool.random(using: &random)
        guard
            let format = try? VolumeFormat(
                volume: Self.volume,
                members: MemberSet.all.map {
                    MemberCandidate(
                        uuid: Self.namespaceUUID(of: $0), blockSize: profile.blockSize,
                        blocks: Self.memberBlocks(profile))
                },
                regionSize: profile.regionSize, dataBlocks: Self.dataBlocks, minimumCopies: 2, contents: .written)
        else { invariantViolated("a simulated volume can be formatted") }
        self.format = format
        history = BlockHistory(blocks: Int(Self.dataBlocks))
        for target in world.targets {
            target.write(format, to: disk(target.index))
            guard profile.disksAreStrict else { continue }
            disk(target.index).behaviour.tearing = format.layouts[target.index].mapsStart..<UInt64.max
        }
    }

    private func disk(_ member: MemberIndex) -> SimulatedDisk {
        guard let disk = world.targets[member].secondDisk else { invariantViolated("a second volume has its disks") }
        return disk
    }

    // MARK: Chance

    func below(_ limit: Int) -> Int { Int.random(in: 0..<max(limit, 1), using: &random) }
    func chance(_ percent: Int) -> Bool { below(100) < percent }

    /// A value that no write has had.
    func nextValue() -> UInt64 {
        values += 1
        return values
    }

    /// Nanoseconds until the next I/O.
    func pause() -> UInt64 { chance(30) ? 0 : UInt64.random(in: 0...6 * world.thinkTime, using: &random) }

    // MARK: Who has it

    /// The latest process that lives attaches the volume where none has it.
    func attachIfFree() {
        guard attachment == nil, !isFinished, let process = world.current, let group = process.group else { return }
        world.counts.secondAttachments += 1
        var configuration = world.configuration(of: Self.volume)
        configuration.formattedBlocks = Array(repeating: Self.memberBlocks(world.profile), count: memberCount)
        var options = InitiatorProcess.options(
            process.number,
            world.targets.map {
                MemberAddress(address: $0.address, subsystemNQN: place.subsystemNQN, nsid: place.nsid)
            },
            configuration, world.profile)
        options.bufferBytes = 64 << 10
        // To a reservation a host identifier is a host. A process may have one for both volumes; each further attach has another.
        attachments += 1
        if !sharesHost || lastProcess == process.number {
            options.hostID = UUIDBytes(high: 0x7365_636f_6e64, low: attachments)
        }
        lastProcess = process.number
        world.trace { "h\(process.number) attaches the second volume" }
        let made = SecondAttachment(self, process, options, isContended: isContended, group: group)
        attachment = made
        process.adopt(made)
        made.volume.attach(nonce: UInt32.random(in: 1...UInt32.max, using: &random))
    }

    /// A process is about to be gone.
    func ended(_ process: InitiatorProcess) {
        guard let attachment, attachment.process === process else { return }
        drop(attachment)
    }

    private func drop(_ attachment: SecondAttachment) {
        attachment.workload.die()
        isContended = isContended || !attachment.hasServed
        self.attachment = nil
    }

    /// The attachment has lost against one that had begun before and is gone: it is made anew when nothing is left of it, as a daemon
    /// does.
    func renew(_ lost: SecondAttachment) {
        world.network.schedule(afterNanoseconds: 1_000_000) { [weak self, weak lost] in
            guard let self, let lost, attachment === lost, lost.process.isAlive, !isFinished else { return }
            if lost.volume.hasConnections { return renew(lost) }
            drop(lost)
            attachIfFree()
        }
    }

    // MARK: What its members lose

    /// When each member last lost a block, as far as anybody can know.
    func lastLosses(of block: Int) -> [UInt64] {
        let profile = world.profile
        let lost =
            profile.forgivesOnlyLosses
            ? MemberSet.all.reduce(0) { max($0, disk($1).revertedAt[block]) } : UInt64.max
        // Of members that do not tell, a volume cannot know which has been down.
        let untold = world.targets.filter { !profile.makes[$0.index.number].tellsInstances }
        let lastOfUntold = untold.reduce(0) { max($0, $1.lastDown) }
        return world.targets.map {
            min(profile.makes[$0.index.number].tellsInstances ? $0.lastDown : lastOfUntold, lost)
        }
    }

    func cachesLost() { history.cachesLost(lastLosses(of:)) }

    // MARK: The end

    private var isWhole: Bool {
        guard let attachment, attachment.phase == .serving else { return false }
        let status = attachment.volume.engine.status
        return status.members.allSatisfy { $0.isInSync && $0.phase == .active } && status.isRecordValid
            && status.unreconciledRegions == 0 && status.quarantinedRegions == 0
    }

    /// After the faults: all members are in sync, everything is read, and a detach leaves equal members.
    ///
    /// - Parameter bound: nanoseconds for each step.
    func finish(within bound: UInt64) {
        func run(_ what: String, _ condition: () -> Bool) -> Bool {
            if world.run(until: world.network.now.advanced(byNanoseconds: bound), condition) { return true }
            let state = attachment.map { "\($0.phase), \($0.volume.engine.status)" } ?? "not attached"
            world.fail(
                .notWhole, "the second volume \(what) \(bound / 1_000_000) ms after the faults stopped: \(state)")
            return false
        }
        guard run("is not whole", { isWhole }), let attachment else { return }
        let workload = attachment.workload
        workload.plan = .stopped
        guard run("does not end its I/O", { workload.running.isEmpty }) else { return }
        workload.plan = .reading(0)
        attachment.process.touch()
        guard run("is not read", { workload.hasReadAll }) else { return }
        isFinished = true
        attachment.process.touch()
        guard attachment.volume.engine.detach(now: attachment.process.now) else {
            return world.fail(.notClean, "a detach of the second volume is refused")
        }
        guard run("does not detach", { attachment.phase == .detached }) else { return }
        compareMembers()
    }

    private func compareMembers() {
        let size = Int(world.profile.blockSize)
        for member in MemberSet.all {
            for (block, state) in history.blocks.enumerated() {
                let content = UnsafeRawBufferPointer(
                    rebasing: disk(member).contents[block * size..<(block + 1) * size])
                let value = BlockContent.value(of: block, in: content)
                if value.map(state.candidates.contains) ?? false { continue }
                return world.fail(
                    .contents,
                    "after a clean detach block \(block) of the second volume holds "
                        + (value.map { "\($0)" } ?? "nothing of it")
                        + " on member \(member); possible: \(state.candidates)")
            }
            if disk(member).unflushedCount > 0 {
                return world.fail(
                    .notClean, "member \(member) of the second volume has unflushed blocks after a clean detach")
            }
            let bytes = 0..<history.blocks.count * size
            if !disk(member).contents[bytes].elementsEqual(disk(MemberIndex(0)).contents[bytes]) {
                return world.fail(.differingMembers, "members 0 and \(member) of the second volume differ")
            }
        }
    }
}
