import Base
import NVMeSpec
import NVMeTarget
import RDMATransport
import Reactor
import Replication
import Simulation
import TargetInterface
import VolumeDriver

/// The real target that a daemon offers its volume with, by a front that stays while the volume comes and goes.
final class OwnerTarget {
    static let nqn = "nqn.2026-11.io.tercet:volume"
    let address: SocketAddress
    let front: VolumeFront
    let device: SimulatedDevice
    let target: Target
    private let network: SimulatedNetwork
    private let reactor: TargetReactor
    private let state: DesiredState
    private let options: TargetOptions
    private let controllerIDs: ClosedRange<UInt16>
    private var isSettled = false
    private let connected = ConnectedHosts()

    /// The hosts that are connected, as the target tells of them. Unchecked: one thread drives a simulation.
    private final class ConnectedHosts: @unchecked Sendable { var hosts: [UInt16: String] = [:] }

    var hosts: Set<String> { Set(connected.hosts.values) }
    /// The state of the path, as hosts have been told, or are being told.
    private(set) var access = ANAState.inaccessible

    static func host(_ place: Int) -> String { "198.18.0.\(1 + place)" }

    /// - Parameters:
    ///   - place: the daemon's, which its controller identifiers go by.
    ///   - run: the number of the daemon's run.
    init(
        place: Int, node: Int, run: UInt64, network: SimulatedNetwork, record: Superblock,
        reservations: any ReservationStore, now: MonotonicTime
    ) {
        self.network = network
        guard let address = SocketAddress(host: Self.host(place), port: TargetMachine.port) else {
            invariantViolated("a simulated address is one")
        }
        self.address = address
        front = VolumeFront(record)
        device = network.makeDevice("owner\(place)", addresses: [Self.host(place)], limits: .simulated, node: node)
        var options = TargetOptions(
            queueDepth: 16, maxIOQueues: 1, inCapsuleDataSize: 1024, maxTransferSize: 16 << 10,
            sharedReceiveEntries: 32, requests: 64, dataMemory: 256 << 10, controlMemory: 128 << 10, maxNamespaces: 1)
        options.tickMilliseconds = 50
        self.options = options
        controllerIDs = UInt16(1 + place * 0x1000)...UInt16(0xFFF + place * 0x1000)
        target = Target(
            options: options, surroundings: BareSurroundings(reservations: reservations),
            bootInstance: (1000 * UInt64(place + 1) + run) << 16, now: now,
            observe: { [connected] event in
                switch event {
                case .hostConnected(let host, _, let controller, _): connected.hosts[controller] = host
                case .hostDisconnected(_, _, let controller, _): connected.hosts[controller] = nil
                default: break
                }
            })
        state = DesiredState(target)
        let fabric = SimulatedFabric([device])
        reactor = TargetReactor(
            fabric: fabric,
            group: PollGroup(
                target: target, transport: RDMATargetTransport(fabric, options), mailbox: .withoutDescriptor()))
        apply()
    }

    /// Tells hosts whether this is the path to use.
    func setAccess(_ access: ANAState) {
        guard access != self.access else { return }
        self.access = access
        apply()
    }

    private func apply() {
        isSettled = false
        let namespace = NamespaceDefinition(
            nsid: 1, backing: .device(front), identity: front.identity, anaGroup: 1)
        do {
            try state.apply(
                TargetDefinition(
                    options: options, listeners: [address],
                    subsystems: [
                        SubsystemDefinition(
                            nqn: Self.nqn, serialNumber: "V", anaStates: [ANAGroupPlace(group: 1): access],
                            controllerIDs: controllerIDs, namespaces: [namespace])
                    ]))
        } catch {
            invariantViolated("a simulated target takes what it is told")
        }
    }

    /// Whether hosts have been told the present state of the path.
    var isKnown: Bool { isSettled }

    /// Polls where there may be something to do; `true` where there may be more at once.
    ///
    /// - Parameter isTouched: the volume has left something for it.
    func pollIfDue(_ now: MonotonicTime, _ clock: MachineClock, isTouched: Bool) -> Bool {
        var isBusy = false
        if isTouched || !isSettled || reactor.isDue(now) { isBusy = reactor.poll(now, clock) }
        if !isSettled {
            do { isSettled = try state.proceed() } catch {
                invariantViolated("a simulated target takes what it is told")
            }
            isBusy = true
        }
        return isBusy
    }

    var deadline: MonotonicTime { reactor.deadline }

    /// Connections of a host break.
    func breakConnections(to node: Int) { reactor.fabric.breakConnections(to: node) }

    /// The process dies: its connections end.
    ///
    /// - Parameter isSilent: nobody is told.
    func endConnections(isSilent: Bool) {
        if isSilent { device.isReachable = false }
        reactor.fabric.endConnections()
        network.remove(device)
    }

    /// Its memory goes.
    func close() {
        reactor.group.close()
        target.close()
    }
}
