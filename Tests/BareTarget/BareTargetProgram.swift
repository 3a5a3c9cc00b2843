import ArgumentParser
import Base
import FabricInterface
import Foundation
import VerbsFabric

/// A target of the tests that offers what the NVMe specifications make mandatory, and what it is told to offer beside; all
/// else it answers with Invalid Field or Invalid Command Opcode.
///
/// It shares nothing with `tercetd` but the wire's structures: what a volume needs of a target of any make shows here.
@main
struct BareTargetProgram: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "bare-target")

    @Option var listen: String
    @Option var nqn: String
    @Option(help: "File that holds the namespace; its size is the namespace's.") var file: String
    @Option var blockSize = 512
    @Option(parsing: .upToNextOption, help: "What it offers beside the mandatory.") var offers: [Offer] = []
    @Flag(help: "Say that all is offered, and answer it with Invalid Field.") var lies = false

    func run() throws {
        guard let address = SocketAddress(listen, defaultPort: 4420) else { throw ValidationError("--listen") }
        let store = try MappedStore(path: file, blockSize: blockSize)
        let target = BareTarget(
            try VerbsFabric.open(), nqn: nqn, store: store, offers: Set(offers), lies: lies)
        try target.serve(address)
    }
}

/// Optional features that this target can offer.
enum Offer: String, ExpressibleByArgument, CaseIterable {
    /// Write Zeroes, without DEAC (DLFEAT 0).
    case writeZeroes = "write-zeroes"
    case compare
    /// Reservations of the type Write Exclusive, Registrants Only, which do not persist.
    case reservations
    /// A report of reservations names the controller by which each host registered, also when that has long gone (SPDK).
    case controllers
    /// Namespace Identification Descriptors with a UUID.
    case uuid
}

/// A namespace in a file that is mapped: it outlives the process that serves it.
final class MappedStore {
    let memory: UnsafeMutableRawBufferPointer
    let blockSize: Int
    var blockCount: UInt64 { UInt64(memory.count / blockSize) }

    init(path: String, blockSize: Int) throws {
        self.blockSize = blockSize
        let file = open(path, O_RDWR | O_CLOEXEC)
        defer { close(file) }
        var information = stat()
        guard file >= 0, fstat(file, &information) == 0, information.st_size > 0,
            let base = mmap(nil, information.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0), base != MAP_FAILED
        else { throw ValidationError("\(path) cannot be mapped") }
        memory = UnsafeMutableRawBufferPointer(start: base, count: information.st_size)
    }
}
