import Base
import Glibc
import TargetConfiguration
import TargetInterface

/// The needs of a configuration, beside what the process may have. An RDMA device counts the memory that it is
/// given as locked; where the limit is low, the daemon would listen, and refuse every host.
struct ResourceCheck {
    /// Memory that the reactors register with one RDMA device, in bytes.
    let lockedBytes: UInt64
    /// Descriptors: of each reactor to each namespace, and those of the reactors, the RDMA devices and the log.
    let descriptors: UInt64
    private let memoryLimit: UInt64
    private let descriptorLimit: UInt64

    init(_ configuration: Configuration) {
        self.init(
            configuration, reactors: configuration.reactors.processors.count,
            memoryLimit: geteuid() == 0 ? .max : Self.limit(__RLIMIT_MEMLOCK),
            descriptorLimit: Self.limit(RLIMIT_NOFILE))
    }

    init(_ configuration: Configuration, reactors: Int, memoryLimit: UInt64, descriptorLimit: UInt64) {
        let definition = configuration.definition
        let options = definition.options
        let capsules = options.sharedReceiveEntries * (options.inCapsuleDataSize + 128)
        lockedBytes = UInt64(reactors) * UInt64(options.poolBytes + capsules)
        let namespaces = definition.subsystems.reduce(0) { $0 + $1.namespaces.count }
        descriptors = UInt64(namespaces + reactors * (namespaces + 16) + definition.listeners.count + 32)
        self.memoryLimit = memoryLimit
        self.descriptorLimit = descriptorLimit
    }

    /// A line for each limit that is too low.
    var warnings: [String] {
        var warnings: [String] = []
        if memoryLimit < lockedBytes {
            warnings.append(
                "the limit of locked memory is \(ByteSize.format(memoryLimit)), and the reactors register "
                    + "\(ByteSize.format(lockedBytes)) with an RDMA device: hosts will be refused (LimitMEMLOCK=infinity, "
                    + "ulimit -l unlimited)")
        }
        if descriptorLimit < descriptors {
            warnings.append(
                "the limit of file descriptors is \(descriptorLimit), and \(descriptors) are needed before any host comes "
                    + "(LimitNOFILE=, ulimit -n)")
        }
        return warnings
    }

    private static func limit(_ resource: __rlimit_resource) -> UInt64 {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(resource.rawValue), &limit) == 0 else { return .max }
        return UInt64(limit.rlim_cur)
    }
}
