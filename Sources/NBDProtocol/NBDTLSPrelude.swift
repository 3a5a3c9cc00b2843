/// The part of a handshake that goes before TLS, where TLS is required ("FORCEDTLS" mode of the protocol document): bytes go in; bytes
/// to send and an outcome come out.
///
/// Every option but NBD_OPT_STARTTLS and NBD_OPT_ABORT is answered by NBD_REP_ERR_TLS_REQD: nothing about exports is told.
public struct NBDTLSPrelude: Sendable {
    public enum Outcome: Equatable, Sendable {
        /// More bytes are needed.
        case unfinished
        /// TLS begins once `output` is sent. The handshake goes on within it, behind the client's flags.
        case startTLS(flags: [UInt8])
        /// The connection ends once `output` is sent; the reason is for the log.
        case over(String)
    }

    private enum State {
        case flags
        case header
        case skipping(option: UInt32, length: Int, left: Int)
    }

    private var state = State.flags
    private var collected: [UInt8] = []
    private var flags: [UInt8] = []
    /// Bytes to send to the client; whoever sends them takes them out.
    public var output: [UInt8] = []
    /// Options that were refused: a client that goes on and on loses its connection.
    private var refusals = 0
    private static let mostRefusals = 64

    public init() { output = NBDHandshake(exports: []).output }

    /// Bytes of the greeting, which a server sends first.
    public static let greetingBytes = 18

    /// Takes all bytes that have come from the client.
    public mutating func receive(_ bytes: UnsafeRawBufferPointer) -> Outcome {
        var position = 0
        while position < bytes.count {
            if case .skipping(let option, let length, let left) = state {
                let skipped = min(left, bytes.count - position)
                position += skipped
                state = .skipping(option: option, length: length, left: left - skipped)
                guard left == skipped else { return .unfinished }
                state = .header
                if let outcome = refuse(option, length) { return outcome }
                continue
            }
            let needed = if case .flags = state { 4 } else { 16 }
            let taken = min(needed - collected.count, bytes.count - position)
            collected += bytes[position..<position + taken]
            position += taken
            guard collected.count == needed else { return .unfinished }
            let message = collected
            collected = []
            if let outcome = take(message, isLast: position == bytes.count) { return outcome }
        }
        return .unfinished
    }

    private mutating func take(_ message: [UInt8], isLast: Bool) -> Outcome? {
        guard case .header = state else {
            guard message[..<3].allSatisfy({ $0 == 0 }), message[3] & ~3 == 0, message[3] & 1 == 1 else {
                return .over("the client breaks the protocol: flags that are not known, or no fixed newstyle")
            }
            flags = message
            state = .header
            return nil
        }
        var (magic, option, length): (UInt64?, UInt32?, UInt32?)
        message.withUnsafeBytes {
            var reader = BigEndianReader($0)
            (magic, option, length) = (
                reader.number(UInt64.self), reader.number(UInt32.self), reader.number(UInt32.self)
            )
        }
        guard magic == NBDMagic.option, let option, let length else {
            return .over("the client sends no option where one is due")
        }
        if option == NBDOption.startTLS.rawValue, length == 0 {
            // They would have been sent without protection, and would be taken for protected ones.
            guard isLast else { return .over("the client sends more behind NBD_OPT_STARTTLS") }
            reply(.ack, to: option)
            return .startTLS(flags: flags)
        }
        if length == 0 { return refuse(option, 0) }
        state = .skipping(option: option, length: Int(length), left: Int(length))
        return nil
    }

    private mutating func refuse(_ option: UInt32, _ length: Int) -> Outcome? {
        refusals += 1
        switch NBDOption(rawValue: option) {
        // It has no answer to which a client would listen.
        case .exportName: return .over("the client asks for an export without TLS")
        case .abort:
            reply(.ack, to: option)
            return .over("")
        case .startTLS: reply(.invalid, to: option)
        default: reply(.tlsRequired, to: option)
        }
        return refusals > Self.mostRefusals ? .over("the client goes on without TLS") : nil
    }

    private mutating func reply(_ type: NBDOptionReply, to option: UInt32) {
        output.append(bigEndian: NBDMagic.optionReply)
        output.append(bigEndian: option)
        output.append(bigEndian: type.rawValue)
        output.append(bigEndian: UInt32(0))
    }
}
