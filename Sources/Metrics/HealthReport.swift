/// Checks of a daemon's health, in the form that Kubernetes' own components answer in: `[+]name ok`, `[-]name failed: reason`.
public struct HealthReport: Sendable {
    public struct Check: Sendable {
        public let name: String
        /// The reason why it fails; `nil` if all is well.
        public let problem: String?

        public init(_ name: String, _ problem: String?) {
            self.name = name
            self.problem = problem
        }
    }

    private let checks: [Check]

    public init(_ checks: [Check]) { self.checks = checks }

    /// 200, or 503 if a check fails. All checks are told if one fails, or the request wants them (`?verbose`).
    public func answer(_ request: HTTPRequest) -> HTTPAnswer {
        let isWell = checks.allSatisfy { $0.problem == nil }
        var lines = [isWell ? "ok" : "failed"]
        if !isWell || request.query.split(separator: "&").contains(where: { $0 == "verbose" || $0 == "verbose=1" }) {
            lines = checks.map { check in
                check.problem.map { "[-]\(check.name) failed: \($0)" } ?? "[+]\(check.name) ok"
            }
            lines.append("\(request.path.dropFirst()) check \(isWell ? "passed" : "failed")")
        }
        return HTTPAnswer(status: isWell ? 200 : 503, body: lines.joined(separator: "\n") + "\n")
    }
}
