import Base
import BlockInterface
import NVMeSpec
import TargetConfiguration
import TargetInterface
import Testing

@Suite("A target's command line, identifiers and changes")
struct CommandLineTests {
    static let nqn = "nqn.2026-01.org.example:a"

    @Test("Listen and export build the value that a file would")
    func equivalent() throws {
        let line = try Configuration(
            listen: ["192.0.2.1", "[2001:db8::1]:4421"],
            exports: [
                "\(Self.nqn)=/dev/nvme0n1", "nqn.2026-01.org.example:b=null:1T", "\(Self.nqn)=ram:64M,block=4096",
            ])
        let file = try Configuration(
            parsing: """
                { "listeners": [ { "address": "192.0.2.1" }, { "address": "2001:db8::1", "port": 4421 } ],
                  "subsystems": [
                    { "nqn": "\(Self.nqn)", "allowAnyHost": true, "namespaces": [
                        { "nsid": 1, "backing": "/dev/nvme0n1" },
                        { "nsid": 2, "backing": "ram:64M", "blockSize": 4096 } ] },
                    { "nqn": "nqn.2026-01.org.example:b", "allowAnyHost": true, "namespaces": [
                        { "nsid": 1, "backing": "null:1T" } ] } ] }
                """, file: "f")
        #expect(line == file)
        #expect(try DefinitionChange(from: line.definition, to: file.definition).isEmpty)
    }

    @Test(
        "A mistake is named with its option and what is allowed, in one line",
        arguments: [
            ([], ["\(nqn)=x"], "--listen is missing; allowed: --listen ADDRESS[:PORT]"),
            (["::1"], [], "--export is missing; allowed: --export NQN=PATH"),
            (
                ["host"], ["\(nqn)=x"],
                "--listen host: no address; allowed: ADDRESS, ADDRESS:PORT, [IPV6] or [IPV6]:PORT, in numbers"
            ),
            (
                ["127.0.0.1:0"], ["\(nqn)=x"],
                "--listen 127.0.0.1:0: no address; allowed: ADDRESS, ADDRESS:PORT, [IPV6] or [IPV6]:PORT, in numbers"
            ),
            (["::1", "[::1]:4420"], ["\(nqn)=x"], "--listen [::1]:4420: is given twice"),
            (
                ["::1"], ["/dev/nvme0n1"],
                "--export /dev/nvme0n1: no '='; allowed: NQN=PATH, PATH being a device, a file, ram:SIZE or null:SIZE"
            ),
            (
                ["::1"], ["=x"],
                "--export '': a name is needed; allowed: nqn.YYYY-MM.REVERSE.DOMAIN:NAME or nqn.2014-08.org.nvmexpress:uuid:UUID"
            ),
            (["::1"], ["\(nqn)="], "--export '': a path, ram:SIZE or null:SIZE is needed"),
            (
                ["::1"], ["\(nqn)=ram:5Q"],
                "--export ram:5Q: '5Q' is no size; a number with K, M, G or T is, such as ram:64M"
            ),
            (
                ["::1"], ["nqn.2014-08.org.nvmexpress.discovery=x"],
                "subsystems[0].nqn: the discovery subsystem is there by itself; allowed: a name of your own"
            ),
            (
                ["::1"], ["\(nqn)=x", "\(nqn)=x"],
                "subsystems[0].namespaces[1].backing: 'x' is at subsystems[0].namespaces[0].backing already; allowed: each path once, or several times with readOnly"
            ),
        ] as [([String], [String], String)])
    func mistakes(listen: [String], exports: [String], message: String) {
        #expect(throws: TercetError(.invalid, message)) { try Configuration(listen: listen, exports: exports) }
    }

    @Test("A name without the form of an NQN is taken, with a remark")
    func names() throws {
        let configuration = try Configuration(listen: ["::1"], exports: ["testnqn=null:1M", "\(Self.nqn)=null:1M"])
        #expect(configuration.definition.subsystems.map(\.nqn) == ["testnqn", Self.nqn])
        #expect(configuration.remarks.count == 1)
        #expect(
            configuration.remarks.first?.hasPrefix("subsystem 'testnqn': an NQN begins with \"nqn.\"; it is taken")
                == true)
        let file = Configuration(
            try self.configuration(
                """
                { "nqn": "nqn.2026-13.a:b", "hosts": ["me", "\(Self.nqn)"] }
                """))
        #expect(file.remarks.count == 2)
        let long = String(repeating: "x", count: 224)
        #expect(throws: TercetError.self) { try Configuration(listen: ["::1"], exports: ["\(long)=null:1M"]) }
    }

    @Test("A reload says what is to be done, and only that")
    func change() throws {
        func configuration(_ listeners: [String], _ extra: String, _ subsystems: String) throws -> TargetDefinition {
            let addresses = listeners.map { "{ \"address\": \"\($0)\" }" }.joined(separator: ",")
            return try Configuration(
                parsing: "{ \(extra) \"listeners\": [\(addresses)], \"subsystems\": [\(subsystems)] }", file: "f"
            ).definition
        }
        let old = try configuration(
            ["192.0.2.1", "192.0.2.2"], "",
            """
            { "nqn": "nqn.2026-01.a:stays", "hosts": ["nqn.2026-01.a:h1"], "namespaces": [
                { "nsid": 1, "backing": "/a" }, { "nsid": 2, "backing": "/b" }, { "nsid": 3, "backing": "/c" } ] },
            { "nqn": "nqn.2026-01.a:replaced", "serial": "1", "allowAnyHost": true },
            { "nqn": "nqn.2026-01.a:same", "allowAnyHost": true },
            { "nqn": "nqn.2026-01.a:goes", "allowAnyHost": true }
            """)
        let new = try configuration(
            ["192.0.2.2", "192.0.2.3"], "\"queueDepth\": 64,",
            """
            { "nqn": "nqn.2026-01.a:same", "allowAnyHost": true },
            { "nqn": "nqn.2026-01.a:comes", "allowAnyHost": true },
            { "nqn": "nqn.2026-01.a:stays", "hosts": ["nqn.2026-01.a:h1", "nqn.2026-01.a:h2"],
              "anaGroups": [ { "id": 1, "state": "inaccessible" } ], "namespaces": [
                { "nsid": 2, "backing": "/b2" }, { "nsid": 3, "backing": "/c" }, { "nsid": 4, "backing": "/d" } ] },
            { "nqn": "nqn.2026-01.a:replaced", "serial": "2", "allowAnyHost": true }
            """)
        let change = try DefinitionChange(from: old, to: new)
        #expect(
            change.lines == [
                "listener 192.0.2.1:4420 removed",
                "listener 192.0.2.3:4420 added",
                "subsystem nqn.2026-01.a:replaced is made anew: its hosts lose it for a moment; those registered with "
                    + "it are disconnected, and a reservation is lost unless it persists through power loss",
                "subsystem nqn.2026-01.a:replaced removed",
                "subsystem nqn.2026-01.a:goes removed",
                "subsystem nqn.2026-01.a:replaced added",
                "subsystem nqn.2026-01.a:comes added",
                "subsystem nqn.2026-01.a:stays: 2 hosts may connect",
                "subsystem nqn.2026-01.a:stays: namespace 2 is made anew: its hosts lose it for a moment; those "
                    + "registered with it are disconnected, and a reservation is lost unless it persists through power loss",
                "subsystem nqn.2026-01.a:stays: namespace 1 removed",
                "subsystem nqn.2026-01.a:stays: namespace 2 removed",
                "subsystem nqn.2026-01.a:stays: namespace 2 added (/b2)",
                "subsystem nqn.2026-01.a:stays: namespace 4 added (/d)",
                "subsystem nqn.2026-01.a:stays: ANA group 1 is inaccessible",
                "queueDepth differs; this takes effect at the next start",
            ])
        #expect(try DefinitionChange(from: new, to: new).isEmpty)
        #expect(!change.isEmpty)
    }

    private func configuration(_ subsystems: String) throws -> TargetDefinition {
        try Configuration(
            parsing: "{ \"listeners\": [{ \"address\": \"192.0.2.1\" }], \"subsystems\": [\(subsystems)] }", file: "f"
        ).definition
    }

    @Test("What could not be done is what the next reload is about")
    func failure() throws {
        let old = try configuration("{ \"nqn\": \"nqn.2026-01.a:a\", \"allowAnyHost\": true, \"namespaces\": [] }")
        var new = try configuration(
            """
            { "nqn": "nqn.2026-01.a:a", "allowAnyHost": true, "namespaces": [
                { "nsid": 1, "backing": "/a" }, { "nsid": 2, "backing": "/b" } ] },
            { "nqn": "nqn.2026-01.a:b", "allowAnyHost": true, "namespaces": [ { "nsid": 1, "backing": "/c" } ] }
            """)
        let address = try #require(SocketAddress(host: "192.0.2.2", port: 4420))
        new.listeners.append(address)
        #expect(new.leavingOut([]) == new)
        let reached = new.leavingOut([
            .namespace(2, subsystem: "nqn.2026-01.a:a"), .subsystem("nqn.2026-01.a:b"), .listener(address),
        ])
        #expect(
            try DefinitionChange(from: old, to: reached).lines == [
                "subsystem nqn.2026-01.a:a: namespace 1 added (/a)"
            ])
        #expect(
            try DefinitionChange(from: reached, to: new).lines == [
                "listener 192.0.2.2:4420 added", "subsystem nqn.2026-01.a:b added",
                "subsystem nqn.2026-01.a:a: namespace 2 added (/b)",
            ])
    }

    @Test(
        "Memory is not emptied by a change of what it is called",
        arguments: [
            ("\"serial\": \"1\"", "\"ram:8M\", \"anaGroup\": 2"),
            ("\"serial\": \"1\"", "\"ram:8M\", \"eui64\": \"0011223344556677\""),
            ("\"serial\": \"2\"", "\"ram:8M\""),
        ])
    func memory(subsystem: String, namespace: String) throws {
        func make(_ subsystem: String, _ namespace: String) throws -> TargetDefinition {
            try configuration(
                "{ \"nqn\": \"nqn.2026-01.a:a\", \"allowAnyHost\": true, \(subsystem), \"namespaces\": [\(namespace)] }"
            )
        }
        let old = try make("\"serial\": \"1\"", "{ \"nsid\": 1, \"backing\": \"ram:8M\" }")
        let new = try make(subsystem, "{ \"nsid\": 1, \"backing\": \(namespace) }")
        #expect(
            throws: TercetError(
                .invalid,
                "subsystem nqn.2026-01.a:a: namespace 1 is in memory and would lose its contents by this change; where that "
                    + "is meant: take the namespace out, reload, and put it back")
        ) { try DefinitionChange(from: old, to: new) }
        // In two steps, or with another memory, it is what was asked for.
        let without = try make(subsystem, "")
        _ = try DefinitionChange(from: old, to: without)
        _ = try DefinitionChange(from: without, to: new)
        _ = try DefinitionChange(from: old, to: make(subsystem, "{ \"nsid\": 1, \"backing\": \"ram:16M\" }"))
    }
}
