/// The handshake of one client: fixed newstyle negotiation, as a state machine. Bytes go in; bytes to send and an outcome come out.
///
///     greeting sent -- client's flags --> options -- NBD_OPT_GO, NBD_OPT_EXPORT_NAME --> ready
///                            |               |
///                            '---------------'--- NBD_OPT_ABORT, a broken rule ---------> over
public struct NBDHandshake: Sendable {
    public enum Outcome: Equatable, Sendable {
        /// More bytes are needed, or `output` is to be sent first: then some are not consumed.
        case unfinished
        /// The session begins behind the bytes that were consumed, with the export of this place in the list.
        case ready(NBDSession, export: Int)
        /// The connection ends once `output` is sent; the reason is for the log.
        case over(String)
    }

    private enum State {
        case flags
        case header
        case data(option: UInt32, length: Int)
        /// Data of an option that is refused for its length.
        case skipping(option: UInt32, left: Int)
        case ended
    }

    /// Data of an option that is kept in memory; longer options are refused.
    static let longestOption = 64 << 10
    /// As long as so much is to be sent no further option is answered: a list of exports is much longer than the option that asks for it.
    private static let mostOutput = 64 << 10
    private static let optionHeader = 16

    let exports: [NBDExportDescription]
    private var state = State.flags
    private var collected: [UInt8] = []
    /// Bytes to send to the client; whoever sends them takes them out.
    public var output: [UInt8] = []
    var sendsZeroes = true
    var form = NBDHeaderForm.simple
    /// The option that was answered last, and how much there was to send before its answer.
    private var answered: (option: UInt32, before: Int) = (0, 0)
    /// The export that the client has chosen contexts for, and which.
    var contextExport: Int?
    var contexts: NBDContexts = []

    public init(exports: [NBDExportDescription]) {
        self.exports = exports
        output.append(bigEndian: NBDMagic.greeting)
        output.append(bigEndian: NBDMagic.option)
        output.append(bigEndian: (NBDHandshakeFlags([.fixedNewstyle, .noZeroes])).rawValue)
    }

    /// Takes bytes from the client. Those behind `consumed` belong to the session, or are to be given again once `output` is sent.
    public mutating func receive(_ bytes: UnsafeRawBufferPointer) -> (consumed: Int, outcome: Outcome) {
        var position = 0
        while true {
            let needed: Int
            switch state {
            case .flags: needed = 4
            case .header:
                if output.count >= Self.mostOutput { return (position, .unfinished) }
                needed = Self.optionHeader
            case .data(_, let length): needed = length
            case .skipping(let option, let left):
                let skipped = min(left, bytes.count - position)
                position += skipped
                guard skipped == left else {
                    state = .skipping(option: option, left: left - skipped)
                    return (position, .unfinished)
                }
                state = .header
                reply(.tooBig, to: option)
                continue
            case .ended: return (position, .over("the handshake is over"))
            }
            let taken = min(needed - collected.count, bytes.count - position)
            collected += bytes[position..<position + taken]
            position += taken
            guard collected.count == needed else { return (position, .unfinished) }
            let part = collected
            collected.removeAll(keepingCapacity: true)
            let outcome = part.withUnsafeBytes { take($0) }
            if outcome == .unfinished { continue }
            state = .ended
            return (position, outcome)
        }
    }

    /// The client has sent the first bytes of something and not the rest.
    public var isWithinMessage: Bool {
        if case .data = state { return true }
        if case .skipping = state { return true }
        return !collected.isEmpty
    }

    /// Takes the answer back that led to `ready`, and has the option refused: the client may go on with another one. False where
    /// the option has no answer that could say so (NBD_OPT_EXPORT_NAME): the connection ends.
    public mutating func refuse(_ reason: String) -> Bool {
        guard case .ended = state, answered.option == NBDOption.go.rawValue else { return false }
        output.removeLast(output.count - answered.before)
        reply(.policy, to: answered.option, text: reason)
        state = .header
        return true
    }

    /// The name of an export that `ready` tells the place of.
    public func exportName(_ place: Int) -> String { exports[place].name }

    /// Takes one whole part: flags, a header, or an option's data.
    private mutating func take(_ bytes: UnsafeRawBufferPointer) -> Outcome {
        var reader = BigEndianReader(bytes)
        switch state {
        case .flags:
            let word = reader.number(UInt32.self) ?? 0
            guard let low = UInt16(exactly: word), low & ~NBDHandshakeFlags.all.rawValue == 0 else {
                return .over("the client sets flags that are not known: \(String(word, radix: 16))h")
            }
            guard NBDHandshakeFlags(rawValue: low).contains(.fixedNewstyle) else {
                return .over("the client does not speak fixed newstyle")
            }
            sendsZeroes = !NBDHandshakeFlags(rawValue: low).contains(.noZeroes)
            state = .header
            return .unfinished
        case .header:
            guard reader.number(UInt64.self) == NBDMagic.option, let option = reader.number(UInt32.self),
                let length = reader.number(UInt32.self)
            else { return .over("the client sends no option where one is due") }
            if Int(length) > Self.longestOption {
                // It has no answer to which a client would listen.
                if option == NBDOption.exportName.rawValue { return .over("the name of an export is too long") }
                state = .skipping(option: option, left: Int(length))
            } else {
                state = .data(option: option, length: Int(length))
            }
            return .unfinished
        case .data(let option, _):
            state = .header
            answered = (option, output.count)
            return perform(option, bytes)
        case .skipping, .ended: return .over("the handshake is over")
        }
    }
}

extension NBDHandshakeFlags {
    static let all: NBDHandshakeFlags = [.fixedNewstyle, .noZeroes]
}
