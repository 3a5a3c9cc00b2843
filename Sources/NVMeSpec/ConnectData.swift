import Base

/// The data of a Connect command: 1024 bytes (NVMe Base, "Connect Command - Data").
public struct ConnectData: Hashable, Sendable {
    /// Size on the wire, in bytes.
    public static let byteCount = 1024
    /// The controller identifier of an admin queue's Connect: any controller (the dynamic controller model).
    public static let anyController: UInt16 = 0xFFFF

    /// Host Identifier (HOSTID).
    public var hostID: UUIDBytes
    /// Controller ID (CNTLID): `anyController` for the admin queue, else the association's.
    public var controllerID: UInt16
    /// NVM Subsystem NQN (SUBNQN).
    public var subsystemNQN: String
    /// Host NQN (HOSTNQN).
    public var hostNQN: String

    public init(
        hostID: UUIDBytes, controllerID: UInt16 = ConnectData.anyController, subsystemNQN: String, hostNQN: String
    ) {
        self.hostID = hostID
        self.controllerID = controllerID
        self.subsystemNQN = subsystemNQN
        self.hostNQN = hostNQN
    }

    /// Decodes the first 1024 bytes. Names are checked for length, zero termination and UTF-8, not for their form:
    /// hosts in the field are called many things, and SPDK's tools have no name at all.
    ///
    /// - Throws: the answer to give, with the offset of the field at fault.
    public init(decoding bytes: UnsafeRawBufferPointer) throws(ConnectFailure) {
        guard let base = bytes.baseAddress, bytes.count >= ConnectData.byteCount else {
            throw ConnectFailure(status: .dataSGLLengthInvalid)
        }
        hostID = UUIDBytes(from: base)
        controllerID = base.load16(at: Int(Offset.controllerID))
        subsystemNQN = try ConnectData.name(base, Offset.subsystemNQN, atLeast: 1)
        hostNQN = try ConnectData.name(base, Offset.hostNQN, atLeast: 0)
    }

    /// The names in data that may not be decodable, for a log: what is no UTF-8 is read as U+FFFD.
    public static func names(in bytes: UnsafeRawBufferPointer) -> (host: String, subsystem: String) {
        func name(_ offset: UInt16) -> String {
            let field = bytes.dropFirst(Int(offset)).prefix(NQN.maxByteCount)
            return String(decoding: field.prefix { $0 != 0 }, as: UTF8.self)
        }
        return (name(Offset.hostNQN), name(Offset.subsystemNQN))
    }

    private static func name(
        _ base: UnsafeRawPointer, _ offset: UInt16, atLeast minimum: Int
    ) throws(ConnectFailure) -> String {
        let field = UnsafeRawBufferPointer(start: base + Int(offset), count: NQN.fieldByteCount)
        guard let end = field.firstIndex(of: 0), (minimum...NQN.maxByteCount).contains(end),
            let name = String(validating: field[..<end], as: UTF8.self)
        else { throw .invalidParameter(inData: offset) }
        return name
    }

    /// The 1024 bytes. Names that are too long for their field are cut; see `NQN.validate`.
    public var encoded: [UInt8] {
        [UInt8](unsafeUninitializedCapacity: ConnectData.byteCount) { buffer, count in
            encode(into: UnsafeMutableRawBufferPointer(buffer))
            count = ConnectData.byteCount
        }
    }

    /// Writes the first 1024 bytes of `bytes`; a shorter buffer traps.
    public func encode(into bytes: UnsafeMutableRawBufferPointer) {
        ConnectDataLayout(self).encode(into: bytes)
    }

    /// Offsets in the data, for `ConnectFailure`.
    public enum Offset {
        /// Host identifier.
        public static let hostID: UInt16 = 0
        /// Controller ID.
        public static let controllerID: UInt16 = 16
        /// Subsystem NQN.
        public static let subsystemNQN: UInt16 = 256
        /// Host NQN.
        public static let hostNQN: UInt16 = 512
    }
}

/// Why a Connect command failed: status and dword 0 of its completion (NVMe Base, "Connect Response").
public struct ConnectFailure: Error, Hashable, Sendable, CustomStringConvertible {
    /// Status of the completion.
    public var status: Status
    /// Dword 0: for Connect Invalid Parameters, the Invalid Parameter Offset (IPO) in bits 15:0, and in bit 16 whether
    /// it is one in the data (IATTR).
    public var result: UInt32

    public init(status: Status, result: UInt32 = 0) {
        self.status = status
        self.result = result
    }

    /// Connect Invalid Parameters, with the offset of a field of `ConnectData`.
    public static func invalidParameter(inData offset: UInt16) -> ConnectFailure {
        ConnectFailure(status: .connectInvalidParameters, result: UInt32(offset) | 1 << 16)
    }

    /// Connect Invalid Parameters, with the offset of a field of the submission queue entry.
    public static func invalidParameter(inCommand offset: UInt16) -> ConnectFailure {
        ConnectFailure(status: .connectInvalidParameters, result: UInt32(offset))
    }

    /// The status, and where the invalid parameter is.
    public var description: String {
        let text = status.description(isFabrics: true)
        guard status.matches(.connectInvalidParameters) else { return text }
        return "\(text): offset \(result & 0xFFFF) of the \(result & 1 << 16 == 0 ? "command" : "data")"
    }
}

/// Dword 0 of a successful Connect's completion (NVMe Base, "Connect Response").
public struct ConnectResult: RawRepresentable, Hashable, Sendable, BitwiseCopyable {
    public var rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    public init(controllerID: UInt16, requiresAuthentication: Bool = false) {
        rawValue = UInt32(controllerID) | (requiresAuthentication ? 1 << 17 : 0)
    }

    /// Controller ID (CNTLID) of the association.
    public var controllerID: UInt16 { UInt16(rawValue.bits(0, 16)) }
    /// Authentication Required (AUTHREQ.ATR): in-band authentication comes first.
    public var requiresAuthentication: Bool { rawValue.bits(17, 1) != 0 }
    /// Authentication and secure channel required (AUTHREQ.ASCR).
    public var requiresSecureChannel: Bool { rawValue.bits(18, 1) != 0 }
}

/// The layout of `ConnectData`.
private struct ConnectDataLayout: FixedStructure {
    static let byteCount = ConnectData.byteCount
    var hostID = UUIDBytes()
    var controllerID: UInt16 = 0
    var subsystemNQN = ""
    var hostNQN = ""

    init() {}

    init(_ data: ConnectData) {
        hostID = data.hostID
        controllerID = data.controllerID
        subsystemNQN = data.subsystemNQN
        hostNQN = data.hostNQN
    }

    mutating func layout(_ fields: FieldCoder) {
        fields.field(&hostID, at: Int(ConnectData.Offset.hostID))
        fields.field(&controllerID, at: Int(ConnectData.Offset.controllerID))
        fields.text(&subsystemNQN, at: Int(ConnectData.Offset.subsystemNQN), count: NQN.maxByteCount, padding: .zeroes)
        fields.text(&hostNQN, at: Int(ConnectData.Offset.hostNQN), count: NQN.maxByteCount, padding: .zeroes)
    }
}
