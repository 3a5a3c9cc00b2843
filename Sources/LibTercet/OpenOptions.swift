import Base
import CTercet
import FabricInterface
import Glibc
import NVMeAuthentication
import NVMeInitiator
import NVMeSpec
import Replication
import VolumeDriver

/// Why a namespace could not be opened.
struct OpenFailure: Error {
    /// A negative errno.
    var code: Int32
    var message: String
}

/// `struct tercet_options`, checked.
struct OpenOptions {
    var controller: ControllerOptions
    var keys: KeySource?
    var nsid: UInt32?
    var depth: Int
    var pinnedBytes: Int

    init(_ pointer: UnsafePointer<tercet_options>) throws(OpenFailure) {
        var given = tercet_options()
        try take(&given, from: pointer, "tercet_options")
        let host = given.address.map { String(cString: $0) } ?? ""
        guard let address = SocketAddress(host: host, port: given.port == 0 ? 4420 : given.port) else {
            throw OpenFailure(code: -EINVAL, message: "\"\(host)\" is not an IPv4 or IPv6 address")
        }
        let subsystem = given.subsystem_nqn.map { String(cString: $0) } ?? ""
        try checkNQN(subsystem, "NQN")
        let text = given.host_id.map { String(cString: $0) }
        guard let id = text == nil ? .random() : UUIDBytes(text ?? "") else {
            throw OpenFailure(code: -EINVAL, message: "\"\(text ?? "")\" is not a UUID")
        }
        keys = try checkedKeys(given.host_key, given.controller_key)
        depth = try checkedDepth(given.depth)
        nsid = given.nsid == 0 ? nil : given.nsid
        pinnedBytes = checkedPinnedBytes(given.pinned_bytes)
        controller = ControllerOptions(
            address: address, subsystemNQN: subsystem, hostNQN: try checkedHostNQN(given.host_nqn, id), hostID: id,
            queueEntries: depth + 1, operationsPerQueue: depth)
        if given.keep_alive_ms > 0 { controller.keepAliveMilliseconds = given.keep_alive_ms }
        if given.connect_timeout_ms > 0 { controller.connectTimeoutMilliseconds = given.connect_timeout_ms }
        if given.io_timeout_ms > 0 { controller.ioTimeoutMilliseconds = given.io_timeout_ms }
        if given.fast_io_fail_ms == .max {
            controller.recovery = .fail
        } else if given.fast_io_fail_ms > 0 {
            controller.fastIOFailMilliseconds = UInt64(given.fast_io_fail_ms)
        }
    }
}

/// `struct tercet_volume_options`, checked.
struct VolumeOpenOptions {
    var members: [MemberAddress] = []
    var hostNQN: String
    /// Fresh: to reservations each attachment is another host.
    var hostID: UUIDBytes
    var keys: KeySource?
    var depth: Int
    var pinnedBytes: Int
    private var attachTimeoutMilliseconds: UInt64
    /// A host that has the volume attached is fenced.
    private var takesOver: Bool
    private var keepAliveMilliseconds: UInt32
    private var commandTimeoutMilliseconds: UInt32
    private var suspendPolicy: SuspendPolicy

    init(_ pointer: UnsafePointer<tercet_volume_options>) throws(OpenFailure) {
        var given = tercet_volume_options()
        try take(&given, from: pointer, "tercet_volume_options")
        let text = given.members.map { String(cString: $0) } ?? ""
        let parts = text.split(separator: ",", omittingEmptySubsequences: false)
        guard parts.count == memberCount else {
            throw OpenFailure(code: -EINVAL, message: "\(parts.count) members are given; a volume has \(memberCount)")
        }
        for part in parts {
            guard let member = MemberAddress(String(part)) else {
                throw OpenFailure(code: -EINVAL, message: "\"\(part)\" is not ADDRESS:PORT/SUBNQN/NSID")
            }
            try checkNQN(member.subsystemNQN, "NQN")
            members.append(member)
        }
        hostID = .random()
        hostNQN = try checkedHostNQN(given.host_nqn, hostID)
        keys = try checkedKeys(given.host_key, given.controller_key)
        depth = try checkedDepth(given.depth)
        pinnedBytes = checkedPinnedBytes(given.pinned_bytes)
        keepAliveMilliseconds = given.keep_alive_ms == 0 ? 2000 : given.keep_alive_ms
        commandTimeoutMilliseconds = given.io_timeout_ms == 0 ? 5000 : given.io_timeout_ms
        attachTimeoutMilliseconds = given.attach_timeout_ms == 0 ? 30_000 : UInt64(given.attach_timeout_ms)
        takesOver = given.take_over != 0
        suspendPolicy = given.fails_when_suspended == 0 ? .wait : .fail
    }

    /// How to attach it.
    var attachment: VolumeAttachmentOptions {
        var options = VolumeAttachmentOptions(members: members, hostNQN: hostNQN, hostID: hostID)
        options.takesOver = takesOver
        options.queueDepth = max(depth, 64)
        options.suspendPolicy = suspendPolicy
        options.keepAliveMilliseconds = keepAliveMilliseconds
        options.commandTimeoutMilliseconds = commandTimeoutMilliseconds
        options.attachTimeoutMilliseconds = attachTimeoutMilliseconds
        return options
    }
}

/// Copies a structure that begins with its size. A caller that was built with an older header gives fewer fields; the rest
/// stay zero.
private func take<Structure: BitwiseCopyable>(
    _ given: inout Structure, from pointer: UnsafePointer<Structure>, _ name: String
) throws(OpenFailure) {
    let size = UnsafeRawPointer(pointer).load(as: Int.self)
    guard size >= MemoryLayout<Int>.size else {
        throw OpenFailure(code: -EINVAL, message: "\(name).size is not set")
    }
    withUnsafeMutableBytes(of: &given) {
        $0.copyMemory(from: UnsafeRawBufferPointer(start: pointer, count: min(size, $0.count)))
    }
}

private func checkedDepth(_ depth: UInt32) throws(OpenFailure) -> Int {
    guard depth <= 1023 else { throw OpenFailure(code: -EINVAL, message: "a depth of at most 1023") }
    return depth == 0 ? 128 : Int(depth)
}

/// Keys that are given themselves, or by the paths of files; those of the environment if none are given.
private func checkedKeys(
    _ host: UnsafePointer<CChar>?, _ controller: UnsafePointer<CChar>?
) throws(OpenFailure) -> KeySource? {
    guard let host else {
        if controller == nil { return .environment() }
        throw OpenFailure(code: -EINVAL, message: "controller_key without host_key")
    }
    let texts = (host: String(cString: host), controller: controller.map { String(cString: $0) })
    guard texts.host.hasPrefix("DHHC-1:") else { return .files(host: texts.host, controller: texts.controller) }
    do throws(TercetError) {
        var keys = AuthenticationKeys(host: try AuthenticationKey(parsing: texts.host))
        if let text = texts.controller { keys.controller = try AuthenticationKey(parsing: text) }
        return .keys(keys)
    } catch { throw OpenFailure(code: -EINVAL, message: "host_key or controller_key: \(error)") }
}

private func checkedPinnedBytes(_ bytes: UInt64) -> Int { bytes == 0 ? 1 << 30 : Int(clamping: bytes) }

private func checkedHostNQN(
    _ given: UnsafePointer<CChar>?, _ id: UUIDBytes
) throws(OpenFailure) -> String {
    guard let given else { return NQN.uuid(id) }
    let name = String(cString: given)
    try checkNQN(name, "host NQN")
    return name
}

/// Refuses a name that cannot be sent. One that has not the form of an NQN is the target's to judge.
private func checkNQN(_ name: String, _ what: String) throws(OpenFailure) {
    do throws(InvalidNQN) { try NQN.validate(name) } catch {
        guard error.isOfForm, !name.isEmpty else {
            throw OpenFailure(code: -EINVAL, message: "\(what) \"\(name)\": \(error)")
        }
    }
}
