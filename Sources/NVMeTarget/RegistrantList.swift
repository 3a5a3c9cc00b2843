import Base

/// A host that is registered with a namespace.
struct Registrant: Sendable {
    var host: KnownHost
    /// Reservation Key.
    var key: UInt64
}

/// The registrants of a namespace, ascending by their Host Identifiers.
///
/// They lie in blocks, and a copy that differs by one registrant has all blocks but one in common: a reservation is a value, and
/// thousands are not copied for each command.
struct RegistrantList: Sendable {
    private static let blockCapacity = 128

    /// None is empty.
    private var blocks: [[Registrant]] = []
    private(set) var count = 0

    init() {}

    /// - Parameter registrants: of different hosts.
    init(_ registrants: [Registrant]) {
        for registrant in registrants { insert(registrant) }
    }

    var isEmpty: Bool { count == 0 }

    /// The block in which a host is, or would be, and the place in it of the first that is not before the host.
    private func place(of host: UUIDBytes) -> (block: Int, offset: Int) {
        let block = max(0, firstPlace(blocks.count) { blocks[$0][0].host.id <= host } - 1)
        guard block < blocks.count else { return (0, 0) }
        return (block, firstPlace(blocks[block].count) { blocks[block][$0].host.id < host })
    }

    /// The first of `count` places that is not among those `before`, which come first.
    private func firstPlace(_ count: Int, before: (Int) -> Bool) -> Int {
        var (low, high) = (0, count)
        while low < high {
            let middle = (low + high) / 2
            if before(middle) { low = middle + 1 } else { high = middle }
        }
        return low
    }

    private func existingPlace(of host: UUIDBytes) -> (block: Int, offset: Int)? {
        let (block, offset) = place(of: host)
        guard block < blocks.count, offset < blocks[block].count, blocks[block][offset].host.id == host else {
            return nil
        }
        return (block, offset)
    }

    subscript(host: UUIDBytes) -> Registrant? { existingPlace(of: host).map { blocks[$0.block][$0.offset] } }

    /// The one of a number, in their order.
    subscript(number: Int) -> Registrant {
        var (block, left) = (0, number)
        while left >= blocks[block].count {
            left -= blocks[block].count
            block += 1
        }
        return blocks[block][left]
    }

    func forEach(_ body: (Registrant) -> Void) {
        for block in blocks { for registrant in block { body(registrant) } }
    }

    /// All hosts but one.
    func hosts(except host: KnownHost? = nil) -> [KnownHost] {
        var hosts: [KnownHost] = []
        hosts.reserveCapacity(count)
        forEach { if $0.host != host { hosts.append($0.host) } }
        return hosts
    }

    // MARK: Changes

    /// Adds a registrant whose host is not among them.
    mutating func insert(_ registrant: Registrant) {
        count += 1
        guard !blocks.isEmpty else { return blocks.append([registrant]) }
        let (block, offset) = place(of: registrant.host.id)
        blocks[block].insert(registrant, at: offset)
        guard blocks[block].count > Self.blockCapacity else { return }
        let upper = Array(blocks[block][(Self.blockCapacity / 2)...])
        blocks[block].removeLast(upper.count)
        blocks.insert(upper, at: block + 1)
    }

    mutating func setKey(_ key: UInt64, of host: UUIDBytes) {
        guard let (block, offset) = existingPlace(of: host) else { return }
        blocks[block][offset].key = key
    }

    mutating func remove(_ host: UUIDBytes) {
        guard let (block, offset) = existingPlace(of: host) else { return }
        count -= 1
        blocks[block].remove(at: offset)
        if blocks[block].isEmpty { blocks.remove(at: block) }
    }

    /// Some are removed: a look at all of them, that can be interrupted after any block.
    struct Removal: Sendable {
        /// The block that is looked at next.
        fileprivate var block = 0
    }

    /// Goes on with a removal, at a block of registrants. Returns how many they are; 0 where all have been looked at.
    ///
    /// - Parameter isRemoved: asked once for each.
    mutating func advance(_ removal: inout Removal, removing isRemoved: (Registrant) -> Bool) -> Int {
        guard removal.block < blocks.count else { return 0 }
        let all = blocks[removal.block]
        var rest: [Registrant] = []
        rest.reserveCapacity(all.count)
        for registrant in all where !isRemoved(registrant) { rest.append(registrant) }
        count -= all.count - rest.count
        if rest.isEmpty {
            blocks.remove(at: removal.block)
        } else {
            if rest.count < all.count { blocks[removal.block] = rest }
            removal.block += 1
        }
        return all.count
    }
}
