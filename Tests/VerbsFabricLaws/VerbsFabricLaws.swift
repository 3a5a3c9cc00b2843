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

/// Checks the laws of `Fabric` on the RDMA device that has an address, and reports in TAP.
@main
enum VerbsFabricLaws {
    static func main() {
        let arguments = CommandLine.arguments
        guard arguments.count == 2, let address = SocketAddress(host: arguments[1], port: 0) else {
            print("Bail out! usage: verbs-fabric-laws ADDRESS, one of an RDMA device of this machine")
            exit(2)
        }
        print("1..\(FabricLaw.all.count)")
        var number = 0
        var failures = 0
        VerbsWorld(address).checkFabricLaws { law, error in
            number += 1
            defer { fflush(nil) }
            print("\(error == nil ? "ok" : "not ok") \(number) - \(law.name)")
            guard let error else { return }
            failures += 1
            print("# \(error)")
        }
        exit(failures == 0 ? 0 : 1)
    }
}
