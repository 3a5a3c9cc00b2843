import Base
import BlockInterface
import Foundation
import TargetConfiguration
import TargetInterface
import Testing

/// The identities of namespaces that nobody has given any: never the same on two machines, of two daemons, of two backings.
/// A host takes namespaces of one identity for paths to one set of data.
@Suite struct IdentityTests {
    private static let nqn = "nqn.2026-01.org.example:a"
    private let first = Machine(machineID: "0123456789abcdef0123456789abcdef", productUUID: "4c4c4544-0001")
    /// A copy of its disk, under other firmware; and a machine that says nothing of itself.
    private let copy = Machine(machineID: "0123456789abcdef0123456789abcdef", productUUID: "4c4c4544-0002")
    private let unknown = Machine(machineID: nil, productUUID: nil)

    private func identity(_ backing: BlockSpecification, _ seed: IdentitySeed, nsid: UInt32 = 1) -> BlockIdentity {
        NamespaceDefinition(nsid: nsid, backing: .specified(backing)).identity(
            inSubsystem: Self.nqn, device: BlockIdentity(), seed: seed)
    }

    private func withFolder(_ body: (String) throws -> Void) throws {
        let folder = FileManager.default.temporaryDirectory.path + "/identity-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try body(folder)
    }

    private func file(_ path: String) { _ = FileManager.default.createFile(atPath: path, contents: Data(count: 4096)) }

    @Test("Given identifiers come before the device's, and those before made ones")
    func order() {
        let seed = IdentitySeed(kept: nil, machine: first)
        let given = BlockIdentity(nguid: Array(repeating: 1, count: 16))
        let device = BlockIdentity(eui64: Array(repeating: 2, count: 8))
        var namespace = NamespaceDefinition(nsid: 3, backing: .specified(BlockSpecification(.ram(byteCount: 4096))))
        #expect(namespace.identity(inSubsystem: Self.nqn, device: device, seed: seed) == device)
        let made = namespace.identity(inSubsystem: Self.nqn, device: BlockIdentity(), seed: seed)
        #expect(made.uuid?.count == 16 && made.nguid == made.uuid && made.eui64 == nil)
        namespace.identifiers = .derived
        #expect(namespace.identity(inSubsystem: Self.nqn, device: device, seed: seed) == made)
        namespace.identity = given
        #expect(namespace.identity(inSubsystem: Self.nqn, device: device, seed: seed) == given)
    }

    @Test("Two daemons with one command line are two: memory is another one in each run")
    func memory() {
        let memory = BlockSpecification(.ram(byteCount: 1 << 20))
        for machine in [first, unknown] {
            let one = identity(memory, IdentitySeed(kept: nil, machine: machine))
            let other = identity(memory, IdentitySeed(kept: nil, machine: machine))
            #expect(one != other)
        }
    }

    @Test("Three machines with one configuration are three", arguments: ["/dev/sda", "/srv/none.img"])
    func machines(path: String) {
        let backing = BlockSpecification(.path(path))
        let third = Machine(machineID: "ffff456789abcdef0123456789abcdef", productUUID: nil)
        let seeds = [first, copy, third, unknown, unknown].map { IdentitySeed(kept: nil, machine: $0) }
        #expect(Set(seeds.map { identity(backing, $0).uuid }).count == 5)
        #expect(Set(seeds.map { $0.serialNumber(nqn: Self.nqn, listeners: ["192.0.2.1:4420"]) }).count == 5)
        // The same at each start, where the machine says who it is.
        #expect(identity(backing, seeds[0]) == identity(backing, IdentitySeed(kept: nil, machine: first)))
        #expect(identity(backing, seeds[0], nsid: 2) != identity(backing, seeds[0]))
    }

    @Test("Two daemons on one machine have serial numbers of their own")
    func serials() {
        let seed = IdentitySeed(kept: nil, machine: first)
        let one = seed.serialNumber(nqn: Self.nqn, listeners: ["0.0.0.0:4420"])
        #expect(one != seed.serialNumber(nqn: Self.nqn, listeners: ["0.0.0.0:4421"]))
        #expect(one == IdentitySeed(kept: nil, machine: first).serialNumber(nqn: Self.nqn, listeners: ["0.0.0.0:4420"]))
        #expect(one.utf8.count == 20 && one.utf8.allSatisfy { (0x20...0x7E).contains($0) })
    }

    @Test("What is kept decides alone: another machine's name, listener or run changes nothing")
    func kept() {
        let kept = UUIDBytes.random()
        let seeds = [first, copy, unknown].map { IdentitySeed(kept: kept, machine: $0) }
        for backing in [BlockSpecification(.ram(byteCount: 4096)), BlockSpecification(.path("/dev/sda"))] {
            #expect(Set(seeds.map { identity(backing, $0).uuid }).count == 1)
            #expect(
                identity(backing, IdentitySeed(kept: .random(), machine: first))
                    != identity(backing, seeds[0]))
        }
        #expect(Set(seeds.enumerated().map { $1.serialNumber(nqn: Self.nqn, listeners: ["\($0)"]) }).count == 1)
    }

    /// If the file system has no user attributes, the path stands in for the mark; both are tried.
    @Test("A file's identity goes with the file, and not with its copies")
    func files() throws {
        try withFolder { folder in
            let seed = IdentitySeed(kept: nil, machine: first)
            file("\(folder)/a")
            let backing = BlockSpecification(.path("\(folder)/a"))
            let made = identity(backing, seed)
            #expect(identity(backing, IdentitySeed(kept: nil, machine: first)) == made, "the same in the next run")
            file("\(folder)/b")
            #expect(identity(BlockSpecification(.path("\(folder)/b")), seed) != made)
            #expect(identity(backing, IdentitySeed(kept: nil, machine: copy)) != made)
            guard let mark = BackingMark(path: "\(folder)/a") else { return }
            #expect(BackingMark(path: "\(folder)/a") == mark, "made once")
            try FileManager.default.moveItem(atPath: "\(folder)/a", toPath: "\(folder)/c")
            #expect(identity(BlockSpecification(.path("\(folder)/c")), seed) == made, "a name is not a file")
        }
    }

    @Test("A copied mark is another file's")
    func copiedMark() {
        let seed = IdentitySeed(kept: nil, machine: unknown)
        let uuid = UUIDBytes.random()
        let backing = NamespaceBacking.specified(BlockSpecification(.path("/a")))
        let marks = [BackingMark(uuid: uuid, inode: 12), BackingMark(uuid: uuid, inode: 13)]
        #expect(
            Set(marks.map { seed.namespaceUUID(nqn: Self.nqn, nsid: 1, backing: backing, mark: $0) }).count == 2)
    }
}
