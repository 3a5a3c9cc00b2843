import Base
import CLinux
import CVerbs
import FabricInterface
import Glibc
import SystemPackage

/// The error of a verbs or RDMA CM call, with a reason that says what to do.
///
/// `operation` is put together only after `code` was read: that may be `errno`, which any call may change.
///
/// - Parameter advice: what an errno value means for this call, before the general meaning is tried.
func verbsError(_ operation: @autoclosure () -> String, _ code: Int32, advice: [Int32: String] = [:]) -> TercetError {
    let code = abs(code)
    if let reason = advice[code] { return TercetError(call: operation(), errno: code, reason: reason) }
    let reason =
        switch code {
        case EADDRINUSE: "the address and port are in use by another listener; stop it or choose another port"
        case EADDRNOTAVAIL: "this machine does not have that address"
        case ENODEV: "no RDMA device has or reaches that address (see `rdma link show`)"
        case ENOENT: "there is no RDMA connection manager; load the kernel module rdma_ucm, or run on softverbs"
        case EACCES, EPERM: "not permitted; give the process access to /dev/infiniband and CAP_IPC_LOCK, or run as root"
        case ENOMEM:
            "the device has no room for more, or the limit on locked memory (`ulimit -l`, LimitMEMLOCK=) is too low"
        case EHOSTUNREACH, ENETUNREACH: "there is no route to that address"
        case ETIMEDOUT: "no answer"
        case ECONNREFUSED: "nothing listens there"
        case EMFILE, ENFILE: "too many open files (`ulimit -n`, LimitNOFILE=)"
        default: Errno(rawValue: code).description
        }
    return TercetError(call: operation(), errno: code, reason: reason)
}
