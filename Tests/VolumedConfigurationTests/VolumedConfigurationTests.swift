import BlockInterface
import TargetConfiguration
import Testing
import VolumeDriver
import VolumedConfiguration

@Suite struct VolumedConfigurationTests {
    private static let member = "192.0.2.1:4420/nqn.2026-11.io.example:a/1"

    private func problem(_ body: () throws -> VolumedConfiguration) -> String {
        do {
            _ = try body()
            return ""
        } catch {
            return "\(error)"
        }
    }

    @Test func theCommandLine() throws {
        let configuration = try VolumedConfiguration(
            volumes: ["db=\(Self.member),\(Self.member),192.0.2.3/nqn.2026-11.io.example:c/7"],
            devices: ["scratch=ram:64M,block=4096", "/srv/a=b.img"])
        #expect(configuration.volumes.map(\.name) == ["db"])
        #expect(configuration.volumes[0].members[2].nsid == 7)
        #expect(configuration.devices.map(\.name) == ["scratch", ""])
        #expect(configuration.devices[0].specification.blockSize == 4096)
        #expect(configuration.devices[1].specification.backing == .path("/srv/a=b.img"))
    }

    @Test(arguments: [
        ("db", "no name"), ("db=\(member)", "1 members; a volume has three"),
        ("db=\(member),\(member),x", "'x' is no member; allowed: ADDRESS:PORT/SUBNQN/NSID"),
    ])
    func mistakesInAVolume(text: String, words: String) {
        #expect(problem { try VolumedConfiguration(volumes: [text], devices: []) }.contains(words))
    }

    @Test func namesAreUnique() {
        #expect(
            problem { try VolumedConfiguration(volumes: [], devices: ["a=ram:1M", "a=ram:2M"]) }.contains(
                "two of this name"))
        #expect(problem { try VolumedConfiguration(volumes: [], devices: []) }.contains("nothing to serve"))
    }

    @Test func theFile() throws {
        let configuration = try VolumedConfiguration(
            parsing: """
                { "reactors": 2, "laterVolumes": 100, "nbd": { "socket": "/run/nbd.sock", "memory": "32M", "clientPatienceMilliseconds": 5000 },
                  "volumes": [ { "name": "db", "members": ["\(Self.member)", "\(Self.member)", "\(Self.member)"] } ],
                  "devices": [ { "name": "scratch", "path": "ram:1M" } ] }
                """, file: "f")
        #expect(configuration.laterVolumes == 100)
        #expect(configuration.reactors == 2 && configuration.nbdSocket == "/run/nbd.sock")
        #expect(configuration.nbdMemory == 32 << 20 && configuration.clientPatienceMilliseconds == 5000)
        #expect(configuration.volumes.count == 1 && configuration.devices.count == 1)
    }

    @Test func kindsOfExports() throws {
        let members = "[\"\(Self.member)\", \"\(Self.member)\", \"\(Self.member)\"]"
        let configuration = try VolumedConfiguration(
            parsing: """
                { "kernelNBD": { "folder": "/dev/disks", "requestTimeoutSeconds": 5, "deadConnectionTimeoutSeconds": 60 },
                  "volumes": [ { "name": "a", "members": \(members) },
                               { "name": "b", "members": \(members), "exports": ["nbd", "kernel-nbd"],
                                 "limits": { "iosPerSecond": 500, "bytesPerSecond": "10M", "weight": 300 } } ],
                  "devices": [ { "name": "c", "path": "ram:1M", "exports": [] } ] }
                """, file: "f")
        #expect(configuration.volumes[0].exports == [.nbd])
        #expect(configuration.volumes[1].exports == [.nbd, .kernelNBD])
        #expect(configuration.volumes[0].limits == VolumeLimits())
        #expect(
            configuration.volumes[1].limits
                == VolumeLimits(iosPerSecond: 500, bytesPerSecond: 10 << 20, weight: 300))
        #expect(configuration.devices[0].exports == [])
        #expect(configuration.usesKernelNBD)
        #expect(configuration.kernel.folder == "/dev/disks")
        #expect(configuration.kernel.requestTimeoutSeconds == 5)
        #expect(configuration.kernel.deadConnectionTimeoutSeconds == 60)
    }

    @Test func membersMayBeTheRegistrys() throws {
        let configuration = try VolumedConfiguration(
            parsing: #"{ "volumes": [ { "name": "a", "takeOver": true } ], "registry": "sqlite:/srv/r" }"#, file: "f")
        #expect(configuration.registry == "sqlite:/srv/r")
        #expect(configuration.volumes[0].members.isEmpty && configuration.volumes[0].takesOver)
    }

    @Test(arguments: [
        (
            "{ \"devices\": [ { \"name\": \"a\", \"path\": \"ram:1M\", \"exports\": [\"vhost\"] } ] }",
            "'vhost' is no kind of export; allowed: nbd, kernel-nbd, ublk"
        ),
        (
            "{ \"devices\": [ { \"name\": \"a\", \"path\": \"ram:1M\", \"exports\": [\"ublk\", \"kernel-nbd\"] } ] }",
            "'a': kernel-nbd and ublk would make two block devices of one name; allowed: one of them"
        ),
        ("{ \"kernelNBD\": { \"folder\": \"disks\" } }", "'disks' is no absolute path"),
        ("{ \"kernelNBD\": { \"requestTimeoutSeconds\": 0 } }", "requestTimeoutSeconds: 0 is out of range"),
        ("{ \"volume\": [] }", "f:1:3: volume: unknown key; did you mean 'volumes'?"),
        ("{ \"volumes\": [ { \"name\": \"a\", \"members\": [\"x\"] } ] }", "'x' is no member"),
        ("{ \"devices\": [ { \"name\": \"a\" } ] }", "devices[0]: a name or a path is missing"),
        ("{ \"volumes\": [ { \"name\": \"a\" } ] }", "volumes[0]: a name or the members are missing"),
        ("{ \"nbd\": { \"memory\": 1 } }", "nbd.memory: 1 is out of range"),
    ])
    func mistakesInTheFile(text: String, words: String) {
        #expect(problem { try VolumedConfiguration(parsing: text, file: "f") }.contains(words))
    }
}
