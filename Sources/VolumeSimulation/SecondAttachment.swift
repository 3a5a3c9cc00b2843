import Base
import NVMeInitiator
import Replication
import Simulation
import VolumeDriver

/// A process's attachment of the second volume, beside that of the first.
final class SecondAttachment: @unchecked Sendable {
    // Unchecked: one thread drives a simulation; the volume's observer is Sendable because real volumes have reactors of their own.
    private unowned let second: SecondVolume
    unowned let process: InitiatorProcess
    let volume: Volume
    private(set) var workload: SecondWorkload
    private(set) var phase = VolumePhase.attaching
    /// It may lose against the attachment before it.
    private let isContended: Bool
    /// It has lost, and is made anew.
    private var isLost = false
    /// It has served.
    private(set) var hasServed = false
    /// The members in sync when last looked at.
    private var lastInSync = MemberSet.all
    /// When each member's present association was begun at the earliest.
    private var returnedAt: SIMD3<UInt64>

    init(
        _ second: SecondVolume, _ process: InitiatorProcess, _ options: VolumeOptions, isContended: Bool,
        group: InitiatorGroup
    ) {
        self.second = second
        self.process = process
        self.isContended = isContended
        returnedAt = SIMD3(repeating: process.network.now.nanoseconds)
        nonisolated(unsafe) var observed: ((VolumeEvent) -> Void)?
        do {
            volume = try Volume(options, group: group, rules: Rules(breaking: second.world.profile.deliberateFault)) {
                observed?($0)
            }
        } catch {
            invariantViolated("there is memory for a simulated volume")
        }
        workload = SecondWorkload(second, volume, now: process.network.now)
        volume.sink = workload
        observed = { [unowned self] in self.observed($0) }
        workload.attachment = self
    }

    // MARK: Polls

    /// Returns how much was done.
    ///
    /// - Parameter time: as the machine's clock shows it.
    func poll(_ now: MonotonicTime, local time: MonotonicTime) -> Int {
        let work = volume.poll(now: time)
        guard hasServed else { return work }
        look()
        return work + workload.poll(now)
    }

    func nextDeadline(_ clock: MachineClock) -> MonotonicTime {
        let own = clock.world(volume.nextDeadline)
        return hasServed ? min(own, workload.nextDeadline) : own
    }

    /// I/O may be submitted.
    var takesIO: Bool { hasServed && (phase == .serving || phase == .suspended || phase == .recovering) }

    /// Takes notice of members that are no longer in sync, or are again.
    func look() {
        let inSync = volume.holders
        guard hasServed, inSync != lastInSync else { return }
        second.history.left(lastInSync.subtracting(inSync))
        lastInSync = lastInSync.intersection(inSync)
        // Another attachment knows of a member that was taken into sync once the record that says so is valid.
        guard volume.engine.isRecordValid else { return }
        for member in inSync.subtracting(lastInSync) {
            second.history.joined(member, since: returnedAt[member.number])
        }
        lastInSync = inSync
    }

    // MARK: Events

    private func observed(_ event: VolumeEvent) {
        guard process.isAlive else { return }
        let world = second.world
        world.trace { "h\(self.process.number), second volume: \(event)" }
        switch event {
        case .phase(let phase):
            self.phase = phase
            if phase == .serving { hasServed = true }
            if phase == .deposed { lost("it is deposed") }
        case .attachFailed(let error):
            if case .metadata = error {
                world.fail(.metadataRefused, "h\(process.number): the second volume's attach failed: \(error)")
            } else {
                lost("its attach failed: \(error)")
            }
        case .notice(.memberReturning(let member)):
            returnedAt[member.number] = process.network.now.nanoseconds
        case .notice(.memberRefused(let member, let error)):
            world.fail(
                .metadataRefused, "h\(process.number): member \(member) of the second volume is refused: \(error)")
        case .notice, .memberUnreachable: break
        }
    }

    /// Another attachment is believed to be the later one.
    private func lost(_ what: String) {
        guard !isLost else { return }
        isLost = true
        guard isContended else {
            return second.world.fail(
                .disturbed, "h\(process.number): nobody else has attached the second volume, and \(what)")
        }
        second.renew(self)
    }
}
