/// The host's private data in an RDMA CM connection request: 32 bytes (NVMe RDMA Transport, "RDMA_CM REQ").
public struct RDMAConnectRequest: Hashable, Sendable {
    /// Size on the wire, in bytes.
    public static let byteCount = 32

    /// Queue identifier (QID): 0 for the admin queue.
    public var queueID: UInt16
    /// RDMA QP Host Receive Queue Size (HRQSIZE): entries.
    public var hostReceiveQueueSize: UInt16
    /// RDMA QP Host Send Queue Size (HSQSIZE): 0-based.
    public var hostSendQueueSize: UInt16
    /// Controller Identifier (CNTLID) that an I/O queue belongs to; 0 from hosts that do not say.
    public var controllerID: UInt16

    public init(queueID: UInt16, hostReceiveQueueSize: UInt16, hostSendQueueSize: UInt16, controllerID: UInt16 = 0) {
        self.queueID = queueID
        self.hostReceiveQueueSize = hostReceiveQueueSize
        self.hostSendQueueSize = hostSendQueueSize
        self.controllerID = controllerID
    }

    /// Decodes private data. The connection manager may pad it: more than 32 bytes are taken.
    ///
    /// - Throws: the status to reject the connection with.
    public init(decoding privateData: [UInt8]) throws(RDMARejectStatus) {
        guard privateData.count >= RDMAConnectRequest.byteCount else { throw .invalidPrivateDataLength }
        guard word(privateData, 0) == 0 else { throw .invalidRecordFormat }
        queueID = word(privateData, 2)
        hostReceiveQueueSize = word(privateData, 4)
        hostSendQueueSize = word(privateData, 6)
        controllerID = word(privateData, 8)
    }

    /// The 32 bytes, record format 0.
    public var privateData: [UInt8] {
        words([0, queueID, hostReceiveQueueSize, hostSendQueueSize, controllerID], byteCount: Self.byteCount)
    }
}

/// The controller's private data when it accepts: 32 bytes (NVMe RDMA Transport, "RDMA_CM REP").
public struct RDMAConnectReply: Hashable, Sendable {
    /// Size on the wire, in bytes.
    public static let byteCount = 32

    /// RDMA QP Controller Receive Queue Size (CRQSIZE): entries.
    public var controllerReceiveQueueSize: UInt16

    public init(controllerReceiveQueueSize: UInt16) {
        self.controllerReceiveQueueSize = controllerReceiveQueueSize
    }

    /// Decodes private data; more than 32 bytes are taken.
    public init(decoding privateData: [UInt8]) throws(RDMARejectStatus) {
        guard privateData.count >= RDMAConnectReply.byteCount else { throw .invalidPrivateDataLength }
        guard word(privateData, 0) == 0 else { throw .invalidRecordFormat }
        controllerReceiveQueueSize = word(privateData, 2)
    }

    /// The 32 bytes, record format 0.
    public var privateData: [UInt8] { words([0, controllerReceiveQueueSize], byteCount: Self.byteCount) }
}

/// Why a controller rejected a connection: status of 4 bytes of private data (NVMe RDMA Transport, "RDMA_CM REJ").
public struct RDMARejectStatus: Error, RawRepresentable, Hashable, Sendable, CustomStringConvertible {
    /// Size of the private data on the wire, in bytes.
    public static let byteCount = 4

    public let rawValue: UInt16
    public init(rawValue: UInt16) { self.rawValue = rawValue }

    /// Invalid private data length: 1.
    public static let invalidPrivateDataLength = RDMARejectStatus(rawValue: 1)
    /// Invalid record format: 2.
    public static let invalidRecordFormat = RDMARejectStatus(rawValue: 2)
    /// Invalid queue ID: 3.
    public static let invalidQueueID = RDMARejectStatus(rawValue: 3)
    /// Invalid host send queue size: 4.
    public static let invalidHostSendQueueSize = RDMARejectStatus(rawValue: 4)
    /// Invalid host receive queue size: 5.
    public static let invalidHostReceiveQueueSize = RDMARejectStatus(rawValue: 5)
    /// No resources: 6.
    public static let noResources = RDMARejectStatus(rawValue: 6)
    /// Invalid IRD.
    public static let invalidInboundReadDepth = RDMARejectStatus(rawValue: 7)
    /// Invalid ORD.
    public static let invalidOutboundReadDepth = RDMARejectStatus(rawValue: 8)
    /// Invalid controller ID: 9.
    public static let invalidControllerID = RDMARejectStatus(rawValue: 9)

    /// Decodes the private data of a rejection; `nil` when it is not an NVMe controller that rejected.
    public init?(decoding privateData: [UInt8]) {
        guard privateData.count >= RDMARejectStatus.byteCount, word(privateData, 0) == 0, word(privateData, 2) != 0
        else {
            return nil
        }
        self.init(rawValue: word(privateData, 2))
    }

    /// The 4 bytes, record format 0.
    public var privateData: [UInt8] { words([0, rawValue], byteCount: Self.byteCount) }

    /// For the log.
    public var description: String {
        switch self {
        case .invalidPrivateDataLength: "invalid length of the private data"
        case .invalidRecordFormat: "invalid record format of the private data"
        case .invalidQueueID: "invalid queue identifier"
        case .invalidHostSendQueueSize: "invalid host send queue size"
        case .invalidHostReceiveQueueSize: "invalid host receive queue size"
        case .noResources: "no resources"
        case .invalidInboundReadDepth: "invalid inbound READ depth (IRD)"
        case .invalidOutboundReadDepth: "invalid outbound READ depth (ORD)"
        case .invalidControllerID: "invalid controller identifier"
        default: "status \(rawValue)"
        }
    }
}

/// The little-endian 16-bit word at `offset`; the caller has checked the length.
private func word(_ bytes: [UInt8], _ offset: Int) -> UInt16 { UInt16(bytes[offset]) | UInt16(bytes[offset + 1]) << 8 }

/// Little-endian 16-bit words, and zeroes up to `byteCount`.
private func words(_ values: [UInt16], byteCount: Int) -> [UInt8] {
    let bytes = values.flatMap { [UInt8(truncatingIfNeeded: $0), UInt8(truncatingIfNeeded: $0 >> 8)] }
    return bytes + [UInt8](repeating: 0, count: byteCount - bytes.count)
}
