import Base
import FabricInterface
import NVMeInitiator
import NVMeSpec
import RDMATransport
import Reactor
import Replication
import Simulation
import Succession
import VolumeDriver

/// A volume that a daemon attaches, from the attach to the end of its connections: the real initiator and volume.
final class OwnedVolume: @unchecked Sendable {
    // Unchecked: one thread drives a simulation; the volume's observer is Sendable because real volumes have reactors of their own.
    let number: Int
    let device: SimulatedDevice
    let fabric: SimulatedFabric
    let volume: Volume
    private let group: InitiatorGroup
    /// As a target serves it, once it is attached.
    private(set) var blockDevice: VolumeBlockDevice?
    /// The attach has failed, or the volume is of no more use.
    private(set) var isLost = false
    /// The world knows that it can write.
    var isNoted = false
    /// It has told its end, and nothing reaches memory any more.
    var isDisconnected: Bool { !volume.hasConnections && group.isIdle }
    private(set) var phase = VolumePhase.attaching
    private var isTouched = true
    private(set) var deadline = MonotonicTime(nanoseconds: 0)
    private let observe: (VolumeEvent) -> Void

    /// - Parameter observe: hears of the volume's events.
    init(
        _ number: Int, node: Int, network: SimulatedNetwork, members: [SocketAddress],
        configuration: VolumeConfiguration, profile: Profile, now: MonotonicTime,
        observe: @escaping (VolumeEvent) -> Void
    ) {
        self.number = number
        self.observe = observe
        device = network.makeDevice(
            "attach\(number)", addresses: ["198.51.\(100 + number / 200).\(1 + number % 200)"], node: node)
        fabric = SimulatedFabric([device])
        group = InitiatorGroup(RDMAInitiator(fabric, completionEntries: 512), mailbox: .withoutDescriptor())
        let options = VolumeOptions(
            members: members.map { MemberAddress(address: $0, subsystemNQN: TargetMachine.nqn, nsid: 1) },
            hostNQN: "nqn.2026-11.io.tercet:attach\(number)",
            hostID: UUIDBytes(high: 0x7465_7263, low: UInt64(number)), configuration: configuration,
            keepAliveMilliseconds: profile.keepAliveMilliseconds,
            commandQuiesceMilliseconds: profile.commandQuiesceMilliseconds, connectTimeoutMilliseconds: 50,
            bufferBytes: 64 << 10, queueEntries: 32)
        let fault = profile.successionDefect == .leaseTrusted ? .othersNotPreempted : profile.deliberateFault
        nonisolated(unsafe) var observed: ((VolumeEvent) -> Void)?
        do {
            volume = try Volume(options, group: group, rules: Rules(breaking: fault)) {
                observed?($0)
            }
        } catch {
            invariantViolated("there is memory for a simulated volume")
        }
        observed = { [unowned self] in self.observed($0) }
        volume.attach(nonce: UInt32(truncatingIfNeeded: network.draw(1...0xFFFF_FFFF)))
    }

    /// The key of the attachment: a greater one is a later one.
    var key: UInt64 { volume.engine.reservationKey }

    private func observed(_ event: VolumeEvent) {
        switch event {
        case .phase(let phase):
            self.phase = phase
            switch phase {
            case .serving:
                if blockDevice == nil { blockDevice = VolumeBlockDevice(volume) }
            case .deposed, .detached: isLost = true
            case .attaching, .suspended, .recovering, .detaching: break
            }
        case .attachFailed: isLost = true
        case .notice, .memberUnreachable: break
        }
        observe(event)
    }

    /// Polls where there may be something to do; `true` where there may be more at once.
    func pollIfDue(_ now: MonotonicTime, _ clock: MachineClock) -> Bool {
        guard isTouched || fabric.hasNews || group.hasLetters || deadline <= now else { return false }
        fabric.hasNews = false
        let time = clock.local(now)
        isTouched = group.poll(now: time) + volume.poll(now: time) > 0
        if !isTouched {
            group.expectEvents()
            isTouched = fabric.hasEvents || group.hasLetters
        }
        deadline = clock.world(min(group.nextDeadline, volume.nextDeadline))
        return isTouched
    }

    /// A target has left something for it.
    func touch() { isTouched = true }

    /// The process is gone, or lets go of it: takes down what is left, outside of the world's time, so that its memory comes back.
    ///
    /// - Returns: whether all of it came to its end.
    func close(_ now: MonotonicTime, isSilent: Bool) -> Bool {
        if isSilent { device.isReachable = false }
        fabric.endConnections()
        if !fabric.devices.isEmpty { fabric.remove(device) }
        volume.abandon()
        var time = now
        // Twice nothing: a task that has been resumed in one round runs in the next.
        var quietRounds = 0
        for round in 0..<4000 where quietRounds < 2 {
            time = time.advanced(byNanoseconds: round < 100 ? 1_000_000 : 100_000_000)
            let work = group.poll(now: time) + volume.poll(now: time)
            quietRounds = work == 0 && isDisconnected ? quietRounds + 1 : 0
        }
        blockDevice = nil
        group.close()
        return quietRounds == 2
    }
}
