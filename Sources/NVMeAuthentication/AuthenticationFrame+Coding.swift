/// The bytes of messages. Lengths that a peer says are compared with what has come before anything is read or kept.
extension AuthenticationFrame {
    /// No message is longer: a reply with a group of 8192 bits, and the longest Negotiate that is looked at.
    public static let maxByteCount = 4096
    /// AuthID of DH-HMAC-CHAP in a protocol descriptor.
    private static let protocolID: UInt8 = 1
    private static let descriptorByteCount = 64
    /// Places of the lists in a descriptor, and how many identifiers each can hold.
    private static let (hashList, groupList, listCapacity) = (4, 34, 30)

    /// AUTH_TYPE and AUTH_ID.
    private struct Kind: Equatable {
        let type: UInt8
        let id: UInt8

        static let negotiate = Kind(type: 0, id: 0x00)
        static let failure2 = Kind(type: 0, id: 0xF0)
        static let failure1 = Kind(type: 0, id: 0xF1)
        static let challenge = Kind(type: 1, id: 0x01)
        static let reply = Kind(type: 1, id: 0x02)
        static let success1 = Kind(type: 1, id: 0x03)
        static let success2 = Kind(type: 1, id: 0x04)
    }

    /// Reads a message; bytes may follow it.
    ///
    /// - Throws: `incorrectPayload` where bytes are missing or contradict each other, `incorrectMessage` for a kind that is unknown.
    public init(decoding bytes: UnsafeRawBufferPointer) throws(AuthenticationFailure) {
        let source = MessageSource(bytes)
        let kind = Kind(type: try source.byte(0), id: try source.byte(1))
        transaction = try source.number16(4)
        switch kind {
        case .negotiate: message = .negotiate(try Self.negotiation(source))
        case .challenge:
            let hashLength = Int(try source.byte(6))
            message = .challenge(
                Challenge(
                    hash: try source.byte(8), group: try source.byte(9), sequence: try source.number32(12),
                    value: try source.bytes(16, hashLength),
                    publicValue: try source.bytes(16 + hashLength, Int(try source.number16(10)))))
        case .reply:
            let hashLength = Int(try source.byte(6))
            let hasChallenge = try source.byte(8) & 1 != 0
            message = .reply(
                Reply(
                    sequence: try source.number32(12), response: try source.bytes(16, hashLength),
                    challenge: hasChallenge ? try source.bytes(16 + hashLength, hashLength) : nil,
                    publicValue: try source.bytes(16 + 2 * hashLength, Int(try source.number16(10)))))
        case .success1:
            let hashLength = Int(try source.byte(6))
            let hasResponse = try source.byte(8) & 1 != 0
            message = .success1(
                Success(response: hasResponse ? try source.bytes(16, hashLength) : nil, hashLength: hashLength))
        case .success2: message = .success2
        case .failure1: message = .failure1(try Self.failure(source))
        case .failure2: message = .failure2(try Self.failure(source))
        default: throw .incorrectMessage
        }
    }

    private static func failure(_ source: MessageSource) throws(AuthenticationFailure) -> AuthenticationFailure {
        AuthenticationFailure(rawValue: try source.byte(7)) ?? .failed
    }

    private static func negotiation(_ source: MessageSource) throws(AuthenticationFailure) -> Negotiation {
        var negotiation = Negotiation(secureChannel: try source.byte(6), hashes: [], groups: [])
        for number in 0..<Int(try source.byte(7)) {
            let start = 8 + number * descriptorByteCount
            try source.check(start, descriptorByteCount)
            guard try source.byte(start) == protocolID else { continue }
            let (hashes, groups) = (Int(try source.byte(start + 2)), Int(try source.byte(start + 3)))
            guard hashes <= listCapacity, groups <= listCapacity else { throw .incorrectPayload }
            negotiation.hashes += try source.bytes(start + hashList, hashes)
            negotiation.groups += try source.bytes(start + groupList, groups)
        }
        return negotiation
    }

    /// The message as it is sent.
    public var encoded: [UInt8] {
        switch message {
        case .negotiate(let negotiation):
            var bytes = header(.negotiate, count: 8 + Self.descriptorByteCount)
            bytes[6] = negotiation.secureChannel
            bytes[7] = 1
            bytes[8] = Self.protocolID
            bytes[10] = UInt8(negotiation.hashes.count)
            bytes[11] = UInt8(negotiation.groups.count)
            bytes.replace(at: 8 + Self.hashList, with: negotiation.hashes)
            bytes.replace(at: 8 + Self.groupList, with: negotiation.groups)
            return bytes
        case .challenge(let challenge):
            var bytes = header(.challenge, count: 16)
            bytes[6] = UInt8(challenge.value.count)
            bytes[8] = challenge.hash
            bytes[9] = challenge.group
            bytes.replace(at: 10, with: littleEndian(UInt16(challenge.publicValue.count)))
            bytes.replace(at: 12, with: littleEndian(challenge.sequence))
            return bytes + challenge.value + challenge.publicValue
        case .reply(let reply):
            var bytes = header(.reply, count: 16)
            bytes[6] = UInt8(reply.response.count)
            bytes[8] = reply.challenge == nil ? 0 : 1
            bytes.replace(at: 10, with: littleEndian(UInt16(reply.publicValue.count)))
            bytes.replace(at: 12, with: littleEndian(reply.sequence))
            let challenge = reply.challenge ?? [UInt8](repeating: 0, count: reply.response.count)
            return bytes + reply.response + challenge + reply.publicValue
        case .success1(let success):
            var bytes = header(.success1, count: 16)
            bytes[6] = UInt8(success.hashLength)
            bytes[8] = success.response == nil ? 0 : 1
            return bytes + (success.response ?? [UInt8](repeating: 0, count: success.hashLength))
        case .success2: return header(.success2, count: 16)
        case .failure1(let failure): return header(.failure1, failure)
        case .failure2(let failure): return header(.failure2, failure)
        }
    }

    private func header(_ kind: Kind, count: Int) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        bytes[0] = kind.type
        bytes[1] = kind.id
        bytes.replace(at: 4, with: littleEndian(transaction))
        return bytes
    }

    private func header(_ kind: Kind, _ failure: AuthenticationFailure) -> [UInt8] {
        var bytes = header(kind, count: 8)
        bytes[6] = 1
        bytes[7] = failure.rawValue
        return bytes
    }
}

/// The bytes of a number, the lowest first.
func littleEndian(_ number: some FixedWidthInteger) -> [UInt8] {
    withUnsafeBytes(of: number.littleEndian) { Array($0) }
}

extension [UInt8] {
    fileprivate mutating func replace(at place: Int, with bytes: [UInt8]) {
        replaceSubrange(place..<(place + bytes.count), with: bytes)
    }
}

/// Bytes of a peer, none of which is read beyond their end.
private struct MessageSource {
    private let source: UnsafeRawBufferPointer

    init(_ source: UnsafeRawBufferPointer) { self.source = source }

    func byte(_ place: Int) throws(AuthenticationFailure) -> UInt8 {
        guard place < source.count else { throw .incorrectPayload }
        return source[place]
    }

    /// So many bytes are there.
    func check(_ place: Int, _ count: Int) throws(AuthenticationFailure) {
        guard place <= source.count, count <= source.count - place else { throw .incorrectPayload }
    }

    func bytes(_ place: Int, _ count: Int) throws(AuthenticationFailure) -> [UInt8] {
        try check(place, count)
        return Array(source[place..<(place + count)])
    }

    func number16(_ place: Int) throws(AuthenticationFailure) -> UInt16 {
        UInt16(try byte(place)) | UInt16(try byte(place + 1)) << 8
    }

    func number32(_ place: Int) throws(AuthenticationFailure) -> UInt32 {
        UInt32(try number16(place)) | UInt32(try number16(place + 2)) << 16
    }
}
