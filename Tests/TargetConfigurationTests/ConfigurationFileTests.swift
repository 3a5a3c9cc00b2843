import Base
import BlockInterface
import Glibc
import NVMeSpec
import TargetConfiguration
import TargetInterface
import Testing

@Suite("A target's configuration file")
struct ConfigurationFileTests {
    @Test("Every key is read")
    func everything() throws {
        let configuration = try Configuration(
            parsing: """
                {
                  "reactors": [0, 2],
                  "queueDepth": 256,
                  "maxIOQueues": 8,
                  "inCapsuleDataSize": "8K",
                  "maxIOSize": "512K",
                  "sharedReceiveEntries": 4096,
                  "dataMemory": "128M",
                  "sendWithInvalidate": false,
                  "keepAlive": { "maxMilliseconds": 30000 },
                  "listeners": [ { "address": "192.0.2.1" }, { "address": "2001:db8::1", "port": 4421 } ],
                  "discovery": { "referrals": [ { "address": "192.0.2.9", "port": 8009 } ] },
                  "subsystems": [
                    {
                      "nqn": "nqn.2026-01.org.example:disks", "serial": "S1", "model": "Disk shelf",
                      "hosts": ["nqn.2014-08.org.nvmexpress:uuid:6ba7b810-9dad-11d1-80b4-00c04fd430c8"],
                      "maxIOQueues": 4,
                      "anaGroups": [ { "id": 2, "state": "nonOptimized" } ],
                      "namespaces": [
                        { "nsid": 1, "backing": "/dev/nvme0n1", "identifiers": "derived", "readOnly": true },
                        {
                          "nsid": 7, "backing": "ram:64M", "blockSize": 4096, "anaGroup": 2,
                          "uuid": "6ba7b811-9dad-11d1-80b4-00c04fd430c8",
                          "nguid": "000102030405060708090a0b0c0d0e0f", "eui64": "0011223344556677"
                        }
                      ]
                    },
                    { "nqn": "nqn.2026-01.org.example:empty", "allowAnyHost": true }
                  ]
                }
                """, file: "t.json")
        #expect(configuration.reactors == .processors([0, 2]))
        #expect(configuration.definition.options.queueDepth == 256)
        #expect(configuration.definition.options.maxIOQueues == 8)
        #expect(configuration.definition.options.inCapsuleDataSize == 8192)
        #expect(configuration.definition.options.maxTransferSize == 524_288)
        #expect(configuration.definition.options.sharedReceiveEntries == 4096)
        #expect(configuration.definition.options.dataMemory == 134_217_728)
        #expect(!configuration.definition.options.sendWithInvalidate)
        #expect(configuration.definition.options.maxKeepAliveMilliseconds == 30_000)
        #expect(configuration.definition.listeners.map(\.description) == ["192.0.2.1:4420", "[2001:db8::1]:4421"])
        #expect(configuration.definition.referrals.map(\.description) == ["192.0.2.9:8009"])
        let disks = try #require(configuration.definition.subsystems.first)
        #expect(disks.nqn == "nqn.2026-01.org.example:disks")
        #expect(disks.serialNumber == "S1")
        #expect(disks.modelNumber == "Disk shelf")
        #expect(disks.access == .hosts(["nqn.2014-08.org.nvmexpress:uuid:6ba7b810-9dad-11d1-80b4-00c04fd430c8"]))
        #expect(disks.maxIOQueues == 4)
        #expect(disks.anaStates == [ANAGroupPlace(group: 2): .nonOptimized])
        #expect(
            disks.namespaces[0]
                == NamespaceDefinition(
                    nsid: 1, backing: .specified(BlockSpecification(.path("/dev/nvme0n1"), readOnly: true)),
                    identifiers: .derived))
        let second = disks.namespaces[1]
        #expect(second.nsid == 7)
        #expect(second.backing == .specified(BlockSpecification(.ram(byteCount: 64 << 20), blockSize: 4096)))
        #expect(second.anaGroup == 2)
        #expect(second.identity.uuid?.prefix(4) == [0x6b, 0xa7, 0xb8, 0x11])
        #expect(second.identity.nguid == (0...15).map { $0 })
        #expect(second.identity.eui64 == [0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77])
        #expect(configuration.definition.subsystems[1].access == .anyHost)
        #expect(configuration.definition.subsystems[1].modelNumber == "Tercet")
    }

    @Test("YAML, of which JSON is a part, is read as well, with comments")
    func yaml() throws {
        let configuration = try Configuration(
            parsing: """
                # what we export
                reactors: 2
                listeners:
                  - address: 127.0.0.1
                subsystems:
                  - nqn: nqn.2026-01.org.example:a
                    allowAnyHost: true
                    namespaces:
                      - { nsid: 1, backing: "null:1T" }
                """, file: "t.yaml")
        #expect(configuration.reactors == .count(2))
        #expect(
            configuration.definition.subsystems[0].namespaces[0].backing
                == .specified(BlockSpecification(.null(byteCount: 1 << 40))))
    }

    @Test func accessByListener() throws {
        let text = """
            { "listeners": [ { "address": "192.0.2.1" }, { "address": "192.0.2.2", "port": 4421 } ],
              "subsystems": [
                { "nqn": "nqn.2026-01.org.example:a", "allowAnyHost": true,
                  "controllerIDs": { "first": 1000, "last": 1999 },
                  "anaGroups": [
                    { "id": 2, "state": "nonOptimized" },
                    { "id": 2, "state": "inaccessible", "listener": { "address": "192.0.2.1" } },
                    { "id": 2, "state": "change", "listener": { "address": "192.0.2.2", "port": 4421 } }
                  ] },
                { "nqn": "nqn.2026-01.org.example:b", "allowAnyHost": true } ] }
            """
        let definition = try Configuration(parsing: text, file: "t.json").definition
        #expect(
            definition.subsystems[0].anaStates == [
                ANAGroupPlace(group: 2): .nonOptimized,
                ANAGroupPlace(group: 2, listener: definition.listeners[0]): .inaccessible,
                ANAGroupPlace(group: 2, listener: definition.listeners[1]): .change,
            ])
        #expect(definition.subsystems.map(\.controllerIDs) == [1000...1999, 1...65519])
    }

    /// A file with one thing in it that is wrong, and what is said about it.
    struct Mistake: Sendable, CustomTestStringConvertible {
        let text: String
        let message: String
        var testDescription: String { message }

        init(_ text: String, _ message: String) {
            self.text = text
            self.message = message
        }

        /// In a file that is right otherwise: `top` beside the listeners.
        static func top(_ top: String, _ message: String) -> Mistake {
            Mistake("{ \(top), \"listeners\": [ { \"address\": \"127.0.0.1\" } ], \"subsystems\": [] }", message)
        }

        /// The contents of a subsystem.
        static func subsystem(_ body: String, _ message: String) -> Mistake {
            Mistake(
                "{ \"listeners\": [ { \"address\": \"127.0.0.1\" } ],\n\"subsystems\": [\n{ \"nqn\": \"nqn.2026-01.org.example:a\",\n\(body) } ] }",
                message)
        }

        /// The contents of a namespace, on line 5 from column 1 on.
        static func namespace(_ body: String, _ message: String) -> Mistake {
            .subsystem("\"allowAnyHost\": true, \"namespaces\": [ {\n\(body) } ]", message)
        }
    }

    static let mistakes: [Mistake] = [
        Mistake("", "f: is empty; listeners and subsystems are needed"),
        Mistake("{ \"a\": [1, 2 }", "f:1:14: is not JSON: did not find expected ',' or ']'"),
        Mistake(
            "[]",
            "f:1:1: an array where an object is needed; allowed: { reactors, queueDepth, maxIOQueues, inCapsuleDataSize, maxIOSize, sharedReceiveEntries, dataMemory, sendWithInvalidate, keepAlive, stateDirectory, requireAll, logLevel, listeners, discovery, subsystems }"
        ),
        Mistake("{ \"subsystems\": [] }", "f:1:1: listeners: is missing; allowed: [ { address, port } ]"),
        Mistake(
            "{ \"listeners\": [], \"subsystems\": [] }",
            "f:1:16: listeners: there is none; allowed: one address or more"),
        Mistake(
            "{ \"listeners\": [ { \"address\": \"127.0.0.1\" } ] }",
            "f:1:1: subsystems: is missing; allowed: [ { nqn, hosts, namespaces } ]"),
        Mistake(
            "{ \"listeners\": [\n  { \"address\": \"host.example\" } ], \"subsystems\": [] }",
            "f:2:16: listeners[0].address: 'host.example' is no address; allowed: an IPv4 or IPv6 address in numbers"),
        Mistake(
            "{ \"listeners\": [\n  { \"address\": \"::1\", \"port\": 0 } ], \"subsystems\": [] }",
            "f:2:31: listeners[0].port: 0 is out of range; allowed: 1 to 65535"),
        Mistake(
            "{ \"listeners\": [ { \"address\": \"::1\" },\n  { \"address\": \"::1\", \"port\": 4420 } ], \"subsystems\": [] }",
            "f:2:3: listeners[1]: [::1]:4420 is there twice; allowed: each address once"),
        .top(
            "\"queueDeph\": 5",
            "f:1:3: queueDeph: unknown key; did you mean 'queueDepth'? allowed: reactors, queueDepth, maxIOQueues, inCapsuleDataSize, maxIOSize, sharedReceiveEntries, dataMemory, sendWithInvalidate, keepAlive, stateDirectory, requireAll, logLevel, listeners, discovery, subsystems"
        ),
        .top(
            "\"zzz\": 5",
            "f:1:3: zzz: unknown key; allowed: reactors, queueDepth, maxIOQueues, inCapsuleDataSize, maxIOSize, sharedReceiveEntries, dataMemory, sendWithInvalidate, keepAlive, stateDirectory, requireAll, logLevel, listeners, discovery, subsystems"
        ),
        .top("\"reactors\": 0", "f:1:15: reactors: 0 is out of range; allowed: 1 to 256"),
        .top(
            "\"reactors\": []",
            "f:1:15: reactors: no processor; allowed: a number of reactors, or an array of processors"),
        .top(
            "\"reactors\": [1, 1]", "f:1:19: reactors[1]: processor 1 is there twice; allowed: each once"),
        .top("\"queueDepth\": 128, \"queueDepth\": 64", "f:1:3: queueDepth: this key is there twice; allowed: once"),
        .top("\"queueDepth\": \"128\"", "f:1:17: queueDepth: a string where a number is needed; allowed: 2 to 1024"),
        .top("\"queueDepth\": 1.5", "f:1:17: queueDepth: 1.5 is no whole number; allowed: 2 to 1024"),
        .top("\"queueDepth\": 4096", "f:1:17: queueDepth: 4096 is out of range; allowed: 2 to 1024"),
        .top(
            "\"sendWithInvalidate\": 1",
            "f:1:25: sendWithInvalidate: a number where a boolean is needed; allowed: true, false"),
        .top(
            "\"dataMemory\": \"much\"",
            "f:1:17: dataMemory: 'much' is no size; allowed: 4M to 64G, as a number of bytes or with K, M, G or T"),
        .top(
            "\"dataMemory\": null",
            "f:1:17: dataMemory: null where a size is needed; allowed: 4M to 64G, as a number of bytes or with K, M, G or T"
        ),
        .top(
            "\"maxIOSize\": \"32M\"",
            "f:1:16: maxIOSize: 32M is out of range; allowed: 4K to 16M, as a number of bytes or with K, M, G or T"),
        .top(
            "\"maxIOSize\": 5000", "f:1:16: maxIOSize: 5000 is no power of two; allowed: 4K, 8K, ... 16M"),
        .top(
            "\"dataMemory\": \"4M\", \"maxIOSize\": \"2M\"",
            "f:1:17: dataMemory: 4194304 is too little for transfers of 2097152; allowed: 8388608 or more"),
        .top(
            "\"inCapsuleDataSize\": 100",
            "f:1:24: inCapsuleDataSize: 100 is no multiple of 16; allowed: 0 for none, or one"),
        .top(
            "\"keepAlive\": { \"maxMilliseconds\": 5 }",
            "f:1:37: keepAlive.maxMilliseconds: 5 is out of range; allowed: 1000 to 86400000"),
        .subsystem(
            "\"namespaces\": []",
            "f:3:1: subsystems[0]: nobody may connect; allowed: \"hosts\": [ host NQNs ], or \"allowAnyHost\": true"),
        .subsystem(
            "\"allowAnyHost\": true, \"hosts\": []",
            "f:4:32: subsystems[0].hosts: hosts are listed although any host is allowed; allowed: one of the two"),
        .subsystem(
            "\"hosts\": [ \"\" ]",
            "f:4:12: subsystems[0].hosts[0]: '': a name is needed; allowed: nqn.YYYY-MM.REVERSE.DOMAIN:NAME or nqn.2014-08.org.nvmexpress:uuid:UUID"
        ),
        .subsystem(
            "\"hosts\": [ \"nqn.2026-01.a:h\", \"nqn.2026-01.a:h\" ]",
            "f:4:31: subsystems[0].hosts[1]: 'nqn.2026-01.a:h' is there twice; allowed: each host once"),
        .subsystem(
            "\"allowAnyHost\": true, \"serial\": 1234",
            "f:4:33: subsystems[0].serial: a number where a string is needed; allowed: \"...\""),
        .subsystem(
            "\"allowAnyHost\": true, \"serial\": \"123456789012345678901\"",
            "f:4:33: subsystems[0].serial: '123456789012345678901' does not fit; allowed: 1 to 20 printable ASCII characters"
        ),
        .subsystem(
            "\"allowAnyHost\": true, \"model\": \"Gerät\"",
            "f:4:32: subsystems[0].model: 'Gerät' does not fit; allowed: 1 to 40 printable ASCII characters"),
        .subsystem(
            "\"allowAnyHost\": true, \"anaGroups\": [ { \"id\": 1, \"state\": \"optimised\" } ]",
            "f:4:58: subsystems[0].anaGroups[0].state: 'optimised' is unknown; did you mean 'optimized'? allowed: optimized, nonOptimized, inaccessible, persistentLoss, change"
        ),
        .subsystem(
            "\"allowAnyHost\": true, \"anaGroups\": [ { \"id\": 1, \"state\": \"change\", \"listener\": { \"address\": \"192.0.2.9\" } } ]",
            "f:4:36: subsystems[0].anaGroups: 192.0.2.9:4420 is no listener; allowed: 127.0.0.1:4420"),
        .subsystem(
            "\"allowAnyHost\": true, \"controllerIDs\": { \"first\": 9, \"last\": 3 }",
            "f:4:40: subsystems[0].controllerIDs: 9 to 3 is empty; allowed: first is not above last"),
        .subsystem(
            "\"allowAnyHost\": true, \"controllerIDs\": { \"first\": 0, \"last\": 3 }",
            "f:4:51: subsystems[0].controllerIDs.first: 0 is out of range; allowed: 1 to 65519"),
        .subsystem(
            "\"allowAnyHost\": true, \"controllerIDs\": { \"first\": 1 }",
            "f:4:40: subsystems[0].controllerIDs.last: is missing; allowed: 1 to 65519"),
        .subsystem(
            "\"allowAnyHost\": true } , { \"nqn\": \"nqn.2026-01.org.example:a\", \"allowAnyHost\": true",
            "f:4:35: subsystems[1].nqn: 'nqn.2026-01.org.example:a' is at subsystems[0].nqn already; allowed: each NQN once"
        ),
        .namespace(
            "\"backing\": \"ram:1M\"", "f:4:39: subsystems[0].namespaces[0].nsid: is missing; allowed: 1 to 65536"),
        .namespace(
            "\"nsid\": 1",
            "f:4:39: subsystems[0].namespaces[0].backing: is missing; allowed: a path, ram:SIZE or null:SIZE"),
        .namespace(
            "\"nsid\": 0, \"backing\": \"x\"",
            "f:5:9: subsystems[0].namespaces[0].nsid: 0 is out of range; allowed: 1 to 65536"),
        .namespace(
            "\"nsid\": 1, \"backing\": 5",
            "f:5:23: subsystems[0].namespaces[0].backing: a number where a string is needed; allowed: \"...\""),
        .namespace(
            "\"nsid\": 1, \"backing\": \"ram:x\"",
            "f:5:23: subsystems[0].namespaces[0].backing: ram:x: 'x' is no size; a number with K, M, G or T is, such as ram:64M"
        ),
        .namespace(
            "\"nsid\": 1, \"backing\": \"ram:1M\", \"blockSize\": 1000",
            "f:5:46: subsystems[0].namespaces[0].blockSize: 1000 is no block size; allowed: a power of two from 512 to 65536"
        ),
        .namespace(
            "\"nsid\": 1, \"backing\": \"ram:1M\", \"readOnly\": true",
            "f:5:45: subsystems[0].namespaces[0].readOnly: only a path can be read-only; allowed: to leave it out for ram: and null:"
        ),
        .namespace(
            "\"nsid\": 1, \"backing\": \"x\", \"uuid\": \"1\"",
            "f:5:36: subsystems[0].namespaces[0].uuid: '1' is no UUID; allowed: \"xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx\", not all zeroes"
        ),
        .namespace(
            "\"nsid\": 1, \"backing\": \"x\", \"eui64\": \"0000000000000000\"",
            "f:5:37: subsystems[0].namespaces[0].eui64: '0000000000000000' is no identifier; allowed: 16 hexadecimal digits, not all zeroes"
        ),
        .namespace(
            "\"nsid\": 1, \"backing\": \"x\" },\n{ \"nsid\": 1, \"backing\": \"y\"",
            "f:6:11: subsystems[0].namespaces[1].nsid: 1 is there twice; allowed: each namespace identifier once"),
        .namespace(
            "\"nsid\": 1, \"backing\": \"x\" },\n{ \"nsid\": 2, \"backing\": \"x\"",
            "f:6:25: subsystems[0].namespaces[1].backing: 'x' is at subsystems[0].namespaces[0].backing already; allowed: each path once, or several times with readOnly"
        ),
        .namespace(
            "\"nsid\": 1, \"backing\": \"x\", \"eui64\": \"00000000000000aa\" },\n{ \"nsid\": 2, \"backing\": \"y\", \"eui64\": \"00000000000000AA\"",
            "f:6:39: subsystems[0].namespaces[1].eui64: the EUI64 00000000000000aa is at subsystems[0].namespaces[0].eui64 already; allowed: each EUI64 once"
        ),
    ]

    @Test("A mistake is named with its place, its key and what is allowed, in one line", arguments: mistakes)
    func mistake(_ mistake: Mistake) {
        do throws(TercetError) {
            _ = try Configuration(parsing: mistake.text, file: "f")
            Issue.record("nothing is found wrong with \(mistake.text)")
        } catch {
            #expect(error.description == mistake.message)
        }
    }

    @Test("A file that cannot be read is named with the reason")
    func unreadable() throws {
        #expect(throws: TercetError(.notFound, "/nonexistent.json: there is no such file")) {
            try Configuration(contentsOf: "/nonexistent.json")
        }
        #expect(throws: TercetError(.invalid, "/tmp: is a directory")) { try Configuration(contentsOf: "/tmp") }
        let path = "/tmp/tercet-configuration-\(getpid()).json"
        let file = try #require(fopen(path, "w"))
        fputs("{ \"x\": \"", file)
        fputc(0xff, file)
        fclose(file)
        defer { unlink(path) }
        #expect(throws: TercetError(.invalid, "\(path): is not UTF-8 text")) { try Configuration(contentsOf: path) }
    }

    @Test("Whatever a file holds, reading it ends in a value or an error")
    func noise() {
        let seed = UInt64.random(in: .min ... .max)
        var state = seed
        func random(_ limit: Int) -> Int {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int(state >> 33) % limit
        }
        let pieces = [
            "{", "}", "[", "]", ",", ":", "\"listeners\"", "\"subsystems\"", "\"nqn\"", "1", "-", "\"a\\u0000b\"",
            "null", "&a ",
            "*a", "!!int ", "? ", "\n", "\t", "|", ">", "'", "\"", "#", "%", "---", "...", "é", "\u{0}", "<<",
            "\"address\"", "1e999",
        ]
        for _ in 0..<3000 {
            let text = (0..<random(20)).map { _ in pieces[random(pieces.count)] }.joined()
            do throws(TercetError) {
                _ = try Configuration(parsing: text, file: "f")
            } catch {
                #expect(!error.description.contains("\n"), "seed \(seed)")
            }
        }
    }
}
