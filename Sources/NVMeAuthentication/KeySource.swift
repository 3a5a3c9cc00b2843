import Base
import Glibc

/// The keys with which a host connects to subsystems.
public enum KeySource: Equatable, Sendable {
    case keys(AuthenticationKeys)
    /// Files that are read anew for each connection, so that a key can be replaced. One that is a folder has a file for each
    /// subsystem, under its NQN.
    case files(host: String, controller: String?)

    /// The files that the environment names, for programs that connect from where it is set: `TERCET_KEY_FILE`, and
    /// `TERCET_CONTROLLER_KEY_FILE`.
    public static func environment() -> KeySource? {
        func value(_ name: String) -> String? {
            getenv(name).map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 }
        }
        return value("TERCET_KEY_FILE").map { .files(host: $0, controller: value("TERCET_CONTROLLER_KEY_FILE")) }
    }

    /// Controllers have to show who they are.
    public var provesController: Bool {
        switch self {
        case .keys(let keys): keys.controller != nil
        case .files(_, let controller): controller != nil
        }
    }

    /// The keys for a subsystem. May wait for a disk.
    public func keys(for subsystem: String) throws(TercetError) -> AuthenticationKeys {
        switch self {
        case .keys(let keys): return keys
        case .files(let host, let controller):
            var keys = AuthenticationKeys(host: try Self.key(host, subsystem))
            if let controller { keys.controller = try Self.key(controller, subsystem) }
            return keys
        }
    }

    private static func key(_ path: String, _ subsystem: String) throws(TercetError) -> AuthenticationKey {
        let folder = opendir(path)
        guard let folder else { return try AuthenticationKey(contentsOf: path) }
        closedir(folder)
        guard !subsystem.contains("/"), !subsystem.hasPrefix(".") else {
            throw TercetError(.invalid, "\(path): is a folder, and no file of it can have the name \(subsystem)")
        }
        return try AuthenticationKey(contentsOf: "\(path)/\(subsystem)")
    }
}
