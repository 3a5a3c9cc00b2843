import Base
import Foundation
import NVMeAuthentication
import TargetConfiguration
import TargetInterface
import Testing

@Suite("Keys in a configuration")
struct AuthenticationConfigurationTests {
    private static let host = "nqn.2026-01.org.example:h"
    private static let other = "nqn.2026-01.org.example:i"
    /// By nvme-cli 2.3.
    private static let text = "DHHC-1:00:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh+KfiaR:"

    private static func read(_ hosts: String, _ rest: String = "") throws -> SubsystemDefinition {
        let file = """
            { "listeners": [ { "address": "192.0.2.1" } ],
              "subsystems": [ { "nqn": "nqn.2026-01.org.example:a", \(hosts)\(rest), "namespaces": [] } ] }
            """
        return try Configuration(parsing: file, file: "c").definition.subsystems[0]
    }

    private static func problem(_ hosts: String, _ rest: String = "") -> String {
        do {
            _ = try read(hosts, rest)
            return "(none)"
        } catch {
            return "\(error)"
        }
    }

    /// A file with a key.
    private static func file(_ text: String, mode: Int = 0o600) throws -> String {
        let path = NSTemporaryDirectory() + "key-\(UUID())"
        #expect(
            FileManager.default.createFile(
                atPath: path, contents: Data((text + "\n").utf8), attributes: [.posixPermissions: mode]))
        return path
    }

    @Test("Keys are read from the file itself and from files of their own, and hosts without one are an error")
    func read() throws {
        let key = try AuthenticationKey(parsing: Self.text)
        let path = try Self.file(Self.text)
        for place in [#""key": "\#(Self.text)""#, #""keyFile": "\#(path)""#] {
            let subsystem = try Self.read(#""hosts": [ { "nqn": "\#(Self.host)", \#(place) } ]"#)
            #expect(subsystem.access == .hosts([Self.host]))
            #expect(subsystem.authentication.keys == [Self.host: AuthenticationKeys(host: key)])
            #expect(subsystem.authentication.isRequired)
        }
        let both = #""hosts": [ { "nqn": "\#(Self.host)", "key": "\#(Self.text)" }, "\#(Self.other)" ]"#
        #expect(Self.problem(both).contains("'\(Self.other)' has no key"))
        let mixed = try Self.read(both, #", "authentication": { "required": false }"#)
        #expect(!mixed.authentication.isRequired && mixed.authentication.keys.count == 1)
        #expect(Self.problem(#""allowAnyHost": true"#, #", "authentication": {}"#).contains("any host may connect"))
    }

    @Test("Hash functions and groups in the order of the file; the former key's time")
    func algorithms() throws {
        let subsystem = try Self.read(
            #""hosts": [ { "nqn": "\#(Self.host)", "key": "\#(Self.text)", "controllerKey": "\#(Self.text)" } ]"#,
            #", "authentication": { "hashes": ["sha384", "sha256"], "groups": ["ffdhe4096", "null"], "formerKeySeconds": 60 }"#
        )
        #expect(
            subsystem.authentication.algorithms
                == AuthenticationAlgorithms(hashes: [.sha384, .sha256], groups: [.ffdhe4096, .null]))
        #expect(subsystem.authentication.formerKeySeconds == 60)
        #expect(subsystem.authentication.keys[Self.host]?.controller != nil)
    }

    @Test("Mistakes are named with their place, and nothing of a key is told")
    func mistakes() throws {
        let open = try Self.file(Self.text, mode: 0o644)
        let empty = try Self.file("")
        for (place, expected) in [
            (
                #""key": "\#(Self.text.replacing("AAEC", with: "AAED"))""#,
                "subsystems[0].hosts[0].key: the key's check value"
            ),
            (#""key": "\#(Self.text)", "keyFile": "/x""#, "key and keyFile"),
            (#""controllerKey": "\#(Self.text)""#, "a controller's key without one of the host"),
            (#""keyFile": "\#(open)""#, "chmod 600"), (#""keyFile": "\#(empty)""#, "no key"),
            (#""keyFile": "/nonexistent""#, "No such file"), (#""keyCredential": "../x""#, "no name of a credential"),
            (#""keyCredential": "x""#, "LoadCredential=x:PATH"), (#""kay": "x""#, "did you mean 'key'"),
        ] {
            let problem = Self.problem(#""hosts": [ { "nqn": "\#(Self.host)", \#(place) } ]"#)
            #expect(problem.contains(expected), "\(problem)")
            #expect(!problem.contains("CAwQFBg"), "\(problem)")
        }
        let keyed = #""hosts": [ { "nqn": "\#(Self.host)", "key": "\#(Self.text)" } ]"#
        for (rest, expected) in [
            (#""groups": ["ffdhe2084"]"#, "did you mean 'ffdhe2048'"), (#""hashes": []"#, "nobody could connect"),
            (#""hashes": ["sha256", "sha256"]"#, "twice"), (#""formerKeySeconds": -1"#, "out of range"),
        ] {
            #expect(Self.problem(keyed, #", "authentication": { \#(rest) }"#).contains(expected))
        }
    }

    @Test("Keys are changed while the target runs, and what is shown of a configuration has none in it")
    func edits() throws {
        var document = try ConfigurationDocument(
            parsing: """
                { "listeners": [ { "address": "192.0.2.1" } ],
                  "subsystems": [ { "nqn": "nqn.2026-01.org.example:a", "hosts": [] } ] }
                """, file: "c")
        func edit(_ method: String, _ host: String, _ keys: [(String, String)] = []) throws {
            let given = [("subsystem", "nqn.2026-01.org.example:a"), ("host", host)] + keys
            try ConfigurationEdit.all.first { $0.method == method }!.apply(
                .object(given.map { .init($0.0, .text($0.1)) }), to: &document)
        }
        try edit("host.add", Self.host, [("controllerKey", Self.text), ("key", Self.text)])
        #expect(try document.configuration().definition.subsystems[0].authentication.keys[Self.host]?.controller != nil)
        #expect(document.text.contains(Self.text))
        #expect(!"\(document.value.withoutKeys)".contains("CAwQFBg"))
        try edit("host.set", Self.host, [("keyFile", try Self.file(Self.text))])
        #expect(try document.configuration().definition.subsystems[0].authentication.keys[Self.host]?.controller == nil)
        let error = #expect(throws: TercetError.self) { try edit("host.remove", Self.other) }
        #expect(error?.message.contains("there are: \"\(Self.host)\"") == true, "\(error?.message ?? "")")
        try edit("host.remove", Self.host)
        #expect(try document.configuration().definition.subsystems[0].authentication.keys.isEmpty)
    }
}
