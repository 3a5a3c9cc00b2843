import Base

/// Hosts of a subsystem, a bit for each.
struct HostSet: Sendable {
    private(set) var words: [UInt64] = []

    init() {}

    init(_ hosts: some Collection<HostIndex>) {
        let highest = hosts.max { $0.position < $1.position }
        words = [UInt64](repeating: 0, count: highest.map { $0.offset / 64 + 1 } ?? 0)
        for host in hosts { words[host.offset / 64] |= 1 << UInt64(host.offset % 64) }
    }

    var isEmpty: Bool { words.isEmpty }

    mutating func insert(_ host: HostIndex) {
        let word = host.offset / 64
        if word >= words.count { words += [UInt64](repeating: 0, count: word + 1 - words.count) }
        words[word] |= 1 << UInt64(host.offset % 64)
    }

    mutating func remove(_ hosts: [KnownHost]) {
        for host in hosts where contains(host.index) {
            words[host.index.offset / 64] &= ~(1 << UInt64(host.index.offset % 64))
        }
        // An empty set has no words.
        if words.allSatisfy({ $0 == 0 }) { words = [] }
    }

    func contains(_ host: HostIndex) -> Bool {
        let word = host.offset / 64
        return word < words.count && words[word] >> UInt64(host.offset % 64) & 1 == 1
    }
}
