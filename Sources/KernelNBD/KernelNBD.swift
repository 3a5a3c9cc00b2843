import Base
import CLinux
import Glibc

/// The kernel's NBD client: block devices `/dev/nbdN` whose other end is a socket of this process (linux/nbd-netlink.h).
///
/// The kernel is given a socket behind the handshake. When the socket's other end is closed, the device waits for another one
/// (`reconfigure`) for its dead-connection timeout, and then fails its I/O. Calls block; they need CAP_SYS_ADMIN.
public struct KernelNBD: ~Copyable {
    private var netlink: GenericNetlink

    /// How a device is to be.
    public struct Settings: Equatable, Sendable {
        /// Bytes.
        public var size: UInt64
        /// Bytes of a logical block: a power of two, from 512 to the size of a page.
        public var blockSize: UInt32
        /// The transmission flags of the session.
        public var flags: UInt16
        /// A request that is not answered for so long is sent again over another connection, once there is one.
        public var requestTimeoutSeconds: UInt64
        /// How long I/O waits for a new connection, when there is none.
        public var deadConnectionTimeoutSeconds: UInt64
        /// A text that names what is behind the device. `reconfigure` succeeds for the same one only.
        public var backend: String

        public init(
            size: UInt64, blockSize: UInt32, flags: UInt16, requestTimeoutSeconds: UInt64 = 10,
            deadConnectionTimeoutSeconds: UInt64 = 300, backend: String
        ) {
            self.size = size
            self.blockSize = blockSize
            self.flags = flags
            self.requestTimeoutSeconds = requestTimeoutSeconds
            self.deadConnectionTimeoutSeconds = deadConnectionTimeoutSeconds
            self.backend = backend
        }
    }

    /// Throws `unsupported` where the kernel has no NBD client, or its module is not loaded.
    public init() throws(TercetError) {
        do throws(TercetError) {
            netlink = try GenericNetlink(family: NBD_GENL_FAMILY_NAME, version: UInt8(NBD_GENL_VERSION))
        } catch {
            guard error.code == .notFound else { throw error }
            throw TercetError(
                .unsupported, "the kernel has no NBD client, or its module is not loaded: try modprobe nbd")
        }
    }

    /// Makes a device that uses a connected socket; returns its number.
    public mutating func connect(_ socket: Int32, _ settings: Settings) throws(TercetError) -> Int32 {
        let answers: [NetlinkMessage]
        do throws(TercetError) {
            answers = try netlink.request(Int(NBD_CMD_CONNECT), Self.attributes(socket, settings, index: nil))
        } catch {
            throw Self.explained(error, "no device can be made")
        }
        guard
            let index = answers.lazy.compactMap({
                $0.attributes.number(Int(NBD_ATTR_INDEX), UInt32.self)
            }).first
        else { throw TercetError(.failed, "the kernel has made a device, and does not tell its number") }
        return Int32(bitPattern: index)
    }

    /// Gives a device whose connection has died another socket, and has it take over the settings. Throws `exhausted` while the
    /// kernel has not noticed the death: a moment later it may have.
    public mutating func reconfigure(
        _ index: Int32, _ socket: Int32, _ settings: Settings
    ) throws(TercetError) {
        try configure(index, Self.attributes(socket, settings, index: index))
    }

    /// Gives a device another size.
    public mutating func resize(_ index: Int32, _ settings: Settings) throws(TercetError) {
        try configure(index, Self.attributes(nil, settings, index: index))
    }

    private mutating func configure(_ index: Int32, _ attributes: NetlinkAttributes) throws(TercetError) {
        do throws(TercetError) {
            _ = try netlink.request(Int(NBD_CMD_RECONFIGURE), attributes)
        } catch {
            throw Self.explained(error, "/dev/nbd\(index) cannot be configured anew")
        }
    }

    /// Ends a device: what is under way is answered, and everything after it fails.
    public mutating func disconnect(_ index: Int32) throws(TercetError) {
        var attributes = NetlinkAttributes()
        attributes.add(Int(NBD_ATTR_INDEX), UInt32(bitPattern: index))
        do throws(TercetError) {
            _ = try netlink.request(Int(NBD_CMD_DISCONNECT), attributes)
        } catch {
            throw Self.explained(error, "/dev/nbd\(index) cannot be disconnected")
        }
    }

    /// Whether a device is in use by some backend, whether or not its connection lives.
    public mutating func isConnected(_ index: Int32) throws(TercetError) -> Bool {
        var attributes = NetlinkAttributes()
        attributes.add(Int(NBD_ATTR_INDEX), UInt32(bitPattern: index))
        let answers = try netlink.request(Int(NBD_CMD_STATUS), attributes)
        return Self.connectedDevices(answers).contains(index)
    }

    /// The numbers of the devices that an answer to a question for the status calls connected.
    static func connectedDevices(_ answers: [NetlinkMessage]) -> Set<Int32> {
        var found: Set<Int32> = []
        for answer in answers {
            guard let list = answer.attributes.nested(Int(NBD_ATTR_DEVICE_LIST)) else { continue }
            for (type, value) in list.all where type == Int(NBD_DEVICE_ITEM) {
                let device = NetlinkAttributes(bytes: value)
                guard let index = device.number(Int(NBD_DEVICE_INDEX), UInt32.self),
                    device.number(Int(NBD_DEVICE_CONNECTED), UInt8.self) == 1
                else { continue }
                found.insert(Int32(bitPattern: index))
            }
        }
        return found
    }

    static func attributes(_ socket: Int32?, _ settings: Settings, index: Int32?) -> NetlinkAttributes {
        var attributes = NetlinkAttributes()
        if let index { attributes.add(Int(NBD_ATTR_INDEX), UInt32(bitPattern: index)) }
        attributes.add(Int(NBD_ATTR_SIZE_BYTES), settings.size)
        attributes.add(Int(NBD_ATTR_BLOCK_SIZE_BYTES), UInt64(settings.blockSize))
        attributes.add(Int(NBD_ATTR_TIMEOUT), settings.requestTimeoutSeconds)
        attributes.add(Int(NBD_ATTR_DEAD_CONN_TIMEOUT), settings.deadConnectionTimeoutSeconds)
        attributes.add(Int(NBD_ATTR_SERVER_FLAGS), UInt64(settings.flags))
        attributes.add(Int(NBD_ATTR_BACKEND_IDENTIFIER), settings.backend)
        guard let socket else { return attributes }
        var (item, list) = (NetlinkAttributes(), NetlinkAttributes())
        item.add(Int(NBD_SOCK_FD), UInt32(bitPattern: socket))
        list.add(Int(NBD_SOCK_ITEM), item)
        attributes.add(Int(NBD_ATTR_SOCKETS), list)
        return attributes
    }

    private static func explained(_ error: TercetError, _ problem: String) -> TercetError {
        var explained = error
        explained.message =
            error.code == .notPermitted
            ? "\(problem): only root, or a process with CAP_SYS_ADMIN, may do that" : "\(problem): \(error.message)"
        return explained
    }
}
