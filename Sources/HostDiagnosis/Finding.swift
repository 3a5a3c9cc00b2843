/// Something that is wrong with a host, and the remedy.
public struct Finding: Codable, Equatable, Sendable {
    public enum Severity: String, Codable, Comparable, Sendable {
        /// It works, slowly or not always.
        case warning
        /// Something does not work.
        case error

        public static func < (left: Severity, right: Severity) -> Bool { left == .warning && right == .error }
    }

    public var severity: Severity
    /// The thing that it is about: a device, a limit, an address.
    public var subject: String
    /// One sentence.
    public var problem: String
    /// One sentence: what comes of it.
    public var consequence: String
    /// A command or a setting.
    public var remedy: String

    init(_ severity: Severity, _ subject: String, _ problem: String, why consequence: String, remedy: String) {
        self.severity = severity
        self.subject = subject
        self.problem = problem
        self.consequence = consequence
        self.remedy = remedy
    }

    /// Three lines for people.
    public var lines: [String] {
        ["\(severity.rawValue): \(subject): \(problem)", "  why it matters: \(consequence)", "  remedy: \(remedy)"]
    }
}
