import Base
import Glibc
import JSON
import VolumeDriver

/// A change of a volume in several steps, which may be interrupted between any two.
public struct VolumeOperation: Equatable, Sendable {
    public enum Kind: String, Codable, CaseIterable, Sendable {
        case create, destroy, replace, grow
    }

    public var kind: Kind
    /// Which member is replaced: 0, 1 or 2.
    public var member: Int?
    /// The namespace that takes its place.
    public var address: MemberAddress?
    public var worker: Worker
    /// Fields of other releases, which are kept.
    var unknown: [String: JSONValue] = [:]

    public init(_ kind: Kind, member: Int? = nil, address: MemberAddress? = nil, worker: Worker = .current) {
        self.kind = kind
        self.member = member
        self.address = address
        self.worker = worker
    }
}

/// A process, on whatever machine, that can be told from one that gets its number later.
public struct Worker: Codable, Equatable, Sendable {
    /// The machine's name, for people.
    public var host: String
    public var processID: Int32
    /// The boot of the machine: `/proc/sys/kernel/random/boot_id`.
    public var boot: String
    /// The machine: `/etc/machine-id`; empty if it has none.
    public var machine: String
    /// The namespace in which `processID` counts: `/proc/self/ns/pid`.
    public var namespace: String
    /// The moment at which the process began, in clock ticks since the boot (`/proc/PID/stat`, field 22).
    public var start: UInt64

    enum CodingKeys: String, CodingKey {
        case host, boot, machine, namespace, start
        case processID = "process"
    }

    public init(host: String, processID: Int32, boot: String, machine: String, namespace: String, start: UInt64) {
        self.host = host
        self.processID = processID
        self.boot = boot
        self.machine = machine
        self.namespace = namespace
        self.start = start
    }

    /// This process.
    public static let current = Worker(
        host: hostName(), processID: getpid(), boot: line("/proc/sys/kernel/random/boot_id"),
        machine: line("/etc/machine-id"), namespace: link("/proc/self/ns/pid"), start: startTime(of: getpid()) ?? 0)

    /// Whether the process is still there; `nil` if that cannot be known here, because it belongs to another machine.
    public var isAlive: Bool? {
        let here = Worker.current
        if boot == here.boot {
            guard namespace == here.namespace else { return nil }
            return Worker.startTime(of: processID) == start
        }
        // The same machine has been booted since.
        return machine == here.machine && !machine.isEmpty ? false : nil
    }

    /// For people.
    public var words: String { "process \(processID) on \(host)" }

    private static func startTime(of process: pid_t) -> UInt64? {
        let stat = line("/proc/\(process)/stat")
        // The second field, the program's name in parentheses, may have anything in it.
        guard let end = stat.lastIndex(of: ")") else { return nil }
        let fields = stat[stat.index(after: end)...].split(separator: " ")
        // A process that has ended and is not collected yet does nothing more.
        guard fields.count > 19, fields[0] != "Z", fields[0] != "X" else { return nil }
        return UInt64(fields[19])
    }

    private static func line(_ path: String) -> String {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return "" }
        defer { close(descriptor) }
        var buffer = [UInt8](repeating: 0, count: 1024)
        let count = read(descriptor, &buffer, buffer.count)
        guard count > 0 else { return "" }
        return String(decoding: buffer[..<count].prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
    }

    private static func link(_ path: String) -> String {
        var buffer = [CChar](repeating: 0, count: 256)
        let count = readlink(path, &buffer, buffer.count)
        return count > 0 ? String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self) : ""
    }

    private static func hostName() -> String { line("/proc/sys/kernel/hostname") }
}
