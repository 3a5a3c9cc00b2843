import Base
import NVMeSpec
import TargetConfiguration
import TargetInterface
import Testing

@Suite("Changes of a configuration, part by part")
struct ConfigurationEditTests {
    static let a = "nqn.2026-01.org.example:a"
    static let text = """
        {
          "subsystems": [
            {
              "hosts": [ "nqn.2026-01.org.example:h" ],
              "nqn": "nqn.2026-01.org.example:a",
              "namespaces": [ { "backing": "ram:64M", "nsid": 1 }, { "backing": "/dev/nvme0n1", "nsid": 2 } ]
            }
          ],
          "queueDepth": 64,
          "listeners": [ { "port": 4421, "address": "192.0.2.1" } ]
        }

        """

    private func document(_ text: String = Self.text) throws -> ConfigurationDocument {
        try ConfigurationDocument(parsing: text, file: "f")
    }

    private func edit(
        _ method: String, _ entries: [(String, ConfigurationValue)], _ document: inout ConfigurationDocument
    ) throws {
        let edit = try #require(ConfigurationEdit.all.first { $0.method == method })
        try edit.apply(.object(entries.map { .init($0.0, $0.1) }), to: &document)
    }

    @Test("A document that is not changed is written as it was")
    func unchanged() throws {
        let document = try document()
        #expect(document.text == Self.text)
        #expect(document.isJSON)
        #expect(try document.configuration() == Configuration(parsing: Self.text, file: "f"))
    }

    @Test("What is not changed keeps its order; new keys come in the order of the schema")
    func order() throws {
        var document = try document()
        try edit("settings.set", [("queueDepth", .number("128")), ("dataMemory", .text("128M"))], &document)
        try edit("namespace.remove", [("subsystem", .text(Self.a)), ("nsid", .number("1"))], &document)
        try edit("subsystem.set", [("nqn", .text(Self.a)), ("serial", .text("S1"))], &document)
        #expect(
            document.text == """
                {
                  "dataMemory": "128M",
                  "subsystems": [
                    {
                      "serial": "S1",
                      "hosts": [ "nqn.2026-01.org.example:h" ],
                      "nqn": "nqn.2026-01.org.example:a",
                      "namespaces": [ { "backing": "/dev/nvme0n1", "nsid": 2 } ]
                    }
                  ],
                  "queueDepth": 128,
                  "listeners": [ { "port": 4421, "address": "192.0.2.1" } ]
                }

                """)
        let configuration = try document.configuration()
        #expect(configuration.definition.options.queueDepth == 128)
        #expect(configuration.definition.options.dataMemory == 128 << 20)
        #expect(configuration.definition[Self.a]?.serialNumber == "S1")
        #expect(configuration.definition[Self.a]?.namespaces.map(\.nsid) == [2])
    }

    @Test("Everything that a configuration says can be added, changed and removed")
    func everything() throws {
        var document = try document()
        let b = "nqn.2026-01.org.example:b"
        try edit("subsystem.add", [("nqn", .text(b)), ("allowAnyHost", .boolean(true))], &document)
        try edit(
            "namespace.add",
            [
                ("subsystem", .text(b)), ("nsid", .number("7")), ("backing", .text("null:1T")),
                ("anaGroup", .number("3")),
            ],
            &document)
        try edit(
            "namespace.set", [("subsystem", .text(b)), ("nsid", .number("7")), ("anaGroup", .number("4"))], &document)
        let listener = ConfigurationValue.object([.init("address", .text("192.0.2.1")), .init("port", .number("4421"))])
        try edit(
            "ana.set", [("subsystem", .text(b)), ("group", .number("4")), ("state", .text("inaccessible"))], &document)
        try edit(
            "ana.set",
            [("subsystem", .text(b)), ("group", .number("4")), ("state", .text("change")), ("listener", listener)],
            &document)
        try edit("listener.add", [("address", .text("2001:db8::1"))], &document)
        try edit("listener.add", [("address", .text("192.0.2.2")), ("port", .number("4421"))], &document)
        try edit("listener.remove", [("address", .text("192.0.2.2")), ("port", .number("4421"))], &document)
        try edit("referral.add", [("address", .text("192.0.2.9"))], &document)
        try edit("host.add", [("subsystem", .text(Self.a)), ("host", .text("nqn.2026-01.org.example:i"))], &document)
        try edit(
            "host.remove", [("subsystem", .text(Self.a)), ("host", .text("nqn.2026-01.org.example:h"))], &document)
        try edit("settings.set", [("logLevel", .text("debug"))], &document)
        var definition = try document.configuration().definition
        let expected = try Configuration(
            parsing: """
                { "listeners": [ { "address": "192.0.2.1", "port": 4421 }, { "address": "2001:db8::1" } ],
                  "queueDepth": 64,
                  "discovery": { "referrals": [ { "address": "192.0.2.9" } ] },
                  "subsystems": [
                    { "nqn": "nqn.2026-01.org.example:a", "hosts": [ "nqn.2026-01.org.example:i" ], "namespaces": [
                        { "nsid": 1, "backing": "ram:64M" }, { "nsid": 2, "backing": "/dev/nvme0n1" } ] },
                    { "nqn": "nqn.2026-01.org.example:b", "allowAnyHost": true,
                      "anaGroups": [ { "id": 4, "state": "inaccessible" }, { "id": 4, "state": "change",
                        "listener": { "address": "192.0.2.1", "port": 4421 } } ],
                      "namespaces": [ { "nsid": 7, "backing": "null:1T", "anaGroup": 4 } ] } ] }
                """, file: "f")
        #expect(definition == expected.definition)
        #expect(try document.configuration().logLevel == .debug)
        try edit("ana.clear", [("subsystem", .text(b)), ("group", .number("4")), ("listener", listener)], &document)
        try edit("referral.remove", [("address", .text("192.0.2.9")), ("port", .number("4420"))], &document)
        try edit(
            "subsystem.set", [("nqn", .text(b)), ("hosts", .array([.text("nqn.2026-01.org.example:h")]))], &document)
        definition = try document.configuration().definition
        #expect(definition[b]?.anaStates == [ANAGroupPlace(group: 4): .inaccessible])
        #expect(definition.referrals.isEmpty)
        #expect(definition[b]?.access == .hosts(["nqn.2026-01.org.example:h"]))
        try edit("subsystem.remove", [("nqn", .text(b))], &document)
        #expect(try document.configuration().definition.subsystems.map(\.nqn) == [Self.a])
    }

    @Test(
        "A mistake is told in one line with what there is, and changes nothing",
        arguments: [
            ("subsystem.add", [("nqn", .text(a))], "there is a subsystem '\(a)' already; subsystem.set changes it"),
            ("subsystem.remove", [("nqn", .text("x"))], "there is no subsystem \"x\"; there are: \(a)"),
            ("subsystem.remove", [], "subsystem.remove: 'nqn' is missing; allowed: nqn"),
            (
                "namespace.remove", [("subsystem", .text(a)), ("nsid", .number("3"))],
                "subsystem '\(a)' has no namespace 3; it has: 1, 2"
            ),
            (
                "namespace.add",
                [("subsystem", .text(a)), ("nsid", .number("1")), ("backing", .text("ram:1M"))],
                "subsystem '\(a)' has a namespace 1 already; namespace.set changes it"
            ),
            (
                "listener.add", [("adress", .text("::1"))],
                "listener.add: 'adress' is unknown; did you mean 'address'? allowed: address, port"
            ),
            (
                "host.remove", [("subsystem", .text(a)), ("host", .text("y"))],
                "host \"y\" is not listed; there are: \"nqn.2026-01.org.example:h\""
            ),
            (
                "ana.clear", [("subsystem", .text(a)), ("group", .number("1"))],
                "nothing is said of ANA group 1 there"
            ),
        ] as [(String, [(String, ConfigurationValue)], String)])
    func mistakes(method: String, entries: [(String, ConfigurationValue)], message: String) throws {
        var document = try document()
        let before = document
        let error = #expect(throws: TercetError.self) { try edit(method, entries, &document) }
        #expect(error?.description == message)
        #expect(document == before)
    }

    @Test("A wrong value is told as that of a file is, by its key path")
    func values() throws {
        var document = try document()
        try edit("settings.set", [("queueDepth", .number("4096"))], &document)
        let error = #expect(throws: TercetError.self) { try document.configuration() }
        #expect(error?.description == "queueDepth: 4096 is out of range; allowed: 2 to 1024")
    }

    @Test("A command line is written as a file that says the same")
    func commandLine() throws {
        var line = try Configuration(
            listen: ["192.0.2.1", "[2001:db8::1]:4421"],
            exports: ["\(Self.a)=/dev/a\\,b,readonly", "\(Self.a)=ram:64M,block=4096", "x=null:1T"])
        line.reactors = .count(2)
        line.stateDirectory = "/var/lib/tercetd"
        let document = ConfigurationDocument(commandLine: line)
        #expect(try document.configuration() == line)
        #expect(try Configuration(parsing: document.text, file: "f") == line)
    }

    @Test("YAML is known as such: to write it back would lose its comments")
    func yaml() throws {
        let document = try document(
            "listeners: [ { address: 192.0.2.1 } ] # ours\nsubsystems: [ { nqn: 'x', allowAnyHost: true } ]\n")
        #expect(!document.isJSON)
        #expect(try document.configuration().definition.subsystems.map(\.nqn) == ["x"])
    }

    @Test("Text keeps every character", arguments: ["quote \" back \\ line \n tab \t bell \u{7} grün 🙂", ""])
    func characters(text: String) throws {
        let value = ConfigurationValue.object([.init("stateDirectory", .text(text))])
        let whole = """
            { "listeners": [ { "address": "::1" } ], "subsystems": [], \(value.text().dropFirst()) }
            """.replacing(" } }", with: " }")
        #expect(try Configuration(parsing: String(whole), file: "f").stateDirectory == text)
    }
}
