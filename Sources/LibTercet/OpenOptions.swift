import CTercet
import FabricInterface
import Glibc
import NVMeInitiator
import NVMeSpec

/// Why a namespace could not be opened.
struct OpenFailure: Error {
    /// A negative errno.
    var code: Int32
    var message: String
}

/// `struct tercet_options`, checked.
struct OpenOptions {
    var controller: ControllerOptions
    var nsid: UInt32?
    var depth: Int
    var pinnedBytes: Int

    init(_ pointer: UnsafePointer<tercet_options>) throws(OpenFailure) {
        // A caller that was built with an older header gives fewer fields; the rest are zero.
        var given = tercet_options()
        let size = pointer.withMemoryRebound(to: Int.self, capacity: 1) { $0.pointee }
        guard size >= MemoryLayout<Int>.size else {
            throw OpenFailure(code: -EINVAL, message: "tercet_options.size is not set")
        }
        memcpy(&given, pointer, min(size, MemoryLayout<tercet_options>.size))
        let host = given.address.map { String(cString: $0) } ?? ""
        guard let address = SocketAddress(host: host, port: given.port == 0 ? 4420 : given.port) else {
            throw OpenFailure(code: -EINVAL, message: "\"\(host)\" is not an IPv4 or IPv6 address")
        }
        let subsystem = given.subsystem_nqn.map { String(cString: $0) } ?? ""
        do { try NQN.validate(subsystem) } catch {
            throw OpenFailure(code: -EINVAL, message: "NQN \"\(subsystem)\": \(error)")
        }
        let text = given.host_id.map { String(cString: $0) }
        guard let id = text == nil ? OpenOptions.randomID() : UUIDBytes(text ?? "") else {
            throw OpenFailure(code: -EINVAL, message: "\"\(text ?? "")\" is not a UUID")
        }
        depth = given.depth == 0 ? 128 : Int(given.depth)
        guard depth <= 1023 else { throw OpenFailure(code: -EINVAL, message: "a depth of at most 1023") }
        nsid = given.nsid == 0 ? nil : given.nsid
        pinnedBytes = given.pinned_bytes == 0 ? 1 << 30 : Int(clamping: given.pinned_bytes)
        controller = ControllerOptions(
            address: address, subsystemNQN: subsystem,
            hostNQN: given.host_nqn.map { String(cString: $0) } ?? NQN.uuid(id), hostID: id, queueEntries: depth + 1,
            operationsPerQueue: depth)
        if given.keep_alive_ms > 0 { controller.keepAliveMilliseconds = given.keep_alive_ms }
        if given.io_timeout_ms > 0 { controller.ioTimeoutMilliseconds = given.io_timeout_ms }
        if given.fast_io_fail_ms == .max {
            controller.recovery = .fail
        } else if given.fast_io_fail_ms > 0 {
            controller.fastIOFailMilliseconds = UInt64(given.fast_io_fail_ms)
        }
    }

    /// A random UUID (RFC 9562, version 4).
    private static func randomID() -> UUIDBytes {
        var generator = SystemRandomNumberGenerator()
        return UUIDBytes(
            high: generator.next() & 0xFFFF_FFFF_FFFF_0FFF | 0x4000, low: generator.next() & (1 << 62 - 1) | 1 << 63)
    }
}
