import Base
import Fuzzing
import NBDProtocol

/// The parsers of bytes from an NBD client.
extension FuzzTarget {
    public static let nbd = [handshake, requests, prelude]

    private static let exports = [
        NBDExportDescription(name: "one", text: "the first", size: 1 << 30, flags: [.hasFlags, .sendFlush]),
        NBDExportDescription(name: "two", size: 1 << 40, flags: [.hasFlags, .readOnly]),
    ]

    /// A handshake takes the same bytes in one go and in small parts, and says the same.
    private static let handshake = FuzzTarget(name: "NBDHandshake", seeds: [options]) { bytes in
        let whole = shakeHands(bytes, step: max(1, bytes.count))
        let parts = shakeHands(bytes, step: 3)
        invariant(whole.output == parts.output, "how bytes arrive does not matter to a handshake")
        invariant(whole.outcome == parts.outcome, "how bytes arrive does not matter to its outcome")
    }

    private static func shakeHands(
        _ bytes: UnsafeRawBufferPointer, step: Int
    ) -> (output: [UInt8], outcome: NBDHandshake.Outcome) {
        var handshake = NBDHandshake(exports: exports)
        var position = 0
        var output: [UInt8] = []
        while position < bytes.count {
            let part = UnsafeRawBufferPointer(rebasing: bytes[position..<min(position + step, bytes.count)])
            let (consumed, outcome) = handshake.receive(part)
            invariant(consumed <= part.count, "a handshake takes what is there")
            invariant(handshake.output.count < 256 << 10, "a handshake answers no faster than its answers go out")
            if outcome != .unfinished { return (output + handshake.output, outcome) }
            invariant(
                consumed == part.count || !handshake.output.isEmpty,
                "an unfinished handshake takes what it has room for")
            position += consumed
            if consumed < part.count {
                output += handshake.output
                handshake.output = []
            }
        }
        return (output + handshake.output, .unfinished)
    }

    /// The part before TLS takes bytes in any parts, and does not grow by what it drops.
    private static let prelude = FuzzTarget(name: "NBDTLSPrelude", seeds: [options]) { bytes in
        let whole = beginTLS(bytes, step: max(1, bytes.count))
        let parts = beginTLS(bytes, step: 3)
        invariant(whole.count <= 18 + 65 * 20, "a prelude says no more than it is asked")
        // Bytes behind NBD_OPT_STARTTLS end the connection where they come with it.
        invariant(
            whole.starts(with: parts) || parts.starts(with: whole), "how bytes arrive does not matter to a prelude")
    }

    private static func beginTLS(_ bytes: UnsafeRawBufferPointer, step: Int) -> [UInt8] {
        var prelude = NBDTLSPrelude()
        var position = 0
        while position < bytes.count {
            let part = UnsafeRawBufferPointer(rebasing: bytes[position..<min(position + step, bytes.count)])
            if prelude.receive(part) != .unfinished { return prelude.output }
            position += part.count
        }
        return prelude.output
    }

    /// Each header is judged, and what is to be performed lies within the export.
    private static let requests = FuzzTarget(name: "NBDRequest", seeds: [request]) { bytes in
        for form in [NBDHeaderForm.simple, .structured, .extended] where bytes.count >= NBDRequest.size(form) {
            guard let first = bytes.baseAddress, let request = NBDRequest(decoding: first, form: form) else { continue }
            let session = NBDSession(
                form: form, size: 1 << 30, flags: [.hasFlags, .sendFlush, .sendFUA], contexts: .allocation)
            let verdict = session.judge(request)
            guard case .perform(let command) = verdict else { continue }
            if command != .flush {
                invariant(request.offset + request.length <= session.size, "what is performed lies in the export")
            }
            withUnsafeTemporaryAllocation(byteCount: NBDReply.longestHeader, alignment: 8) { memory in
                guard let place = memory.baseAddress else { return }
                let length = NBDReply.end(request, .invalid, form: form, into: place)
                invariant(length <= NBDReply.longestHeader, "a header fits its memory")
            }
        }
    }

    private static func number<Number: FixedWidthInteger>(_ value: Number) -> [UInt8] {
        withUnsafeBytes(of: value.bigEndian) { Array($0) }
    }

    private static func option(_ option: NBDOption, _ data: [UInt8] = []) -> [UInt8] {
        number(NBDMagic.option) + number(option.rawValue) + number(UInt32(data.count)) + data
    }

    /// Flags, and options as libnbd sends them.
    private static let options: [UInt8] = {
        let name = number(UInt32(3)) + Array("one".utf8)
        let query = number(UInt32(15)) + Array("base:allocation".utf8)
        return number(UInt32(3)) + option(.structuredReply)
            + option(.setMetaContext, name + number(UInt32(1)) + query)
            + option(.go, name + number(UInt16(1)) + number(UInt16(3)))
    }()

    private static let request: [UInt8] =
        number(NBDMagic.request) + number(UInt16(0)) + number(UInt16(1)) + number(UInt64(7)) + number(UInt64(4096))
        + number(UInt32(512)) + number(UInt32(0))
}
