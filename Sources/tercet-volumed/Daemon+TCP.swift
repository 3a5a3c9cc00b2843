import Base
import Logging
import NBDOverTCP
import NBDServer
import Reactor
import VolumedConfiguration

/// NBD clients over TCP: with keys, by way of the relay; or without, where that was asked for.
extension Daemon {
    /// Takes the addresses. Clients wait at them until `accept`.
    func openTCP() throws(TercetError) {
        for address in configuration.nbdAddresses where !tcpListeners.contains(where: { $0.name == "tcp://\(address)" })
        {
            tcpListeners.append(try TCPListener(address))
        }
        guard let first = tcpListeners.first else {
            guard configuration.nbdKeyFile == nil, !configuration.isNBDInsecure else {
                throw TercetError(.invalid, "keys of NBD clients are for TCP, and no address is given")
            }
            return
        }
        guard let path = configuration.nbdKeyFile else {
            guard configuration.isNBDInsecure else {
                throw TercetError(
                    .invalid, "\(first.name): a service manager's socket for clients over TCP needs keys for them")
            }
            journal.write(
                .warning,
                "NBD clients over TCP are served without TLS: whoever reaches the address reads and writes everything",
                ["address": "\(tcpListeners.map(\.name).joined(separator: ", "))"])
            return
        }
        let (server, reactor, journal) = (servers[0], reactors[0], journal)
        relay = try TLSRelay(
            tcpListeners, keys: try PreSharedKeys(contentsOf: path),
            patienceMilliseconds: configuration.clientPatienceMilliseconds,
            adopt: { descriptor in reactor.send { server.adopt(descriptor, isBound: true) } },
            observer: { journal.write($0) })
    }
}

extension Journal {
    /// Writes what a relay tells.
    func write(_ event: TLSRelayEvent) {
        switch event {
        case .began(let peer, let user):
            write(.info, "NBD client has begun TLS", ["peer": "\(peer)", "user": "\(user)"])
        case .refused(let peer, let reason, let unlogged):
            write(
                .warning, "NBD client refused",
                ["peer": "\(peer)", "reason": "\(reason)"].merging(
                    unlogged > 0 ? ["refusedBefore": "\(unlogged)"] : [:]
                ) { first, _ in first })
        case .acceptFailed(let reason):
            write(.error, "NBD client cannot be accepted; it is tried again", ["reason": "\(reason)"])
        }
    }
}
