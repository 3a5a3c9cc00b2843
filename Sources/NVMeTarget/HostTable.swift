import Base

/// A host as a subsystem knows it: its Host Identifier, and its place among the hosts of the subsystem.
struct KnownHost: BitwiseCopyable, Equatable, Sendable {
    var id: UUIDBytes
    var index: HostIndex
}

/// The hosts of a subsystem that something of is here: a controller, commands of an ended one, a registration. Each has a place
/// of its own as long, by which the I/O path and reservations know it.
///
/// Hosts are added and found in a time that hardly grows with their number, and many are released in one pass.
struct HostTable: Sendable {
    private struct Place: Sendable {
        var id = UUIDBytes()
        /// Things of the host that are here.
        var claims = 0
        /// Ascending by their identifiers.
        var controllers: [Controller] = []
    }

    /// A host, ordered by its identifier.
    private struct Name: Comparable, Sendable {
        var id: UUIDBytes
        var index = HostIndex.none

        static func < (left: Name, right: Name) -> Bool { left.id < right.id }
        static func == (left: Name, right: Name) -> Bool { left.id == right.id }
    }

    private var places: [Place] = []
    private var names = AscendingList<Name>()
    private var free: [HostIndex] = []

    /// Keeps a host's place for one thing more; a host that has none gets one.
    mutating func claim(_ id: UUIDBytes) -> HostIndex {
        if let known = names.element(equalTo: Name(id: id)) {
            places[known.index.offset].claims += 1
            return known.index
        }
        let index = free.popLast() ?? HostIndex(position: UInt32(places.count))
        if index.offset == places.count { places.append(Place()) }
        (places[index.offset].id, places[index.offset].claims) = (id, 1)
        names.insert(Name(id: id, index: index))
        return index
    }

    /// Keeps the place of a host that has one for one thing more.
    mutating func claim(_ index: HostIndex) { places[index.offset].claims += 1 }

    mutating func release(_ index: HostIndex) {
        guard letGo(index) else { return }
        names.remove(Name(id: places[index.offset].id))
        free.append(index)
    }

    /// The same for many hosts, in one pass over those whose identifiers lie between theirs.
    mutating func release(_ hosts: [HostIndex]) {
        let gone = hosts.filter { letGo($0) }
        let places = places
        let identifiers = gone.map { places[$0.offset].id }
        guard let first = identifiers.min(), let last = identifiers.max() else { return }
        names.removeAll(from: Name(id: first), through: Name(id: last)) { places[$0.index.offset].claims == 0 }
        free += gone
    }

    /// One thing of the host less; `true` where it was the last.
    private mutating func letGo(_ index: HostIndex) -> Bool {
        guard index.offset < places.count, places[index.offset].claims > 0 else { return false }
        places[index.offset].claims -= 1
        return places[index.offset].claims == 0
    }

    // MARK: Controllers

    /// The controllers of a host, ascending by their identifiers; none where its place is another one's now.
    func controllers(of host: KnownHost) -> [Controller] {
        guard host.index.offset < places.count, places[host.index.offset].id == host.id else { return [] }
        return places[host.index.offset].controllers
    }

    mutating func add(_ controller: Controller) {
        let offset = controller.host.index.offset
        let place = places[offset].controllers.firstIndex { $0.id > controller.id }
        places[offset].controllers.insert(controller, at: place ?? places[offset].controllers.count)
    }

    mutating func remove(_ controller: Controller) {
        places[controller.host.index.offset].controllers.removeAll { $0 === controller }
    }
}
