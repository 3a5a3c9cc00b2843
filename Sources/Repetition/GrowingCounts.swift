/// Decides when a log tells that a count has grown: at the first look that sees it, and then at most once in 60 looks.
///
/// The clock is the caller's looks. The daemons look once a second.
public struct GrowingCounts<Key: Hashable & Sendable>: Sendable {
    private struct Report {
        var count: UInt64
        /// Looks since then.
        var looks: Int
    }

    private static var looksBetweenReports: Int { 60 }
    private var reports: [Key: Report] = [:]

    public init() {}

    /// Looks at counts that are above 0; those that are not given are forgotten. A count that is lower than it was told is another
    /// one's, and begins anew.
    ///
    /// - Returns: what is to be told: by how much a count has grown since it was told last.
    public mutating func look(at counts: [Key: UInt64]) -> [Key: UInt64] {
        var next: [Key: Report] = [:]
        var growth: [Key: UInt64] = [:]
        for (key, count) in counts {
            var report = Report(count: 0, looks: Self.looksBetweenReports)
            if let last = reports[key], last.count <= count { report = last }
            report.looks += 1
            if count > report.count, report.looks > Self.looksBetweenReports {
                growth[key] = count - report.count
                report = Report(count: count, looks: 0)
            }
            next[key] = report
        }
        reports = next
        return growth
    }
}
