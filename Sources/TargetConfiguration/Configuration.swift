import Base
import TargetInterface

/// All that a daemon with a target is told: what the target is to be, and what the daemon itself may use.
///
/// The same value comes from a file (`init(contentsOf:)`) and from a command line (`init(listen:exports:)`).
public struct Configuration: Equatable, Sendable {
    /// Threads that serve.
    public var reactors = ReactorChoice.automatic
    /// The target.
    public var definition: TargetDefinition
    /// A folder for what must outlive the daemon: the identity of its namespaces, and reservations that persist through power
    /// loss. `nil` if hosts are not offered those.
    public var stateDirectory: String?
    /// Least level that is logged; `nil` leaves it as the command line says.
    public var logLevel: LogLevel?
    /// The target does not begin where a part of this cannot be served; else it serves the rest and tries again.
    public var requiresAll = false

    public init(_ definition: TargetDefinition = TargetDefinition()) { self.definition = definition }

    /// The port that IANA has assigned to NVMe over RDMA.
    public static let defaultPort: UInt16 = 4420
}

/// Levels of the log, from those that say most.
public enum LogLevel: String, CaseIterable, Equatable, Sendable {
    case trace
    case debug
    case info
    case notice
    case warning
    case error
    case critical
}

/// Threads that serve, each on a processor of its own.
public enum ReactorChoice: Equatable, Sendable {
    /// One for each processor that the process may use.
    case automatic
    /// That many, on the first of them.
    case count(Int)
    /// On these: ordinals among the processors that the process may use, from 0.
    case processors([Int])
}

extension Configuration {
    /// Lines for people about what differs from an earlier configuration and is not the target's.
    public func linesForRestart(since old: Configuration) -> [String] {
        [("reactors", old.reactors != reactors), ("stateDirectory", old.stateDirectory != stateDirectory)]
            .filter(\.1).map { DefinitionChange.lineForRestart($0.0) }
    }
}
