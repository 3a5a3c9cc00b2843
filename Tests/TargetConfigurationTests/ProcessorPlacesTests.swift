import Foundation
import TargetConfiguration
import Testing

/// Reactors run at the NUMA nodes of RDMA devices, as a made-up /sys tells of them.
@Suite struct ProcessorPlacesTests {
    /// A /sys with processors at nodes, and RDMA devices at others.
    private func places(
        nodes: [Int: ClosedRange<Int>], devices: [String: Int], allowed: [Int]
    ) throws -> ProcessorPlaces {
        let root = FileManager.default.temporaryDirectory.path + "/places-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: root) }
        func make(_ folder: String) throws {
            try FileManager.default.createDirectory(atPath: root + folder, withIntermediateDirectories: true)
        }
        for (node, processors) in nodes {
            try make("/devices/system/node/node\(node)")
            for number in processors {
                try make("/devices/system/cpu/cpu\(number)/topology")
                try FileManager.default.createSymbolicLink(
                    atPath: "\(root)/devices/system/cpu/cpu\(number)/node\(node)",
                    withDestinationPath: "../../node/node\(node)")
            }
        }
        for (device, node) in devices {
            try make("/class/infiniband/\(device)/device")
            try Data("\(node)\n".utf8).write(
                to: URL(fileURLWithPath: "\(root)/class/infiniband/\(device)/device/numa_node"))
        }
        return ProcessorPlaces(allowed: allowed, sysfs: root)
    }

    @Test("With the device at the second of two nodes, reactors are there, and others follow")
    func secondNode() throws {
        let places = try places(nodes: [0: 0...3, 1: 4...7], devices: ["mlx5_0": 1], allowed: Array(0...7))
        #expect(places.processors(for: .automatic) == [4, 5, 6, 7])
        #expect(places.processors(for: .count(2)) == [4, 5])
        #expect(places.processors(for: .count(6)) == [4, 5, 6, 7, 0, 1])
        #expect(places.processors(for: .count(10)) == [4, 5, 6, 7, 0, 1, 2, 3, 8, 9])
        #expect(places.node(of: 5) == 1 && places.node(of: 0) == 0 && places.node(of: 8) == nil)
    }

    @Test("What is said counts")
    func said() throws {
        let places = try places(nodes: [0: 0...3, 1: 4...7], devices: ["mlx5_0": 1], allowed: Array(0...7))
        #expect(places.processors(for: .processors([0, 2])) == [0, 2])
    }

    @Test("Ordinals count the processors that the process may use")
    func affinity() throws {
        let places = try places(nodes: [0: 0...3, 1: 4...7], devices: ["mlx5_0": 1], allowed: [2, 3, 5])
        #expect(places.processors(for: .automatic) == [2])
        #expect(places.processors(for: .count(2)) == [2, 0])
    }

    @Test("Where nothing tells, all processors are alike", arguments: [[:], ["rxe0": -1], ["far": 5]])
    func unknown(devices: [String: Int]) throws {
        let places = try places(nodes: [0: 0...1, 1: 2...3], devices: devices, allowed: Array(0...3))
        #expect(places.processors(for: .automatic) == [0, 1, 2, 3])
        #expect(places.processors(for: .count(3)) == [0, 1, 2])
    }

    @Test("Devices at both nodes have reactors at both")
    func both() throws {
        let places = try places(
            nodes: [0: 0...1, 1: 2...3], devices: ["mlx5_0": 0, "mlx5_1": 1], allowed: Array(0...3))
        #expect(places.processors(for: .automatic) == [0, 1, 2, 3])
    }

    @Test("A daemon beside a target takes the same from the last one on")
    func last() throws {
        let places = try places(nodes: [0: 0...1, 1: 2...3], devices: ["mlx5_0": 0], allowed: Array(0...3))
        #expect(places.lastProcessors(1) == [1])
        #expect(places.lastProcessors(5) == [1, 0, 3, 2, 4])
        let flat = try self.places(nodes: [:], devices: [:], allowed: [0, 1])
        #expect(flat.lastProcessors(3) == [1, 0, 2])
    }

    @Test("Soft-RoCE is where its network interface is, which is where the bus of that is")
    func softRoCE() throws {
        let root = FileManager.default.temporaryDirectory.path + "/places-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: root) }
        let pci = "\(root)/devices/pci0000:80/0000:80:00.0"
        for folder in ["\(pci)/virtio3/net/eth0", "\(root)/class/infiniband/rxe0", "\(root)/class/net"] {
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        }
        try "1\n".write(toFile: "\(pci)/numa_node", atomically: true, encoding: .utf8)
        try FileManager.default.createSymbolicLink(
            atPath: "\(pci)/virtio3/net/eth0/device", withDestinationPath: "../../../virtio3")
        try FileManager.default.createSymbolicLink(
            atPath: "\(root)/class/net/eth0",
            withDestinationPath: "../../devices/pci0000:80/0000:80:00.0/virtio3/net/eth0")
        try "eth0\n".write(toFile: "\(root)/class/infiniband/rxe0/parent", atomically: true, encoding: .utf8)
        let places = ProcessorPlaces(allowed: [], sysfs: root)
        #expect(places.devices.map(\.name) == ["rxe0"] && places.devices.map(\.node) == [1])
        try "dummy\n".write(toFile: "\(root)/class/infiniband/rxe0/parent", atomically: true, encoding: .utf8)
        #expect(ProcessorPlaces(allowed: [], sysfs: root).devices.map(\.node) == [nil])
    }

    @Test("A machine without nodes has reactors on all processors")
    func flat() throws {
        let places = try places(nodes: [:], devices: ["mlx5_0": -1], allowed: [0, 1])
        #expect(places.processors(for: .automatic) == [0, 1] && places.nodes == [nil, nil])
    }
}
