import BlockInterface

/// The namespaces of a subsystem, in the orders in which hosts ask for them: an answer costs what it says, however many
/// namespaces there are.
struct NamespaceIndex: Sendable {
    private var namespaces: [UInt32: Namespace] = [:]
    private var ascending = AscendingList<UInt32>()
    private var groups = AscendingList<UInt32>()
    private var members: [UInt32: AscendingList<UInt32>] = [:]
    private var cached: Set<UInt32> = []
    private var vanished: Set<UInt32> = []

    /// Identifiers, ascending.
    var identifiers: [UInt32] { ascending.elements }
    /// Identifiers of the ANA groups that have namespaces, ascending.
    var anaGroups: [UInt32] { groups.elements }
    /// A namespace has a volatile write cache.
    var hasVolatileWriteCache: Bool { !cached.isEmpty }
    /// A namespace has lost its device.
    var hasVanished: Bool { !vanished.isEmpty }

    subscript(nsid: UInt32) -> Namespace? { namespaces[nsid] }

    /// The identifiers from `nsid` on, ascending.
    func identifiers(from nsid: UInt32) -> ArraySlice<UInt32> { ascending.from(nsid) }

    /// The namespaces of an ANA group, ascending.
    func members(of group: UInt32) -> [UInt32] { members[group]?.elements ?? [] }

    /// In the order of their identifiers. For the control plane: it takes as long as there are namespaces.
    var all: [Namespace] { identifiers.compactMap { namespaces[$0] } }

    /// Adds a namespace; `false` where its identifier is taken.
    mutating func add(_ namespace: Namespace) -> Bool {
        let nsid = namespace.nsid
        guard namespaces[nsid] == nil else { return false }
        namespaces[nsid] = namespace
        ascending.insert(nsid)
        groups.insert(namespace.definition.anaGroup)
        members[namespace.definition.anaGroup, default: AscendingList()].insert(nsid)
        note(namespace.geometry, of: nsid)
        return true
    }

    mutating func remove(_ nsid: UInt32) -> Namespace? {
        guard let namespace = namespaces.removeValue(forKey: nsid) else { return nil }
        let group = namespace.definition.anaGroup
        ascending.remove(nsid)
        members[group]?.remove(nsid)
        if members[group]?.elements.isEmpty == true {
            members[group] = nil
            groups.remove(group)
        }
        cached.remove(nsid)
        vanished.remove(nsid)
        return namespace
    }

    /// Takes on what has become of a namespace's device.
    mutating func note(_ geometry: BlockGeometry, of nsid: UInt32) {
        if geometry.hasVolatileWriteCache { cached.insert(nsid) } else { cached.remove(nsid) }
        if geometry.blockCount == 0 { vanished.insert(nsid) } else { vanished.remove(nsid) }
    }
}
