import Base
import Foundation
import RegistryLaws
import Testing
import VolumeDriver
import VolumeRegistry

@Suite("The registry of volumes")
struct VolumeRegistryTests {
    @Test("A registry in memory keeps the laws")
    func laws() async {
        let seed = UInt64.random(in: .min ... .max)
        let registry = MemoryRegistry(keptChanges: 20)
        let violations = await checkRegistryLaws(
            registry, other: registry, keptChanges: 20, write: { registry.write(text: $0, name: $1) }, seed: seed)
        #expect(violations == [], "seed \(seed)")
    }

    @Test("An entry has the form that is documented")
    func form() throws {
        let members = try (1...3).map { try #require(MemberAddress("192.0.2.\($0)/nqn.2026-11.io.example:a/1")) }
        var entry = VolumeEntry(
            name: "db", uuid: UUIDBytes(high: 0x1234_5678_9ABC_4EF0, low: 0x8123_4567_89AB_CDEF), state: .creating,
            size: 268_414_976, members: members.map { VolumeEntry.Member($0) }, regionSize: 1 << 20)
        entry.members[0].identity = UUIDBytes(high: 1, low: 2)
        entry.exports = ["nbd"]
        entry.contents = "blank"
        entry.labels = ["tier": "1"]
        entry.operation = VolumeOperation(
            .create,
            worker: Worker(host: "h", processID: 7, boot: "b", machine: "m", namespace: "pid:[1]", start: 9))
        let text = try entry.text()
        #expect(
            text == """
                {"contents":"blank","exports":["nbd"],"fencing":"reservations","labels":{"tier":"1"},"members":[\
                {"address":"192.0.2.1:4420/nqn.2026-11.io.example:a/1","identity":"00000000-0000-0001-0000-000000000002"},\
                {"address":"192.0.2.2:4420/nqn.2026-11.io.example:a/1"},{"address":"192.0.2.3:4420/nqn.2026-11.io.example:a/1"}],\
                "minimum_copies":2,"name":"db","operation":{"kind":"create","worker":{"boot":"b","host":"h","machine":"m",\
                "namespace":"pid:[1]","process":7,"start":9}},"region_size":1048576,"size":268414976,"state":"creating",\
                "uuid":"12345678-9abc-4ef0-8123-456789abcdef","version":1}
                """)
        #expect(try VolumeEntry(text: Array(text.utf8), name: "db") == entry)
    }

    @Test("A former member is to be deleted if it was made for the volume, and not if it is needed again")
    func replacement() throws {
        let members = try (1...3).map { try #require(MemberAddress("192.0.2.\($0)/nqn.2026-11.io.example:a/1")) }
        let other = try #require(MemberAddress("192.0.2.4/nqn.2026-11.io.example:a/7"))
        let identities = (1...4).map { UUIDBytes(high: 1, low: $0) }
        var entry = VolumeEntry(
            name: "db", uuid: UUIDBytes(high: 1, low: 9), state: .ready,
            members: zip(members, identities).map { VolumeEntry.Member($0, identity: $1) }, regionSize: 1 << 20)
        entry.members[1].pool = "p1"
        let pooled = entry.members[1]
        entry.replace(0, with: other, identities[3])
        #expect(entry.replaced.isEmpty, "an operator's is an operator's")
        entry.replace(0, with: members[0], identities[0])
        entry.replace(1, with: other, identities[3])
        #expect(entry.replaced == [pooled])
        #expect(entry.members[1].pool == nil && entry.members[1].address == other)
        let text = try entry.text()
        #expect(
            text.contains(#""replaced":[{"address":"192.0.2.2:4420/nqn.2026-11.io.example:a/1","identity":"00000000-"#))
        #expect(try VolumeEntry(text: Array(text.utf8), name: "db") == entry)
        entry.replace(1, with: other, identities[3])
        #expect(entry.replaced == [pooled], "the same again changes nothing")
        entry.replace(1, with: members[1], identities[1])
        #expect(entry.replaced.isEmpty && entry.members[1] == pooled, "it is the volume's again")
        entry.replaced = [pooled]
        #expect(throws: RegistryError.self) { try entry.validate() }
    }

    @Test("A worker that has ended is told from one that is there, and from one that cannot be seen")
    func workers() throws {
        #expect(Worker.current.isAlive == true)
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/true")
        try process.run()
        process.waitUntilExit()
        var worker = Worker.current
        worker.processID = process.processIdentifier
        #expect(worker.isAlive == false)
        worker = .current
        worker.start += 1
        #expect(worker.isAlive == false, "its number belongs to another process now")
        worker = .current
        worker.namespace = "pid:[1]"
        #expect(worker.isAlive == nil)
        worker = .current
        worker.boot = "another"
        #expect(worker.isAlive == (worker.machine.isEmpty ? nil : false))
        worker.machine = "another"
        #expect(worker.isAlive == nil)
    }
}
