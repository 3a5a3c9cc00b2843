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
        while word >= words.count { words.append(0) }
        words[word] |= 1 << UInt64(host.offset % 64)
    }

    mutating func subtract(_ others: HostSet) {
        for word in 0..<min(words.count, others.words.count) { words[word] &= ~others.words[word] }
        // An empty set has no words.
        if words.allSatisfy({ $0 == 0 }) { words = [] }
    }

    func contains(_ host: HostIndex) -> Bool {
        let word = host.offset / 64
        return word < words.count && words[word] >> UInt64(host.offset % 64) & 1 == 1
    }
}
