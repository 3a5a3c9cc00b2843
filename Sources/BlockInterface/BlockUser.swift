/// A kind of users of a block device: a device may count the I/O of each apart.
public enum BlockUser: UInt8, CaseIterable, Sendable {
    /// Code of this process.
    case program
    /// Clients that speak NBD.
    case nbd
    /// A block device of this machine, by the kernel's NBD client.
    case kernelNBD
    /// A block device of this machine, by the kernel's ublk driver.
    case ublk
    /// NVMe-oF hosts.
    case nvme

    /// For metrics.
    public var name: String {
        switch self {
        case .program: "program"
        case .nbd: "nbd"
        case .kernelNBD: "kernel-nbd"
        case .ublk: "ublk"
        case .nvme: "nvme"
        }
    }
}
