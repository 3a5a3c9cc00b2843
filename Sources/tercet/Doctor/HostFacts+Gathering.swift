import Base
import BlockInterface
import FabricInterface
import Foundation
import Glibc
import HostDiagnosis
import NVMeInitiator
import NVMeSpec
import TargetConfiguration
import TargetInterface
import VerbsFabric

extension HostFacts {
    /// The facts of this host, and the needs of a target that it is to run.
    static func ofThisHost(_ configuration: Configuration?) -> HostFacts {
        var facts = HostFacts()
        do throws(TercetError) {
            facts.devices = try DeviceInventory.devices().map { Device($0) }
        } catch {
            facts.rdmaProblem = error.description
        }
        // A library in the place of the devices needs none of the kernel's.
        let isOfKernel = facts.devices.contains { access("/sys/class/infiniband/\($0.name)", F_OK) == 0 }
        if isOfKernel || facts.devices.isEmpty, access("/sys/class/infiniband", F_OK) == 0 {
            facts.hasConnectionManager = access("/dev/infiniband/rdma_cm", F_OK) == 0
        }
        facts.user = ProcessInfo.processInfo.userName
        if geteuid() != 0 { facts.lockedMemoryLimit = limit(__RLIMIT_MEMLOCK) }
        facts.descriptorLimit = limit(RLIMIT_NOFILE)
        facts.clockSource = firstLine("/sys/devices/system/clocksource/clocksource0/current_clocksource")
        facts.hugePageBytes = hugePageBytes()
        // The word in brackets is the one that counts.
        facts.transparentHugePages = firstLine("/sys/kernel/mm/transparent_hugepage/enabled")?
            .split(separator: "[").last?.split(separator: "]").first.map(String.init)
        facts.kernel = firstLine("/proc/sys/kernel/osrelease")
        facts.addresses = ownAddresses()
        facts.needs = configuration.map { Needs($0) }
        for folder in ["/etc/systemd/system", "/usr/lib/systemd/system"] {
            for name in ["tercetd.service", "tercet-volumed.service"] {
                guard let text = try? String(contentsOfFile: "\(folder)/\(name)", encoding: .utf8),
                    !facts.units.contains(where: { $0.path.hasSuffix("/\(name)") })
                else { continue }
                let drop = (try? FileManager.default.contentsOfDirectory(atPath: "/etc/systemd/system/\(name).d")) ?? []
                let more = drop.sorted().compactMap {
                    try? String(contentsOfFile: "/etc/systemd/system/\(name).d/\($0)", encoding: .utf8)
                }
                facts.units.append(Unit(path: "\(folder)/\(name)", text: ([text] + more).joined(separator: "\n")))
            }
        }
        return facts
    }

    private static func limit(_ resource: __rlimit_resource) -> UInt64 {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(resource.rawValue), &limit) == 0 else { return .max }
        return UInt64(limit.rlim_cur)
    }

    /// Bytes of the huge pages of the usual size that are set aside (proc(5), meminfo).
    private static func hugePageBytes() -> UInt64? {
        guard let text = try? String(contentsOfFile: "/proc/meminfo", encoding: .utf8) else { return nil }
        func number(_ name: String) -> UInt64? {
            text.split(separator: "\n").first { $0.hasPrefix("\(name):") }?.split(separator: " ").dropFirst().first
                .flatMap { UInt64($0) }
        }
        guard let count = number("HugePages_Total"), let size = number("Hugepagesize") else { return nil }
        return count * size << 10
    }

    /// The first line of a file of the kernel; `nil` if there is none.
    static func firstLine(_ path: String) -> String? {
        guard let text = try? String(contentsOfFile: path, encoding: .utf8) else { return nil }
        return text.split(separator: "\n").first.map(String.init)
    }

    private static func ownAddresses() -> [(address: String, interface: String)] {
        var list: UnsafeMutablePointer<ifaddrs>?
        guard getifaddrs(&list) == 0 else { return [] }
        defer { freeifaddrs(list) }
        return sequence(first: list) { $0?.pointee.ifa_next }.compactMap { entry in
            guard let entry, let address = SocketAddress(entry.pointee.ifa_addr) else { return nil }
            return (address.host, String(cString: entry.pointee.ifa_name))
        }
    }
}

extension HostFacts.Device {
    fileprivate init(_ device: DeviceInventory.Device) {
        let folder = "/sys/class/infiniband/\(device.name)"
        self.init(
            name: device.name, ports: device.ports.map { HostFacts.Port($0, folder) },
            maxQueuePairs: device.limits.maxQueuePairs, maxMemoryRegions: device.limits.maxMemoryRegions,
            readDepth: device.limits.maxReadsAsInitiator,
            sharedReceiveEntries: device.limits.maxSharedReceiveWorkRequests,
            node: DeviceNode.ofRDMADevice(device.name))
    }
}

extension HostFacts.Port {
    /// - Parameter folder: of its device below /sys; nothing more is known where there is none.
    fileprivate init(_ port: DeviceInventory.Port, _ folder: String) {
        let attributes = "\(folder)/ports/\(port.number)/gid_attrs"
        let indices = (try? FileManager.default.contentsOfDirectory(atPath: "\(attributes)/types")) ?? []
        // A GID that is not set has no type to read.
        let types = indices.compactMap { HostFacts.firstLine("\(attributes)/types/\($0)") }
        let interfaces = indices.sorted().compactMap { HostFacts.firstLine("\(attributes)/ndevs/\($0)") }
        self.init(
            number: port.number, isActive: port.isActive, state: port.state, isEthernet: port.isEthernet,
            activeMTU: port.activeMTU, maxMTU: port.maxMTU, interface: interfaces.first,
            gidTypes: access(folder, F_OK) == 0 ? types : nil)
    }
}

extension HostFacts.Needs {
    fileprivate init(_ configuration: Configuration) {
        let online = max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN)))
        let places = ProcessorPlaces.this
        let processors = places.processors(for: configuration.reactors)
        let needs = ResourceNeeds(configuration.definition, reactors: processors.count)
        let nodes = processors.compactMap { places.node(of: $0) }
        self.init(
            lockedBytes: needs.lockedBytes, descriptors: needs.descriptors,
            populatedBytes: configuration.definition.subsystems.flatMap(\.namespaces).reduce(0) {
                $0 + $1.backing.populatedBytes
            }, reactors: processors.count,
            sharedReceiveEntries: configuration.definition.options.sharedReceiveEntries,
            queuePairs: processors.count * TargetOptions.connections, listeners: configuration.definition.listeners,
            nodes: nodes.isEmpty ? nil : nodes, processors: online)
    }
}

extension NamespaceBacking {
    /// Bytes that are taken when the namespace is opened.
    fileprivate var populatedBytes: UInt64 {
        guard case .specified(let specification) = self, specification.isPopulated,
            case .ram(let bytes) = specification.backing
        else { return 0 }
        return bytes
    }
}

extension HostFacts.Target {
    /// Times that a target's discovery controller is asked for its identity.
    private static let exchanges = 5

    /// Connects to a target's discovery controller, and times its answers.
    ///
    /// - Parameter mayTry: RDMA can be used.
    static func reach(_ address: SocketAddress, mayTry: Bool) async -> HostFacts.Target {
        var target = HostFacts.Target(address: address, interface: interface(towards: address))
        guard mayTry else {
            target.problem = "RDMA cannot be used here"
            return target
        }
        do {
            let session = try Session()
            defer { session.end() }
            let identity = HostIdentity.fresh()
            var options = ControllerOptions(
                address: address, subsystemNQN: NQN.discovery, hostNQN: identity.nqn, hostID: identity.id)
            options.connectTimeoutMilliseconds = 5000
            let controller = try await session.connect(options, queues: 0)
            var best = UInt64.max
            for _ in 0..<exchanges {
                let start = MonotonicTime.now()
                _ = try await controller.identify(.controller)
                best = min(best, MonotonicTime.now().nanoseconds(since: start))
            }
            await controller.close()
            target.roundTripSeconds = Double(best) / 1e9
        } catch {
            target.problem = "\(error)"
        }
        return target
    }

    /// The interface whose address the kernel would send from; `nil` without a route.
    private static func interface(towards address: SocketAddress) -> String? {
        let probe = socket(
            address.family == .ipv6 ? AF_INET6 : AF_INET, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard probe >= 0 else { return nil }
        defer { close(probe) }
        guard address.withSockaddr({ Glibc.connect(probe, $0, $1) }) == 0 else { return nil }
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let own = withUnsafeMutablePointer(to: &storage) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                getsockname(probe, $0, &length) == 0 ? SocketAddress(UnsafePointer($0)) : nil
            }
        }
        guard let own else { return nil }
        var list: UnsafeMutablePointer<ifaddrs>?
        guard getifaddrs(&list) == 0 else { return nil }
        defer { freeifaddrs(list) }
        let entry = sequence(first: list) { $0?.pointee.ifa_next }.first { entry in
            entry.flatMap { SocketAddress($0.pointee.ifa_addr)?.host } == own.host
        }
        return (entry ?? nil).map { String(cString: $0.pointee.ifa_name) }
    }
}
