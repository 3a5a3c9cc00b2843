import Base
import TargetConfiguration
import TargetInterface
import Testing

@Suite("A pool in a target's configuration file")
struct PoolConfigurationTests {
    private static func text(_ subsystems: String) -> String {
        "{ \"listeners\": [ { \"address\": \"127.0.0.1\" } ], \"subsystems\": [\n\(subsystems) ] }"
    }

    /// A pool of a subsystem that any host may use, on line 3 from column 1 on.
    private static func pool(_ body: String) -> String {
        text("{ \"nqn\": \"nqn.2026-01.org.example:a\", \"allowAnyHost\": true, \"pool\": {\n\(body) } }")
    }

    /// The same for a subsystem whose contents are on line 3.
    private static func subsystem(_ body: String) -> String {
        text("{ \"nqn\": \"nqn.2026-01.org.example:a\",\n\(body) }")
    }

    @Test("It is read, with what is not said")
    func read() throws {
        let configuration = try Configuration(
            parsing: Self.text(
                """
                { "nqn": "nqn.2026-01.org.example:a", "allowAnyHost": true, "pool": {
                  "folder": "/srv/pool", "capacity": "2T", "maxNamespaces": 9, "blockSize": 512,
                  "managers": ["nqn.2026-01.org.example:h"] } },
                { "nqn": "nqn.2026-01.org.example:b", "allowAnyHost": true,
                  "pool": { "folder": "/srv/other", "capacity": "1G" } }
                """), file: "f")
        #expect(
            configuration.definition.subsystems.map(\.pool) == [
                PoolDefinition(
                    folder: "/srv/pool", capacity: 2 << 40, maxNamespaces: 9, blockSize: 512,
                    managers: ["nqn.2026-01.org.example:h"]),
                PoolDefinition(folder: "/srv/other", capacity: 1 << 30, maxNamespaces: 1024, blockSize: 4096),
            ])
    }

    static let mistakes: [(text: String, message: String)] = [
        (pool("\"capacity\": \"1G\""), "f:2:69: subsystems[0].pool.folder: is missing; allowed: the path of a folder"),
        (
            pool("\"folder\": \"/p\""),
            "f:2:69: subsystems[0].pool.capacity: is missing; allowed: bytes of all namespaces, such as \"1T\""
        ),
        (
            pool("\"folder\": \"p\", \"capacity\": \"1G\""),
            "f:3:11: subsystems[0].pool.folder: 'p' is no path from the root; allowed: \"/...\""
        ),
        (
            pool("\"folder\": \"/p\", \"capacity\": 4096"),
            "f:3:29: subsystems[0].pool.capacity: 4096 is out of range; allowed: 1M to 65536T, as a number of bytes or with K, M, G or T"
        ),
        (
            pool("\"folder\": \"/p\", \"capacity\": \"1G\", \"maxNamespaces\": 0"),
            "f:3:52: subsystems[0].pool.maxNamespaces: 0 is out of range; allowed: 1 to 8192"
        ),
        (
            pool("\"folder\": \"/p\", \"capacity\": \"1G\", \"blockSize\": 4095"),
            "f:3:48: subsystems[0].pool.blockSize: 4095 is no block size; allowed: a power of two from 512 to 65536"
        ),
        (
            pool("\"folder\": \"/p\", \"manager\": []"),
            "f:3:17: subsystems[0].pool.manager: unknown key; did you mean 'managers'? allowed: folder, capacity, maxNamespaces, blockSize, managers"
        ),
        (
            pool(
                "\"folder\": \"/p\", \"capacity\": \"1G\", \"managers\": [ \"nqn.2026-01.a:h\", \"nqn.2026-01.a:h\" ]"),
            "f:3:68: subsystems[0].pool.managers[1]: 'nqn.2026-01.a:h' is there twice; allowed: each host once"
        ),
        (
            subsystem(
                "\"hosts\": [], \"pool\": { \"folder\": \"/p\", \"capacity\": \"1G\", \"managers\": [ \"nqn.2026-01.a:h\" ] }"
            ),
            "f:3:70: subsystems[0].pool.managers: 'nqn.2026-01.a:h' may not connect; allowed: hosts of the subsystem"
        ),
        (
            subsystem(
                "\"hosts\": [], \"namespaces\": [ { \"nsid\": 1, \"backing\": \"ram:1M\" } ], \"pool\": { \"folder\": \"/p\", \"capacity\": \"1G\" }"
            ),
            "f:3:28: subsystems[0].namespaces: a pool makes its namespaces itself; allowed: \"namespaces\" or \"pool\""
        ),
        (
            subsystem(
                """
                "hosts": [], "pool": { "folder": "/p", "capacity": "1G" } },
                { "nqn": "nqn.2026-01.org.example:b", "hosts": [], "pool": { "folder": "/p", "capacity": "1G" }
                """),
            "f:4:72: subsystems[1].pool.folder: the folder '/p' is at subsystems[0].pool.folder already; allowed: each pool its own"
        ),
    ]

    @Test("A mistake is named with its place, its key and what is allowed", arguments: mistakes)
    func mistake(text: String, message: String) {
        do throws(TercetError) {
            _ = try Configuration(parsing: text, file: "f")
            Issue.record("nothing is found wrong with \(text)")
        } catch {
            #expect(error.description == message)
        }
    }

    @Test("A pool that is there is changed by a control method, and written in the file's order")
    func edit() throws {
        var document = try ConfigurationDocument(
            parsing: Self.pool("\"folder\": \"/p\", \"capacity\": \"1G\""), file: "f")
        let edit = try #require(ConfigurationEdit.all.first { $0.method == "subsystem.set" })
        try edit.apply(
            .object([
                .init("nqn", .text("nqn.2026-01.org.example:a")),
                .init("pool", .object([.init("capacity", .text("2G")), .init("folder", .text("/p"))])),
            ]), to: &document)
        #expect(try document.configuration().definition.subsystems[0].pool?.capacity == 2 << 30)
        #expect(document.text.contains("\"pool\": { \"folder\": \"/p\", \"capacity\": \"2G\" }"))
    }
}
