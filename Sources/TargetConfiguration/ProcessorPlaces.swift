import Base
import CLinux
import Foundation

/// The processors that this process may use, with their NUMA nodes and those of the RDMA devices: where reactors run if nothing else is
/// said. A reactor makes its memory on its own thread, so that it lies on the reactor's node.
public struct ProcessorPlaces: Equatable, Sendable {
    /// The NUMA node of each processor that the process may use, in order; `nil` where the system does not tell.
    public let nodes: [Int?]
    /// The RDMA devices of the kernel, by name.
    public let devices: [Device]

    /// An RDMA device; its NUMA node is `nil` where the machine has one only, or does not tell.
    public struct Device: Equatable, Sendable {
        public let name: String
        public let node: Int?
    }

    /// The nodes that have RDMA devices.
    private var deviceNodes: Set<Int> { Set(devices.compactMap(\.node)) }

    /// - Parameters:
    ///   - allowed: the numbers of the processors.
    ///   - sysfs: the folder in which the kernel tells of its devices.
    public init(allowed: [Int], sysfs: String = "/sys") {
        func names(_ folder: String) -> [String] {
            (try? FileManager.default.contentsOfDirectory(atPath: sysfs + folder)) ?? []
        }
        nodes = allowed.map { number in
            names("/devices/system/cpu/cpu\(number)").lazy.filter { $0.hasPrefix("node") }
                .compactMap { Int($0.dropFirst(4)) }.first
        }
        devices = names("/class/infiniband").sorted().map {
            Device(name: $0, node: DeviceNode.ofRDMADevice($0, sysfs: sysfs))
        }
    }

    /// Those of this process.
    public static var this: ProcessorPlaces {
        var allowed: [Int] = []
        while true {
            let number = tercet_allowed_processor(Int32(allowed.count))
            guard number >= 0 else { return ProcessorPlaces(allowed: allowed) }
            allowed.append(Int(number))
        }
    }

    /// The processors of reactors, as ordinals among those that the process may use: at the nodes of RDMA devices first. Without a count
    /// there is one at each processor of those nodes.
    public func processors(for choice: ReactorChoice) -> [Int] {
        let (near, far) = nearAndFar
        switch choice {
        case .automatic: return near.isEmpty ? Array(0..<max(1, nodes.count)) : near
        // More reactors than processors are not pinned.
        case .count(let count): return Array((near + far + Array(nodes.count..<max(nodes.count, count))).prefix(count))
        case .processors(let ordinals): return ordinals
        }
    }

    /// So many processors as `processors(for:)` gives, from the last one on: for a daemon beside one that begins with the first.
    public func lastProcessors(_ count: Int) -> [Int] {
        let (near, far) = nearAndFar
        return Array((near.reversed() + far.reversed() + Array(nodes.count..<max(nodes.count, count))).prefix(count))
    }

    /// The processors at the nodes of RDMA devices, and all others.
    private var nearAndFar: ([Int], [Int]) {
        let wanted = deviceNodes
        let near = nodes.indices.filter { nodes[$0].map(wanted.contains) ?? false }
        return (near, nodes.indices.filter { !near.contains($0) })
    }

    /// The node of a processor by its ordinal.
    public func node(of ordinal: Int) -> Int? { nodes.indices.contains(ordinal) ? nodes[ordinal] : nil }
}
