import Base
import BlockInterface
import Foundation
import Fuzzing
import TargetConfiguration
import VolumeDriver
import VolumeRegistry
import VolumedConfiguration

/// Configurations, and the words of options: a text that is taken once is taken again in its own form.
extension FuzzTarget {
    /// Every parser of files and of records that a registry or a member keeps.
    public static let documents = [
        targetConfiguration, importedConfiguration, volumedConfiguration, words, volumeEntry, daemonRecord,
        connectionFile, keyFile, superblock, bitmapPage,
    ]

    private static let targetSeed = """
        { "reactors": 2, "stateDirectory": "/var/lib/tercet", "listeners": [ { "address": "192.0.2.1", "port": 4420 } ],
          "limits": { "queueDepth": 128 },
          "subsystems": [ { "nqn": "nqn.2026-11.io.example:a", "hosts": [ "nqn.2026-11.io.example:h" ],
            "namespaces": [ { "nsid": 1, "backing": "ram:64M,block=4096" } ] } ] }
        """

    private static let targetConfiguration = FuzzTarget(
        name: "TargetConfiguration",
        seeds: [
            Array(targetSeed.utf8),
            Array(
                "reactors: 1\nlisteners:\n  - { address: '::1' }\nsubsystems:\n  - nqn: nqn.2026-11.io.example:b\n".utf8
            ),
        ], inputs: 2000
    ) { bytes in
        let text = String(decoding: bytes, as: UTF8.self)
        guard let document = try? ConfigurationDocument(parsing: text, file: "fuzzed") else { return }
        guard let first = try? Configuration(parsing: text, file: "fuzzed") else {
            invariantViolated("what is a document is a configuration")
        }
        // YAML has more forms of a number than JSON writes.
        guard document.isJSON else { return }
        let second = try? Configuration(parsing: document.text, file: "fuzzed")
        invariant(second?.definition == first.definition, "a document that is written back says the same")
    }

    private static let importedConfiguration = FuzzTarget(
        name: "ImportedConfiguration",
        seeds: [
            Array(
                """
                { "hosts": [ { "nqn": "nqn.2026-11.io.example:h" } ], "ports": [ { "addr": { "adrfam": "ipv4", "traddr": "192.0.2.1",
                  "trsvcid": "4420", "trtype": "rdma" }, "portid": 1, "subsystems": [ "nqn.2026-11.io.example:a" ] } ],
                  "subsystems": [ { "nqn": "nqn.2026-11.io.example:a", "attr": { "allow_any_host": "1" },
                  "namespaces": [ { "device": { "path": "/dev/nvme0n1" }, "enable": 1, "nsid": 1 } ] } ] }
                """.utf8),
            Array(
                """
                { "subsystems": [ { "subsystem": "bdev", "config": [ { "method": "bdev_malloc_create", "params": { "name": "m",
                  "num_blocks": 8192, "block_size": 512 } } ] }, { "subsystem": "nvmf", "config": [ { "method": "nvmf_create_subsystem",
                  "params": { "nqn": "nqn.2026-11.io.example:a", "allow_any_host": true } } ] } ] }
                """.utf8),
        ], inputs: 2000
    ) { bytes in
        _ = try? ImportedConfiguration(parsing: String(decoding: bytes, as: UTF8.self), file: "fuzzed")
    }

    private static let member = "192.0.2.1:4420/nqn.2026-11.io.example:a/1"

    private static let volumedConfiguration = FuzzTarget(
        name: "VolumedConfiguration",
        seeds: [
            Array(
                """
                { "reactors": 1, "controlSocket": "/run/tercet/c", "nbd": { "socket": "/run/tercet/n", "memory": "64M" },
                  "volumes": [ { "name": "db", "members": [ "\(member)", "\(member)", "\(member)" ], "exports": [ "nbd" ],
                  "limits": { "iosPerSecond": 1000 } } ], "devices": [ { "name": "d", "path": "ram:1M" } ] }
                """.utf8)
        ], inputs: 2000
    ) { bytes in
        _ = try? VolumedConfiguration(parsing: String(decoding: bytes, as: UTF8.self), file: "fuzzed")
    }

    private static let words = FuzzTarget(
        name: "Words",
        seeds: [member, "[2001:db8::1]:4420", "ram:64M,block=4096", "64M", "01234567-89ab-cdef-0123-456789abcdef"].map {
            Array($0.utf8)
        }
    ) { bytes in
        let text = String(decoding: bytes, as: UTF8.self)
        if let member = MemberAddress(text) {
            invariant(MemberAddress("\(member)") == member, "a member's address is read from its own words")
        }
        if let address = SocketAddress(text, defaultPort: 4420) {
            invariant(SocketAddress("\(address)", defaultPort: 1) == address, "an address is read from its own words")
        }
        if let uuid = UUIDBytes(text) { invariant(UUIDBytes("\(uuid)") == uuid, "a UUID is read from its own words") }
        _ = ByteSize.parse(text)
        _ = try? BlockSpecification(parsing: text)
        _ = try? MemberAddress(text) { _ throws(TercetError) in throw TercetError(.notFound, "nothing is known") }
    }
}
