import Base
import NVMeSpec

/// The differences between two definitions of a target. What is removed goes first, then comes what is added: a namespace whose
/// backing or identity changed is in both.
public struct DefinitionChange: Equatable, Sendable {
    public var addedListeners: [SocketAddress] = []
    public var removedListeners: [SocketAddress] = []
    public var addedReferrals: [SocketAddress] = []
    public var removedReferrals: [SocketAddress] = []
    /// Whole subsystems; one whose serial or model number or number of queues changed is removed and added.
    public var addedSubsystems: [SubsystemDefinition] = []
    /// NQNs.
    public var removedSubsystems: [String] = []
    /// Subsystems that stay and differ.
    public var changedSubsystems: [SubsystemChange] = []
    /// Keys whose new value takes effect at the next start only.
    public var keysThatNeedRestart: [String] = []

    /// - Throws: if a namespace in memory would be made anew, and lose its contents, though its backing is the same.
    public init(from old: TargetDefinition, to new: TargetDefinition) throws(TercetError) {
        addedListeners = new.listeners.filter { !old.listeners.contains($0) }
        removedListeners = old.listeners.filter { !new.listeners.contains($0) }
        addedReferrals = new.referrals.filter { !old.referrals.contains($0) }
        removedReferrals = old.referrals.filter { !new.referrals.contains($0) }
        let former = Set(old.subsystems.map(\.nqn))
        let wanted = Dictionary(new.subsystems.map { ($0.nqn, $0) }) { first, _ in first }
        for subsystem in old.subsystems {
            guard let other = wanted[subsystem.nqn] else {
                removedSubsystems.append(subsystem.nqn)
                continue
            }
            try Self.checkMemory(subsystem, other)
            if Self.mustReplace(subsystem, by: other) {
                removedSubsystems.append(subsystem.nqn)
                addedSubsystems.append(other)
            } else if let change = SubsystemChange(from: subsystem, to: other) {
                changedSubsystems.append(change)
            }
        }
        addedSubsystems += new.subsystems.filter { !former.contains($0.nqn) }
        keysThatNeedRestart = Self.restartKeys(old.options, new.options)
    }

    /// Nothing is different.
    public var isEmpty: Bool { lines.isEmpty }

    private static func mustReplace(_ old: SubsystemDefinition, by new: SubsystemDefinition) -> Bool {
        old.serialNumber != new.serialNumber || old.modelNumber != new.modelNumber || old.maxIOQueues != new.maxIOQueues
            || old.pool?.folder != new.pool?.folder
    }

    /// A difference in a namespace takes effect by making it anew. That would empty memory, which a person who changes a name
    /// or a group does not expect.
    private static func checkMemory(
        _ old: SubsystemDefinition, _ new: SubsystemDefinition
    ) throws(TercetError) {
        let isReplaced = mustReplace(old, by: new)
        let wanted = new.byNamespaceID
        for namespace in old.namespaces {
            guard namespace.backing.isVolatile, let other = wanted[namespace.nsid],
                other.backing == namespace.backing, other != namespace || isReplaced
            else { continue }
            throw TercetError(
                .invalid,
                "subsystem \(old.nqn): namespace \(namespace.nsid) is in memory and would lose its contents by this "
                    + "change; where that is meant: take the namespace out, reload, and put it back")
        }
    }

    private static func restartKeys(_ old: TargetOptions, _ new: TargetOptions) -> [String] {
        let keys: [(String, Bool)] = [
            ("queueDepth", old.queueDepth != new.queueDepth),
            ("maxIOQueues", old.maxIOQueues != new.maxIOQueues),
            ("inCapsuleDataSize", old.inCapsuleDataSize != new.inCapsuleDataSize),
            ("maxIOSize", old.maxTransferSize != new.maxTransferSize),
            ("sharedReceiveEntries", old.sharedReceiveEntries != new.sharedReceiveEntries),
            ("dataMemory", old.dataMemory != new.dataMemory),
            ("sendWithInvalidate", old.sendWithInvalidate != new.sendWithInvalidate),
            ("keepAlive", old.maxKeepAliveMilliseconds != new.maxKeepAliveMilliseconds),
        ]
        return keys.filter { $0.1 }.map { $0.0 }
    }
}

/// The differences of a subsystem that stays; it is a pool, of the same folder, or not, as before.
public struct SubsystemChange: Equatable, Sendable {
    public var nqn: String
    /// The hosts that may connect from now on; `nil` if that has not changed.
    public var access: HostAccess?
    /// The hosts that have to show who they are, and their keys; `nil` if that has not changed.
    public var authentication: AuthenticationDefinition?
    public var addedNamespaces: [NamespaceDefinition]
    /// Namespace identifiers.
    public var removedNamespaces: [UInt32]
    /// Groups whose state is different, with the new one; `nil` where nothing is said of it any more.
    public var anaStates: [ANAGroupPlace: ANAState?]
    /// The identifiers that controllers get from now on; `nil` if that has not changed.
    public var controllerIDs: ClosedRange<UInt16>?
    /// The pool, with the namespaces that there are from now on; `nil` if it has not changed.
    public var pool: PoolDefinition?
    private let formerPool: PoolDefinition?

    /// `nil` if nothing differs.
    init?(from old: SubsystemDefinition, to new: SubsystemDefinition) {
        nqn = new.nqn
        access = old.access == new.access ? nil : new.access
        authentication = old.authentication == new.authentication ? nil : new.authentication
        let (former, wanted) = (old.byNamespaceID, new.byNamespaceID)
        addedNamespaces = new.namespaces.filter { former[$0.nsid] != $0 }
        removedNamespaces = old.namespaces.filter { wanted[$0.nsid] != $0 }.map(\.nsid)
        anaStates = [:]
        controllerIDs = old.controllerIDs == new.controllerIDs ? nil : new.controllerIDs
        pool = old.pool == new.pool ? nil : new.pool
        formerPool = old.pool
        for place in Set(old.anaStates.keys).union(new.anaStates.keys) {
            let (state, formerState) = (new.anaStates[place], old.anaStates[place])
            // A group of which nothing is said for all listeners is optimized there.
            let unsaid: ANAState? = place.listener == nil ? .optimized : nil
            if state ?? unsaid != formerState ?? unsaid { anaStates.updateValue(state, forKey: place) }
        }
        if access == nil && addedNamespaces.isEmpty && removedNamespaces.isEmpty && anaStates.isEmpty
            && controllerIDs == nil && pool == nil && authentication == nil
        {
            return nil
        }
    }
}

extension SubsystemChange {
    fileprivate var poolLines: [String] {
        guard let pool, let formerPool else { return [] }
        let (former, present) = (Set(formerPool.namespaces.map(\.nsid)), Set(pool.namespaces.map(\.nsid)))
        var lines = former.subtracting(present).sorted().map { "namespace \($0) deleted from the pool" }
        lines += present.subtracting(former).sorted().map { "namespace \($0) made in the pool" }
        var limits = formerPool
        limits.namespaces = pool.namespaces
        if limits != pool { lines.append("limits or managers of the pool differ") }
        return lines
    }
}

extension SubsystemDefinition {
    fileprivate var byNamespaceID: [UInt32: NamespaceDefinition] {
        Dictionary(namespaces.map { ($0.nsid, $0) }) { first, _ in first }
    }
}

extension DefinitionChange {
    private static let consequences =
        "its hosts lose it for a moment; those registered with it are disconnected, and a reservation is lost unless it "
        + "persists through power loss"

    /// The change for people, a line for each thing.
    public var lines: [String] {
        var lines = removedListeners.map { "listener \($0) removed" } + addedListeners.map { "listener \($0) added" }
        lines += removedReferrals.map { "referral \($0) removed" } + addedReferrals.map { "referral \($0) added" }
        lines += removedSubsystems.filter { nqn in addedSubsystems.contains { $0.nqn == nqn } }.map {
            "subsystem \($0) is made anew: \(Self.consequences)"
        }
        lines += removedSubsystems.map { "subsystem \($0) removed" }
        lines += addedSubsystems.map { "subsystem \($0.nqn) added" }
        for change in changedSubsystems {
            switch change.access {
            case .anyHost: lines.append("subsystem \(change.nqn): any host may connect")
            case .hosts(let hosts): lines.append("subsystem \(change.nqn): \(hosts.count) hosts may connect")
            case nil: break
            }
            if let authentication = change.authentication {
                let count = authentication.keys.count
                lines.append("subsystem \(change.nqn): keys differ; \(count) hosts have to authenticate")
            }
            lines += change.removedNamespaces.filter { nsid in
                change.addedNamespaces.contains { $0.nsid == nsid }
            }.map { "subsystem \(change.nqn): namespace \($0) is made anew: \(Self.consequences)" }
            lines += change.removedNamespaces.map { "subsystem \(change.nqn): namespace \($0) removed" }
            lines += change.addedNamespaces.map {
                "subsystem \(change.nqn): namespace \($0.nsid) added (\($0.backing))"
            }
            lines += change.anaStates.map { place, state in
                "subsystem \(change.nqn): ANA group \(place.group) is "
                    + (state.map { "\($0)" } ?? (place.listener == nil ? "optimized" : "as at other listeners"))
                    + (place.listener.map { " at \($0)" } ?? "")
            }.sorted()
            if let range = change.controllerIDs {
                lines.append("subsystem \(change.nqn): new controllers are \(range.lowerBound) to \(range.upperBound)")
            }
            lines += change.poolLines.map { "subsystem \(change.nqn): \($0)" }
        }
        lines += keysThatNeedRestart.map(Self.lineForRestart)
        return lines
    }
}

extension DefinitionChange {
    /// The line about a key of the configuration that differs.
    public static func lineForRestart(_ key: String) -> String {
        "\(key) differs; this takes effect at the next start"
    }
}
