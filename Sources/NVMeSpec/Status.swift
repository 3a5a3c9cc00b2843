/// How a command ended: status code type, status code, and what the host may do about it (NVMe Base, "Status Field
/// Definition").
///
/// `==` compares everything. To ask which status it is, whatever its retry bits say, use `matches` or a `switch`:
/// `case .lbaOutOfRange` matches with and without Do Not Retry.
public struct Status: BitwiseCopyable, Hashable, Sendable {
    /// Bits 7:0 status code, 10:8 status code type, 12:11 Command Retry Delay, 13 More, 14 Do Not Retry: the Status
    /// Field without the phase tag, as Linux and libnvme print it.
    public let rawValue: UInt16

    @inlinable public init(rawValue: UInt16) { self.rawValue = rawValue & 0x7FFF }

    /// A status of the given type and code, without retry bits.
    @inlinable public init(_ type: StatusCodeType, _ code: UInt8) {
        rawValue = UInt16(type.rawValue) << 8 | UInt16(code)
    }

    /// From the upper half of dword 3 of a completion queue entry; its bit 0, the phase tag, is dropped.
    @inlinable public init(field: UInt16) { rawValue = field >> 1 }

    /// For the upper half of dword 3 of a completion queue entry; the phase tag is 0.
    @inlinable public var field: UInt16 { rawValue << 1 }

    /// Status Code Type (SCT).
    @inlinable public var type: StatusCodeType {
        StatusCodeType(rawValue: UInt8(truncatingIfNeeded: rawValue >> 8) & 7)
    }

    /// Status Code (SC).
    @inlinable public var statusCode: UInt8 { UInt8(truncatingIfNeeded: rawValue) }

    /// Status code type and status code, without what follows them.
    @inlinable public var code: UInt16 { rawValue & 0x7FF }

    /// Command Retry Delay (CRD): which of CRDT1 to CRDT3 the host waits; 0 for no delay.
    @inlinable public var commandRetryDelay: UInt8 { UInt8(truncatingIfNeeded: rawValue >> 11) & 3 }

    /// More (M): the Error Information log page has more about it.
    @inlinable public var hasMore: Bool { rawValue & 0x2000 != 0 }

    /// Do Not Retry (DNR): the same command would fail again.
    @inlinable public var isDoNotRetry: Bool { rawValue & 0x4000 != 0 }

    /// Successful Completion.
    @inlinable public var isSuccess: Bool { code == 0 }

    /// The media, or the data on it, failed the command.
    @inlinable public var isMediaError: Bool { type == .mediaAndDataIntegrity }

    /// The path failed, not the command: it may work over another one.
    @inlinable public var isPathError: Bool { type == .path }

    /// This status with Do Not Retry set.
    @inlinable public var doNotRetry: Status { Status(rawValue: rawValue | 0x4000) }

    /// This status with More set.
    @inlinable public var more: Status { Status(rawValue: rawValue | 0x2000) }

    /// This status with a Command Retry Delay of 0 to 3.
    @inlinable
    public func withRetryDelay(_ delay: UInt8) -> Status {
        Status(rawValue: rawValue & ~0x1800 | UInt16(delay & 3) << 11)
    }

    /// Whether type and code are those of `other`; retry bits are not compared.
    @inlinable public func matches(_ other: Status) -> Bool { code == other.code }

    /// The comparison of `case` in a `switch`: `matches`.
    @inlinable public static func ~= (pattern: Status, status: Status) -> Bool { status.matches(pattern) }
}

/// Status Code Type (NVMe Base, "Status Code Type"). Values without a name are kept.
public struct StatusCodeType: RawRepresentable, BitwiseCopyable, Hashable, Sendable {
    public let rawValue: UInt8
    @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// Generic: 0.
    @inlinable public static var generic: StatusCodeType { StatusCodeType(rawValue: 0) }
    @inlinable public static var commandSpecific: StatusCodeType { StatusCodeType(rawValue: 1) }
    @inlinable public static var mediaAndDataIntegrity: StatusCodeType { StatusCodeType(rawValue: 2) }
    @inlinable public static var path: StatusCodeType { StatusCodeType(rawValue: 3) }
    @inlinable public static var vendorSpecific: StatusCodeType { StatusCodeType(rawValue: 7) }
}

extension Status: CustomStringConvertible {
    /// The specification's name, with code and flags: "LBA Out of Range (0/80h, do not retry)". Codes that NVM and
    /// Fabrics commands share are taken for those of an NVM command; see `description(isFabrics:)`.
    public var description: String { description(isFabrics: false) }

    /// Like `description`, for the answer to a Fabrics command if `isFabrics` says so.
    public func description(isFabrics: Bool) -> String {
        let digits = statusCode < 16 ? "0" : ""
        var details = "\(type.rawValue)/\(digits)\(String(statusCode, radix: 16, uppercase: true))h"
        if isDoNotRetry { details += ", do not retry" }
        if hasMore { details += ", more in the error log" }
        if commandRetryDelay > 0 { details += ", retry delay \(commandRetryDelay)" }
        guard let name = name(isFabrics: isFabrics) else { return "Status \(details)" }
        return "\(name) (\(details))"
    }
}
