import Base
import NVMeSpec
import TargetInterface

/// A host's access to namespaces by the states of their ANA groups, as one listener's controllers have them: the answer to I/O,
/// success where the state lets it through. A reference to memory of its `SubsystemView`.
///
/// Namespaces name their groups, so that a change of a group costs the same however many namespaces it has.
struct AccessTable: BitwiseCopyable {
    /// By group, from 1; place 0 is not used.
    private let statuses: UnsafeMutablePointer<Status>?

    /// None: for a connection that is no I/O queue.
    init() { statuses = nil }

    private init(_ statuses: UnsafeMutablePointer<Status>) { self.statuses = statuses }

    /// Allocates a table in which all groups are optimized. `deallocate` frees it.
    static func allocate() -> AccessTable {
        let statuses = UnsafeMutablePointer<Status>.allocate(capacity: Limits.anaGroups + 1)
        statuses.initialize(repeating: .success, count: Limits.anaGroups + 1)
        return AccessTable(statuses)
    }

    func deallocate() { statuses?.deallocate() }

    /// The answer to I/O for a group's namespaces.
    @inline(__always)
    subscript(group: UInt8) -> Status { statuses.unsafelyUnwrapped[Int(group)] }

    /// Takes on the states of all groups, as they are at `listener`.
    func takeOn(_ states: ANAStates, at listener: SocketAddress?) {
        guard let statuses else { return }
        statuses.update(repeating: .success, count: Limits.anaGroups + 1)
        for group in states.groups { statuses[Int(group)] = Status(states.state(of: group, at: listener)) }
    }
}

/// The states of a subsystem's ANA groups (NVMe Base, "Asymmetric Namespace Access"). A group of which nothing was said is
/// optimized; a state that is given for a listener counts there, before the one that is given for all.
struct ANAStates: Sendable {
    /// Groups are from 1 to `Limits.anaGroups`.
    private var states: [ANAGroupPlace: ANAState]
    private(set) var changeCount: UInt64 = 0

    init(_ states: [ANAGroupPlace: ANAState]) { self.states = states }

    /// Groups of which something is said.
    var groups: Set<UInt32> { Set(states.keys.map(\.group)) }

    func state(of group: UInt32, at listener: SocketAddress?) -> ANAState {
        if let listener, let state = states[ANAGroupPlace(group: group, listener: listener)] { return state }
        return states[ANAGroupPlace(group: group)] ?? .optimized
    }

    /// Changes what is said; `nil` takes it back.
    mutating func set(_ changes: [ANAGroupPlace: ANAState?]) {
        for (place, state) in changes { states[place] = state }
        changeCount += 1
    }
}

extension Status {
    /// The status of I/O to a namespace while its ANA group is in a state (NVMe Base, "Asymmetric Namespace Access States");
    /// without Do Not Retry, for another path may do it.
    fileprivate init(_ state: ANAState) {
        switch state {
        case .optimized, .nonOptimized: self = .success
        case .inaccessible: self = .asymmetricAccessInaccessible
        case .persistentLoss: self = .asymmetricAccessPersistentLoss
        case .change: self = .asymmetricAccessTransition
        }
    }
}
