import Base
import ControlPlane
import Foundation
import JSON

/// Speaks with a daemon at its control socket. Whatever fails is an error of the command, also a daemon that no longer answers.
func withDaemon<Result>(at socket: String, _ body: (ControlClient) throws -> Result) throws(TercetError) -> Result {
    do {
        return try body(try ControlClient(path: socket, patience: .whileAlive(silentSeconds: 5, aliveSeconds: 10)))
    } catch {
        throw (error as? TercetError) ?? TercetError(.failed, "\(error)")
    }
}

/// Prints what a daemon logs, from now on, until it ends.
func printEvents(ofDaemonAt socket: String, json: Bool) throws {
    try withDaemon(at: socket) { client in
        _ = try client.call(DaemonEvent.watch, NoParameters(), returning: JSONValue.self)
        while let event = try client.nextNotification(DaemonEvent.self) {
            if json {
                let encoder = JSONEncoder()
                encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
                print(String(decoding: try encoder.encode(event), as: UTF8.self))
            } else {
                let details = event.details.sorted { $0.key < $1.key }.map { " \($0.key)=\($0.value)" }.joined()
                print("\(event.time) \(event.level): \(event.message)\(details)")
            }
            fflush(nil)
        }
    }
}
