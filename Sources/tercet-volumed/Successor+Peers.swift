import Base
import Logging
import Succession
import VolumeRegistry
import VolumedConfiguration

/// The watch over other daemons: one that is killed is noticed before its lease ends.
extension Successor {
    /// Watches the daemons that there are, each where it says that it listens.
    func watchPeers(_ seen: OwnersListing) async {
        let others = seen.daemons.filter { $0.record.name != settings.name }
        let addresses = Set(others.compactMap(\.record.address))
        for (address, watch) in watches where !addresses.contains(address) {
            watches[address] = nil
            await watch.end()
        }
        for text in addresses.sorted() where watches[text] == nil && watches.count < SuccessionSettings.places.count {
            guard let address = SocketAddress(text, defaultPort: 4420) else { continue }
            watches[text] = await daemon.watch(address) { [weak self] in
                Task { [weak self] in await self?.nobodyListens(at: text) }
            }
        }
    }

    /// The machine of a daemon says that nobody listens where it did.
    private func nobodyListens(at address: String) {
        for other in listing.daemons where other.record.address == address && other.record.name != settings.name {
            journal.write(
                .warning, "daemon \(other.record.name): nobody listens at \(address) any more; its lease is ended",
                ["daemon": "\(settings.name)"])
            take(.peerGone(LeaseNumber(other.lease)))
        }
    }
}

extension SocketAddress {
    /// All addresses of the machine: nobody else can connect to it by this.
    var isWildcard: Bool { host == "0.0.0.0" || host == "::" }
}
