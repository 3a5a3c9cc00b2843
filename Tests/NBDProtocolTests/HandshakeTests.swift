import NBDProtocol
import Testing

/// Bytes, as the protocol document writes them: hexadecimal digits, and text in quotes.
func wire(_ parts: String...) -> [UInt8] {
    parts.flatMap { part -> [UInt8] in
        if part.hasPrefix("'") { return Array(part.dropFirst().dropLast().utf8) }
        let digits = Array(part.filter { !$0.isWhitespace })
        return stride(from: 0, to: digits.count, by: 2).compactMap { UInt8(String(digits[$0...$0 + 1]), radix: 16) }
    }
}

/// The handshake, against bytes written by hand from the NBD protocol document ("Handshake", "Option types").
@Suite struct HandshakeTests {
    private static let flags: NBDTransmissionFlags = [.hasFlags, .sendFlush, .sendFUA, .sendDF, .canMultiConn]
    private static let disk = NBDExportDescription(
        name: "disk", text: "a disk", size: 0x1_0000_0000, flags: flags, minimumBlock: 512)

    private func shake(
        _ bytes: [UInt8], exports: [NBDExportDescription] = [disk]
    ) -> (output: [UInt8], outcome: NBDHandshake.Outcome, consumed: Int) {
        var handshake = NBDHandshake(exports: exports)
        handshake.output = []
        let (consumed, outcome) = bytes.withUnsafeBytes { handshake.receive($0) }
        return (handshake.output, outcome, consumed)
    }

    private static let clientFlags = wire("00000003")
    private static let option = "49484156454F5054"
    private static let reply = "0003E889045565A9"

    @Test func theGreeting() {
        // NBDMAGIC, IHAVEOPT, NBD_FLAG_FIXED_NEWSTYLE and NBD_FLAG_NO_ZEROES.
        #expect(NBDHandshake(exports: []).output == wire("4E42444D41474943", "49484156454F5054", "0003"))
    }

    @Test func goDescribesTheExport() {
        let (output, outcome, _) = shake(
            Self.clientFlags
                + wire(Self.option, "00000007", "0000000C", "00000004", "'disk'", "0001", "0003"))
        // NBD_INFO_EXPORT with size and flags: bits 0, 2, 3 and 8; no DF, as answers are simple.
        #expect(
            output
                == wire(
                    Self.reply, "00000007", "00000003", "0000000C", "0000", "0000000100000000", "010D")
                + wire(Self.reply, "00000007", "00000003", "0000000E", "0003", "00000200", "00001000", "02000000")
                + wire(Self.reply, "00000007", "00000001", "00000000"))
        guard case .ready(let session, let export) = outcome else {
            Issue.record("\(outcome)")
            return
        }
        #expect(export == 0 && session.form == .simple && session.size == 0x1_0000_0000)
    }

    @Test func infoSaysTheSameAndGoesOn() {
        let data = ["0000000A", "00000004", "'disk'", "0000"]
        let info = shake(Self.clientFlags + wire(Self.option, "00000006") + data.flatMap { wire($0) })
        let go = shake(Self.clientFlags + wire(Self.option, "00000007") + data.flatMap { wire($0) })
        #expect(info.outcome == .unfinished)
        #expect(info.output.count == go.output.count)
        #expect(info.output.dropFirst(20).prefix(12) == go.output.dropFirst(20).prefix(12))
    }

    @Test func exportNameAnswersWithoutAReply() {
        let asked = wire(Self.option, "00000001", "00000004", "'disk'")
        #expect(shake(Self.clientFlags + asked).output == wire("0000000100000000", "010D"))
        // Without NBD_FLAG_C_NO_ZEROES 124 zeroes follow.
        let padded = shake(wire("00000001") + asked).output
        #expect(padded == wire("0000000100000000", "010D") + [UInt8](repeating: 0, count: 124))
        guard case .over = shake(Self.clientFlags + wire(Self.option, "00000001", "00000002", "'no'")).outcome else {
            Issue.record("an unknown export ends the connection")
            return
        }
    }

    @Test func anEmptyNameIsTheOnlyExport() {
        let go = Self.clientFlags + wire(Self.option, "00000007", "00000006", "00000000", "0000")
        guard case .ready(_, export: 0) = shake(go).outcome else {
            Issue.record("the only export has no name to its client")
            return
        }
        let two = [Self.disk, NBDExportDescription(name: "other", size: 512, flags: .hasFlags)]
        let (output, outcome, _) = shake(go, exports: two)
        #expect(outcome == .unfinished)
        // NBD_REP_ERR_UNKNOWN.
        #expect(Array(output.prefix(16)) == wire(Self.reply, "00000007", "80000006"))
    }

    @Test func theListNamesExports() {
        #expect(
            shake(Self.clientFlags + wire(Self.option, "00000003", "00000000")).output
                == wire(Self.reply, "00000003", "00000002", "0000000E", "00000004", "'diska disk'")
                + wire(Self.reply, "00000003", "00000001", "00000000"))
        #expect(
            Array(shake(Self.clientFlags + wire(Self.option, "00000003", "00000001", "00")).output)
                == wire(Self.reply, "00000003", "80000003", "00000000"))
    }

    @Test func contextsNeedStructuredReplies() {
        let ask = wire(
            Self.option, "0000000A", "0000001F", "00000004", "'disk'", "00000001", "0000000F", "'base:allocation'")
        #expect(shake(Self.clientFlags + ask).output == wire(Self.reply, "0000000A", "80000003", "00000000"))
        let structured = wire(Self.option, "00000008", "00000000")
        let go = wire(Self.option, "00000007", "0000000A", "00000004", "'disk'", "0000")
        let (output, outcome, _) = shake(Self.clientFlags + structured + ask + go)
        #expect(
            output.starts(
                with: wire(Self.reply, "00000008", "00000001", "00000000")
                    + wire(Self.reply, "0000000A", "00000004", "00000013", "00000001", "'base:allocation'")
                    + wire(Self.reply, "0000000A", "00000001", "00000000")))
        guard case .ready(let session, _) = outcome else {
            Issue.record("\(outcome)")
            return
        }
        #expect(session.form == .structured && session.contexts == .allocation && session.flags.contains(.sendDF))
    }

    /// `tercet:dirty`, alone and beside the other; a list by namespaces.
    @Test func theDirtyContext() {
        let structured = wire(Self.option, "00000008", "00000000")
        let dirty = wire(
            Self.option, "0000000A", "0000001C", "00000004", "'disk'", "00000001", "0000000C", "'tercet:dirty'")
        let go = wire(Self.option, "00000007", "0000000A", "00000004", "'disk'", "0000")
        let (output, outcome, _) = shake(Self.clientFlags + structured + dirty + go)
        #expect(
            output.dropFirst(20).starts(
                with: wire(Self.reply, "0000000A", "00000004", "00000010", "00000002", "'tercet:dirty'")
                    + wire(Self.reply, "0000000A", "00000001", "00000000")))
        guard case .ready(let session, _) = outcome else {
            Issue.record("\(outcome)")
            return
        }
        #expect(session.contexts == .dirty)
        let list = wire(Self.option, "00000009", "0000000C", "00000004", "'disk'", "00000000")
        #expect(
            Array(shake(Self.clientFlags + structured + list).output.dropFirst(20))
                == wire(Self.reply, "00000009", "00000004", "00000013", "00000000", "'base:allocation'")
                + wire(Self.reply, "00000009", "00000004", "00000010", "00000000", "'tercet:dirty'")
                + wire(Self.reply, "00000009", "00000001", "00000000"))
        let named = wire(
            Self.option, "00000009", "00000017", "00000004", "'disk'", "00000001", "00000007", "'tercet:'")
        #expect(
            Array(shake(Self.clientFlags + structured + named).output.dropFirst(20))
                == wire(Self.reply, "00000009", "00000004", "00000010", "00000000", "'tercet:dirty'")
                + wire(Self.reply, "00000009", "00000001", "00000000"))
    }

    @Test func extendedHeadersComeInPlaceOfStructuredReplies() {
        let (output, _, _) = shake(
            Self.clientFlags + wire(Self.option, "0000000B", "00000000") + wire(Self.option, "00000008", "00000000"))
        // NBD_REP_ERR_EXT_HEADER_REQD for the second.
        #expect(
            output
                == wire(Self.reply, "0000000B", "00000001", "00000000")
                + wire(Self.reply, "00000008", "8000000A", "00000000"))
    }

    @Test func whatIsNotKnownIsRefusedAndTheHandshakeGoesOn() {
        // NBD_OPT_PEEK_EXPORT was withdrawn; NBD_OPT_STARTTLS is refused by policy; an option too long is skipped.
        #expect(
            shake(Self.clientFlags + wire(Self.option, "00000004", "00000000")).output
                == wire(Self.reply, "00000004", "80000001", "00000000"))
        let tls = shake(Self.clientFlags + wire(Self.option, "00000005", "00000000"))
        #expect(tls.output.starts(with: wire(Self.reply, "00000005", "80000002")) && tls.outcome == .unfinished)
        let long = shake(
            Self.clientFlags + wire(Self.option, "00000007", "00010001") + [UInt8](repeating: 1, count: 65537)
                + wire(Self.option, "00000002", "00000000"))
        #expect(
            long.output
                == wire(Self.reply, "00000007", "80000009", "00000000")
                + wire(Self.reply, "00000002", "00000001", "00000000"))
        guard case .over = long.outcome else {
            Issue.record("NBD_OPT_ABORT ends the handshake")
            return
        }
    }

    @Test(arguments: [
        // Lengths that lie: of the name, of the number of requests.
        wire(option, "00000007", "0000000A", "FFFFFFFF", "'disk'", "0000"),
        wire(option, "00000007", "0000000A", "00000004", "'disk'", "0001"),
        wire(option, "00000006", "00000003", "000000"),
    ])
    func malformedDataIsInvalid(option: [UInt8]) {
        let (output, outcome, _) = shake(Self.clientFlags + option)
        #expect(Array(output.dropFirst(12).prefix(4)) == wire("80000003") && outcome == .unfinished)
    }

    @Test(arguments: [wire("00000002"), wire("00000007"), wire("80000001")])
    func flagsThatAreNotKnownEndTheConnection(flags: [UInt8]) {
        guard case .over = shake(flags).outcome else {
            Issue.record("the handshake goes on")
            return
        }
    }

    @Test func theSessionsBytesAreLeft() {
        let go = Self.clientFlags + wire(Self.option, "00000007", "0000000A", "00000004", "'disk'", "0000")
        #expect(shake(go + wire("25609513")).consumed == go.count)
    }
}
