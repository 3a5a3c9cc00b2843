import Base
import ControlPlane

/// Speaks with a daemon at its control socket. Whatever fails is an error of the command.
func withDaemon<Result>(at socket: String, _ body: (ControlClient) throws -> Result) throws -> Result {
    do { return try body(try ControlClient(path: socket)) } catch {
        throw (error as? TercetError) ?? TercetError(.failed, "\(error)")
    }
}
