/// A request of a client, as it crosses the wire.
public struct NBDRequest: Equatable, Sendable, BitwiseCopyable {
    public var flags: NBDCommandFlags
    /// NBD_CMD_*; not every number is one.
    public var type: UInt16
    /// The client's name for it: comes back with each answer.
    public var cookie: UInt64
    public var offset: UInt64
    public var length: UInt64

    public init(flags: NBDCommandFlags = [], type: UInt16, cookie: UInt64, offset: UInt64, length: UInt64) {
        self.flags = flags
        self.type = type
        self.cookie = cookie
        self.offset = offset
        self.length = length
    }

    /// Decodes the header that `form` has; `nil` where its magic number is wrong, so that nothing behind it has a meaning.
    ///
    /// - Parameter bytes: as many as `size(form)`.
    @inlinable
    public init?(decoding bytes: UnsafeRawPointer, form: NBDHeaderForm) {
        func number<Number: FixedWidthInteger & BitwiseCopyable>(_ type: Number.Type, _ offset: Int) -> Number {
            Number(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: Number.self))
        }
        let isExtended = form == .extended
        guard number(UInt32.self, 0) == (isExtended ? NBDMagic.extendedRequest : NBDMagic.request) else { return nil }
        flags = NBDCommandFlags(rawValue: number(UInt16.self, 4))
        type = number(UInt16.self, 6)
        cookie = number(UInt64.self, 8)
        offset = number(UInt64.self, 16)
        length = isExtended ? number(UInt64.self, 24) : UInt64(number(UInt32.self, 24))
    }

    /// Bytes of a request's header.
    @inlinable
    public static func size(_ form: NBDHeaderForm) -> Int {
        form == .extended ? NBDSize.extendedRequest : NBDSize.request
    }

    /// Bytes that follow the header.
    @inlinable
    public func payloadLength(_ form: NBDHeaderForm) -> UInt64 {
        let isWrite = type == NBDCommand.write.rawValue
        return isWrite || form == .extended && flags.contains(.payloadLength) ? length : 0
    }
}

/// The fate of a request.
public enum NBDVerdict: Equatable, Sendable, BitwiseCopyable {
    case perform(NBDCommand)
    /// Its payload is taken and dropped, then it is answered with the error.
    case refuse(NBDError)
    /// The client is done: what is under way is answered, then the connection ends.
    case disconnect
    /// Its payload is too long to be skipped: the connection ends.
    case breach
}

extension NBDSession {
    /// The longest read and write that is served. Clients are told of 32 MiB, and some use 64 nevertheless.
    public static let longestTransfer: UInt64 = 64 << 20
    /// The longest payload that is taken only to be dropped.
    private static let longestSkip: UInt64 = 1 << 32

    /// Judges a request by the protocol's rules, and by the export's size.
    public func judge(_ request: NBDRequest) -> NBDVerdict {
        if request.payloadLength(form) >= Self.longestSkip { return .breach }
        guard let command = NBDCommand(rawValue: request.type) else { return .refuse(.invalid) }
        if command == .disconnect { return .disconnect }
        guard request.flags.isSubset(of: allowed(command)) else { return .refuse(.invalid) }
        if command == .flush { return .perform(.flush) }
        switch command {
        case .write, .trim, .writeZeroes:
            if flags.contains(.readOnly) { return .refuse(.notPermitted) }
        case .blockStatus:
            if contexts.isEmpty || request.length == 0 { return .refuse(.invalid) }
        case .read, .cache, .disconnect, .flush: break
        }
        if command == .read || command == .write, request.length > Self.longestTransfer { return .refuse(.invalid) }
        let (end, overflow) = request.offset.addingReportingOverflow(request.length)
        if overflow || end > size {
            // "Error values": beyond the end there is no space for data, and nothing else to do anything with.
            return .refuse(command == .write || command == .writeZeroes ? .noSpace : .invalid)
        }
        return .perform(command)
    }

    private func allowed(_ command: NBDCommand) -> NBDCommandFlags {
        switch command {
        case .read: form == .simple ? .fua : [.fua, .df]
        case .write: form == .extended ? [.fua, .payloadLength] : .fua
        case .writeZeroes: [.fua, .noHole, .fastZero]
        case .blockStatus: [.fua, .reqOne]
        case .flush, .trim, .cache, .disconnect: .fua
        }
    }
}
