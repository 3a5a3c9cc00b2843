import Base

/// Decides which refusals are told: one for each peer and reason in a while, and not more than some in all, so that nobody fills a log.
struct RefusalLog {
    /// Between two lines about one peer and reason, in milliseconds.
    static let pauseMilliseconds: UInt64 = 60_000
    /// Peers with reasons that are kept in mind; further refusals are counted only.
    static let capacity = 64

    private var told: [String: MonotonicTime] = [:]
    private var unlogged = 0

    /// Returns how many were not told before this one; `nil` where this one is not to be told.
    ///
    /// - Parameter peer: an address with a port, which does not count: each connection has another one.
    mutating func admit(_ peer: String, _ reason: String, _ now: MonotonicTime) -> Int? {
        let address = peer[..<(peer.lastIndex(of: ":") ?? peer.endIndex)] + " " + reason
        told = told.filter { now.nanoseconds(since: $0.value) < Self.pauseMilliseconds * 1_000_000 }
        guard told[String(address)] == nil, told.count < Self.capacity else {
            unlogged += 1
            return nil
        }
        told[String(address)] = now
        defer { unlogged = 0 }
        return unlogged
    }
}
