import Base
import FabricInterface
import FabricLaws
import Glibc
import VerbsFabric

/// The world of a verbs device: what it does happens by itself.
private final class VerbsWorld: FabricLawWorld {
    private let own: SocketAddress

    init(_ address: SocketAddress) {
        own = address
        super.init()
    }

    override func makeFabric() throws -> Fabric { try VerbsFabric.open() }
    override var address: SocketAddress { own }
    override func progress() { usleep(200) }
}

/// Checks the laws of `Fabric` on the RDMA devices that have some addresses, and what only real memory and descriptors
/// show; reports in TAP.
@main
enum VerbsFabricLaws {
    static func main() {
        let overflows = CommandLine.arguments.dropFirst().first == "--overflow"
        let addresses = CommandLine.arguments.dropFirst(overflows ? 2 : 1).map { SocketAddress(host: $0, port: 0) }
        guard !addresses.isEmpty, !addresses.contains(nil) else {
            print("Bail out! usage: verbs-fabric-laws [--overflow] ADDRESS..., those of RDMA devices of this machine")
            exit(2)
        }
        let laws =
            FabricLaw.all + FabricLaw.resources + FabricLaw.registrations + (overflows ? FabricLaw.overflows : [])
        print("1..\(addresses.count * laws.count)")
        var number = 0
        var failures = 0
        func report(_ name: String, _ address: SocketAddress, _ error: (any Error)?) {
            number += 1
            print("\(error == nil ? "ok" : "not ok") \(number) - \(name) (\(address.host))")
            if let error {
                failures += 1
                print("# \(error)")
            }
            fflush(nil)
        }
        for case .some(let address) in addresses {
            let world = VerbsWorld(address)
            world.check(laws) { law, error in report(law.name, address, error) }
        }
        exit(failures == 0 ? 0 : 1)
    }
}
