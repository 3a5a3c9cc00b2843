import Base
import CLinux
import Glibc

/// Requests to a family of generic netlink, one after the other. Calls block.
struct GenericNetlink: ~Copyable {
    private let descriptor: Int32
    private let family: UInt16
    private let version: UInt8
    private var sequence: UInt32 = 0

    /// The kernel answers at once; it has so long for a request that starts or stops a device.
    private static let answerSeconds = 30

    /// Looks a family up; throws `notFound` where the kernel has none of that name.
    init(family name: String, version: UInt8) throws(TercetError) {
        let found = try Self.open(name)
        descriptor = found.descriptor
        family = found.family
        self.version = version
    }

    private static func open(_ name: String) throws(TercetError) -> (descriptor: Int32, family: UInt16) {
        let kind = Int32(SOCK_RAW.rawValue | SOCK_CLOEXEC.rawValue)
        let descriptor = socket(AF_NETLINK, kind, NETLINK_GENERIC)
        guard descriptor >= 0 else { throw problem(errno) }
        var patience = timeval(tv_sec: answerSeconds, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        var attributes = NetlinkAttributes()
        attributes.add(Int(CTRL_ATTR_FAMILY_NAME), name)
        do throws(TercetError) {
            let answers = try exchange(
                descriptor,
                NetlinkMessage(
                    type: UInt16(GENL_ID_CTRL), flags: requestFlags, sequence: 0,
                    command: UInt8(CTRL_CMD_GETFAMILY), version: 1, attributes: attributes))
            let numbers = answers.lazy.compactMap {
                $0.attributes.number(Int(CTRL_ATTR_FAMILY_ID), UInt16.self)
            }
            guard let family = numbers.first else {
                throw TercetError(.notFound, "the kernel does not tell the number of its family \(name)")
            }
            return (descriptor, family)
        } catch {
            close(descriptor)
            throw error
        }
    }

    deinit { close(descriptor) }

    /// NLM_F_REQUEST and NLM_F_ACK.
    private static let requestFlags: UInt16 = 1 | 4

    /// Makes a request; returns the messages that answer it.
    mutating func request(_ command: Int, _ attributes: NetlinkAttributes) throws(TercetError) -> [NetlinkMessage] {
        sequence += 1
        return try Self.exchange(
            descriptor,
            NetlinkMessage(
                type: family, flags: Self.requestFlags, sequence: sequence, command: UInt8(command), version: version,
                attributes: attributes))
    }

    private static func exchange(
        _ descriptor: Int32, _ message: NetlinkMessage
    ) throws(TercetError) -> [NetlinkMessage] {
        let bytes = message.bytes
        guard send(descriptor, bytes, bytes.count, 0) == bytes.count else { throw problem(errno) }
        var messages: [NetlinkMessage] = []
        var buffer = [UInt8](repeating: 0, count: 16 << 10)
        while true {
            let count = recv(descriptor, &buffer, buffer.count, 0)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw problem(count == 0 ? EPIPE : errno == EAGAIN ? ETIMEDOUT : errno) }
            for answer in NetlinkMessage.decode(Array(buffer[..<count])) {
                switch answer {
                // An answer to an earlier request that was given up is nobody's.
                case .acknowledgement(message.sequence, 0): return messages
                case .acknowledgement(message.sequence, let status): throw problem(-status)
                case .message(let found) where found.sequence == message.sequence: messages.append(found)
                case .acknowledgement, .message: continue
                }
            }
        }
    }

    private static func problem(_ code: Int32) -> TercetError {
        TercetError(call: "netlink", errno: code, reason: String(cString: strerror(code)))
    }
}
