import Base
import Glibc
import TargetConfiguration

/// The needs of a configuration, beside what the process may have. An RDMA device counts the memory that it is
/// given as locked; where the limit is low, the daemon would listen, and refuse every host.
struct ResourceCheck {
    private let needs: ResourceNeeds
    private let memoryLimit: UInt64
    private let descriptorLimit: UInt64

    init(_ configuration: Configuration) {
        needs = ResourceNeeds(
            configuration.definition, reactors: ProcessorPlaces.this.processors(for: configuration.reactors).count)
        memoryLimit = geteuid() == 0 ? .max : Self.limit(__RLIMIT_MEMLOCK)
        descriptorLimit = Self.limit(RLIMIT_NOFILE)
    }

    /// A line for each limit that is too low.
    var warnings: [String] {
        var warnings: [String] = []
        if memoryLimit < needs.lockedBytes {
            warnings.append(
                "the limit of locked memory is \(ByteSize.format(memoryLimit)), and the reactors register "
                    + "\(ByteSize.format(needs.lockedBytes)) with an RDMA device: hosts will be refused (LimitMEMLOCK=infinity, "
                    + "ulimit -l unlimited)")
        }
        if descriptorLimit < needs.descriptors {
            warnings.append(
                "the limit of file descriptors is \(descriptorLimit), and \(needs.descriptors) are needed before any host comes "
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
