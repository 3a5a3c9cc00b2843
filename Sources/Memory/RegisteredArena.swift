import Base
import CLinux
import FabricInterface
import Glibc
import Synchronization
import SystemPackage

/// One mapping of zeroed memory, registered with each device that is to reach it.
///
/// Huge pages are used if the system has some set aside, transparent ones are asked for otherwise, and neither is
/// needed. May be used from any thread.
public final class RegisteredArena: @unchecked Sendable {
    // Unchecked: the memory never moves, a lock guards the registrations, and the users of the memory agree on its parts.

    public let memory: UnsafeMutableRawBufferPointer

    private struct Registration: @unchecked Sendable {
        // Unchecked: it is used under the arena's lock only, and contexts allow registration from any thread.

        var domain: UInt
        var access: MemoryAccess
        var region: MemoryRegion
        var context: FabricContext
    }
    private let registrations = Mutex<[Registration]>([])
    private let mappedBytes: Int
    private let mapping: UnsafeMutableRawPointer

    private static let hugePage = 2 << 20

    /// Maps `bytes` of zeroed memory, rounded up to whole pages. Throws if there is no room for it.
    ///
    /// - Parameter usesHugePages: takes those that the system has set aside; without them for tests.
    public convenience init(bytes: Int) throws(TercetError) { try self.init(bytes: bytes, usesHugePages: true) }

    package init(bytes: Int, usesHugePages: Bool) throws(TercetError) {
        let page = Int(getpagesize())
        guard bytes > 0, bytes <= Int.max / 2 else {
            throw memoryError("arena of \(bytes) bytes", EINVAL)
        }
        // As many bytes whatever pages they are of: what is counted on them is the same on every machine.
        let rounded = (bytes + page - 1) / page * page
        let whole = (bytes + Self.hugePage - 1) / Self.hugePage * Self.hugePage
        if bytes >= Self.hugePage, usesHugePages, let huge = Self.map(whole, MAP_HUGETLB) {
            mapping = huge
            mappedBytes = whole
            memory = UnsafeMutableRawBufferPointer(start: huge, count: rounded)
            return
        }
        // Room to begin at a huge page's boundary, for transparent ones.
        let slack = rounded >= Self.hugePage ? Self.hugePage : 0
        guard let start = Self.map(rounded + slack, 0) else {
            throw memoryError("mmap of \(rounded + slack) bytes", errno)
        }
        mapping = start
        mappedBytes = rounded + slack
        let address = UInt(bitPattern: start)
        let mask = UInt(max(slack, 1)) - 1
        let aligned = start + Int((address + mask) & ~mask - address)
        // Advice: without transparent huge pages it is refused, and nothing is lost.
        if slack > 0 { _ = madvise(aligned, rounded, MADV_HUGEPAGE) }
        memory = UnsafeMutableRawBufferPointer(start: aligned, count: rounded)
    }

    private static func map(_ bytes: Int, _ flags: Int32) -> UnsafeMutableRawPointer? {
        let result = mmap(nil, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0)
        return result == MAP_FAILED ? nil : result
    }

    deinit {
        registrations.withLock { list in
            for registration in list { registration.context.deregister(registration.region) }
        }
        munmap(mapping, mappedBytes)
    }

    /// The registration with the device of `context` for one kind of access, made when first asked for: for local use
    /// and, if `access` says so, for peers. It lasts as long as the arena.
    public func register(
        with context: FabricContext, access: MemoryAccess = [.localWrite]
    ) throws(TercetError) -> MemoryRegion {
        let domain = context.domain
        let known = registrations.withLock { list in list.first { $0.domain == domain && $0.access == access }?.region }
        if let known { return known }
        let region = try context.register(memory, access: access)
        let box = Registration(domain: domain, access: access, region: region, context: context)
        let first = registrations.withLock { list -> MemoryRegion? in
            if let other = list.first(where: { $0.domain == domain && $0.access == access }) {
                return other.region
            }
            list.append(box)
            return nil
        }
        // Another thread was faster: one registration is enough.
        if let first {
            context.deregister(region)
            return first
        }
        return region
    }
}

/// The error of a call that asked for memory, with what to do.
private func memoryError(_ call: String, _ code: Int32) -> TercetError {
    let reason =
        switch code {
        case ENOMEM: "there is not enough memory; configure a smaller pool"
        case EAGAIN: "more than the limit on locked memory (`ulimit -l`, LimitMEMLOCK=)"
        default: Errno(rawValue: code).description
        }
    return TercetError(call: call, errno: code, reason: reason)
}
