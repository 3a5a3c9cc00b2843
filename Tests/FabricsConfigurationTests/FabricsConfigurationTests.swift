import Base
import FabricsConfiguration
import Foundation
import Testing

/// Files of connections as nvme-cli 3 reads them.
@Suite struct FabricsConfigurationTests {
    /// Reads a main file, and files of the folder beside it.
    private func read(_ main: String?, _ others: [String: String] = [:]) throws -> FabricsConfiguration {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        defer { try? FileManager.default.removeItem(at: folder) }
        let file = folder.appendingPathComponent("fabrics.conf")
        try FileManager.default.createDirectory(
            at: folder.appendingPathComponent("fabrics.conf.d"), withIntermediateDirectories: true)
        try main?.write(to: file, atomically: true, encoding: .utf8)
        for (name, text) in others {
            try text.write(
                to: folder.appendingPathComponent("fabrics.conf.d/\(name)"), atomically: true, encoding: .utf8)
        }
        return try FabricsConfiguration(path: file.path)
    }

    private func problem(_ main: String, _ others: [String: String] = [:]) -> String {
        do {
            _ = try read(main, others)
            return "none"
        } catch {
            return "\(error)"
        }
    }

    @Test func subsystemsAndHost() throws {
        let found = try read(
            """
            # how we connect
            [I/O Controller Defaults]
            ctrl-loss-tmo = 600
            [Host]
              hostnqn = nqn.2026-11.io.example:host
            hostsymname = rack-3

            [Discovery Controller]
            controller = transport=rdma;traddr=192.0.2.9;trsvcid=8009
            [Subsystem]
            nqn        = nqn.2026-11.io.example:a
            keep-alive-tmo =
            controller = transport=tcp;traddr=192.0.2.1;trsvcid=4420
            controller = transport=rdma; traddr=192.0.2.2 ;trsvcid=4421;host-iface=eth1
            [ Subsystem ]
            controller = transport=rdma;traddr=2001:db8::1
            nqn        = nqn.2026-11.io.example:b
            later = unknown
            """)
        #expect(found.hostNQN == "nqn.2026-11.io.example:host")
        #expect(try found.address(of: "nqn.2026-11.io.example:a").description == "192.0.2.2:4421")
        #expect(try found.address(of: "nqn.2026-11.io.example:b").description == "[2001:db8::1]:4420")
        #expect(throws: TercetError.self) { try found.address(of: "nqn.2026-11.io.example:c") }
    }

    /// A file of the folder adds connections; one that names a host adds them for another host than this one.
    @Test func folder() throws {
        let way = "controller = transport=rdma;traddr=192.0.2.7"
        let found = try read(
            nil,
            [
                "a.conf": "[Subsystem]\nnqn = nqn.2026-11.io.example:a\n\(way)",
                "b.conf":
                    "[Host]\nhostnqn = nqn.2026-11.io.example:other\n[Subsystem]\nnqn = nqn.2026-11.io.example:b\n\(way)",
                "c.txt": "not read",
            ])
        #expect(found.hostNQN == nil)
        #expect(try found.address(of: "nqn.2026-11.io.example:a").description == "192.0.2.7:4420")
        do {
            _ = try found.address(of: "nqn.2026-11.io.example:b")
            Issue.record("it is reached as another host")
        } catch {
            #expect("\(error)".contains("as host nqn.2026-11.io.example:other"))
        }
    }

    @Test func nothingThere() throws {
        let found = try read(nil)
        #expect(found.hostNQN == nil)
        #expect(throws: TercetError.self) { try found.address(of: "nqn.2026-11.io.example:a") }
    }

    @Test(arguments: [
        ("transport=rdma", "line 1: \"transport\" is in no section"),
        ("[Subsystem", "line 1: [Subsystem is no section"),
        ("[Host]\nwhat", "line 2: \"what\" is neither"),
        ("[Host]\n[Host]", "line 2: a file has one [Host]"),
        ("[Subsystem]\ncontroller = transport=rdma;traddr=192.0.2.1", "line 1: the subsystem has no nqn"),
        ("[Subsystem]\nnqn =", "line 2: the subsystem has no name"),
        ("[Subsystem]\nnqn = nqn.x:a\ncontroller = rdma", "line 3: \"rdma\" is not KEY=VALUE"),
        ("[Subsystem]\nnqn = nqn.x:a\ncontroller = transport=rdma", "line 3: a controller needs"),
        ("[Subsystem]\nnqn = a\u{0}b", "no text"),
    ])
    func refused(text: String, expected: String) {
        let told = problem(text)
        #expect(told.contains(expected), "\(told)")
    }

    @Test func hostWithoutName() {
        #expect(problem("", ["a.conf": "[Host]\nhostsymname = x"]).contains("has no hostnqn"))
    }

    /// Names of hosts are no addresses to RDMA here, and a comment behind a value is part of it.
    @Test(arguments: ["traddr=storage-1", "traddr=192.0.2.1;trsvcid=4420 # first"])
    func addressesThatAreNone(address: String) throws {
        let found = try read("[Subsystem]\nnqn = nqn.2026-11.io.example:a\ncontroller = transport=rdma;\(address)")
        do {
            _ = try found.address(of: "nqn.2026-11.io.example:a")
            Issue.record("\(address) is no address")
        } catch {
            #expect("\(error)".contains("line 3") && "\(error)".contains("is no numeric address and port"), "\(error)")
        }
    }
}
