import Base
import NVMeSpec
import TargetInterface

/// An address at which the target listens.
struct TargetListener: Hashable, Sendable {
    var address: SocketAddress
    /// Discovery Log Page Entry "PORTID".
    var portID: UInt16
}

/// The contents of the discovery log for all hosts, kept so that a piece of the log is made without looking at the rest.
struct DiscoveryCatalog: Sendable {
    /// Subsystems that every host may connect to, and for each host those that name it.
    private var open = AscendingList<String>()
    private var named: [String: AscendingList<String>] = [:]
    private(set) var listeners: [TargetListener] = []
    private(set) var referrals: [SocketAddress] = []

    mutating func add(_ definition: SubsystemDefinition) {
        guard case .hosts(let hosts) = definition.access else { return open.insert(definition.nqn) }
        for host in hosts { named[host, default: AscendingList()].insert(definition.nqn) }
    }

    mutating func remove(_ definition: SubsystemDefinition) {
        open.remove(definition.nqn)
        guard case .hosts(let hosts) = definition.access else { return }
        for host in hosts {
            named[host]?.remove(definition.nqn)
            if named[host]?.elements.isEmpty == true { named[host] = nil }
        }
    }

    mutating func add(_ listener: TargetListener) { listeners.append(listener) }
    mutating func remove(_ listener: TargetListener) { listeners.removeAll { $0 == listener } }
    mutating func add(referral: SocketAddress) { referrals.append(referral) }
    mutating func remove(referral: SocketAddress) { referrals.removeAll { $0 == referral } }

    /// The log of a host, as of now.
    ///
    /// - Parameter ownAddress: the one that the host has connected to; it is told instead of a wildcard.
    func log(of host: String, ownAddress: SocketAddress?, generation: UInt64) -> HostDiscoveryLog {
        HostDiscoveryLog(
            generation: generation, open: open.elements, named: named[host]?.elements ?? [], listeners: listeners,
            referrals: referrals, ownAddress: ownAddress)
    }
}

/// The discovery log of one host: every subsystem that allows it, at every listener; then the referrals.
struct HostDiscoveryLog {
    let generation: UInt64
    fileprivate let open: [String]
    fileprivate let named: [String]
    fileprivate let listeners: [TargetListener]
    fileprivate let referrals: [SocketAddress]
    fileprivate let ownAddress: SocketAddress?

    private var subsystemCount: Int { open.count + named.count }
    private var recordCount: Int { subsystemCount * listeners.count + referrals.count }
    var byteCount: Int { DiscoveryLogHeader.byteCount + recordCount * DiscoveryLogEntry.byteCount }

    func write(to window: PageWindow) {
        if window.offset < DiscoveryLogHeader.byteCount {
            window.place(
                DiscoveryLogHeader(generation: generation, recordCount: UInt64(recordCount)).encoded, at: 0)
        }
        // Of consecutive records most are of one listener: the entry is encoded once for all of them.
        var encoded: (listener: Int, bytes: [UInt8])?
        for record in DiscoveryLogEntry.records(in: window, of: recordCount) {
            guard record < subsystemCount * listeners.count else {
                let referral = referrals[record - subsystemCount * listeners.count]
                let bytes = entry(.referral, referral, 0).encoded
                DiscoveryLogEntry.write(bytes, subsystemNQN: NQN.discovery, record: record, to: window)
                continue
            }
            let (listener, subsystem) = record.quotientAndRemainder(dividingBy: subsystemCount)
            if encoded?.listener != listener {
                encoded = (listener, entry(.nvm, listeners[listener].address, listeners[listener].portID).encoded)
            }
            let nqn = subsystem < open.count ? open[subsystem] : named[subsystem - open.count]
            DiscoveryLogEntry.write(encoded?.bytes ?? [], subsystemNQN: nqn, record: record, to: window)
        }
    }

    private func entry(_ type: SubsystemType, _ address: SocketAddress, _ portID: UInt16) -> DiscoveryLogEntry {
        var entry = DiscoveryLogEntry()
        // A wildcard address means nothing to a host: it is told the address that it used itself.
        let shown = address.isWildcard ? ownAddress ?? address : address
        entry.subsystemType = type
        entry.addressFamily = shown.family == .ipv4 ? .ipv4 : .ipv6
        entry.requirements = .disableSQFlowControl
        entry.portID = portID
        entry.adminQueueSize = UInt16(TargetOptions.adminQueueEntries)
        entry.serviceID = "\(address.port)"
        entry.address = shown.host
        return entry
    }
}

extension SocketAddress {
    /// It stands for every address of the machine.
    var isWildcard: Bool { host == "0.0.0.0" || host == "::" }
}
