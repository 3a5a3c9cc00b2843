import NBDProtocol
import Testing

/// The handshake before TLS, where nothing goes without it. Numbers are those of the NBD protocol document.
@Suite struct TLSPreludeTests {
    private func bytes<Number: FixedWidthInteger>(_ number: Number) -> [UInt8] {
        withUnsafeBytes(of: number.bigEndian) { Array($0) }
    }

    private func option(_ number: UInt32, _ data: [UInt8] = []) -> [UInt8] {
        bytes(0x4948_4156_454F_5054 as UInt64) + bytes(number) + bytes(UInt32(data.count)) + data
    }

    private func reply(_ number: UInt32, _ type: UInt32) -> [UInt8] {
        bytes(0x0003_E889_0455_65A9 as UInt64) + bytes(number) + bytes(type) + bytes(0 as UInt32)
    }

    /// Feeds bytes in parts; returns what was answered and how it ended.
    private func feed(_ bytes: [UInt8], step: Int = .max) -> (answers: [UInt8], outcome: NBDTLSPrelude.Outcome) {
        var prelude = NBDTLSPrelude()
        prelude.output = []
        var position = 0
        while position < bytes.count {
            let end = step < bytes.count - position ? position + step : bytes.count
            let outcome = bytes[position..<end].withUnsafeBytes { prelude.receive($0) }
            if outcome != .unfinished { return (prelude.output, outcome) }
            position = end
        }
        return (prelude.output, .unfinished)
    }

    @Test func theGreetingIsThatOfAServer() {
        #expect(
            NBDTLSPrelude().output == bytes(0x4E42_444D_4147_4943 as UInt64) + bytes(0x4948_4156_454F_5054 as UInt64)
                + [0, 3])
        #expect(NBDTLSPrelude().output.count == NBDTLSPrelude.greetingBytes)
    }

    @Test(arguments: [1, 3, 7, 1000])
    func tlsBegins(step: Int) {
        // NBD_OPT_LIST and NBD_OPT_GO are not answered without TLS; then NBD_OPT_STARTTLS.
        let (answers, outcome) = feed(
            [0, 0, 0, 3] + option(3) + option(7, [UInt8](repeating: 1, count: 40)) + option(5), step: step)
        #expect(outcome == .startTLS(flags: [0, 0, 0, 3]))
        #expect(answers == reply(3, 0x8000_0005) + reply(7, 0x8000_0005) + reply(5, 1))
    }

    @Test func endsWithoutTLS() {
        #expect(feed([0, 0, 0, 1] + option(2)).outcome == .over(""))
        #expect(feed([0, 0, 0, 1] + option(2)).answers == reply(2, 1))
        #expect(
            feed([0, 0, 0, 3] + option(1, Array("db".utf8))).outcome
                == .over("the client asks for an export without TLS"))
        #expect(
            feed([0, 0, 0, 3] + option(5) + [0x16]).outcome == .over("the client sends more behind NBD_OPT_STARTTLS"))
        #expect(feed([0, 0, 0, 3] + option(5, [1])).answers == reply(5, 0x8000_0003))
        for flags in [[0, 0, 0, 2], [1, 0, 0, 3], [0, 0, 0, 7]] as [[UInt8]] {
            guard case .over = feed(flags).outcome else {
                Issue.record("\(flags) were taken")
                continue
            }
        }
        guard case .over = feed([0, 0, 0, 3] + [UInt8](repeating: 9, count: 16)).outcome else {
            Issue.record("no option was taken for one")
            return
        }
        let many = (0..<100).flatMap { _ in option(3) }
        #expect(feed([0, 0, 0, 3] + many).outcome == .over("the client goes on without TLS"))
    }

    /// Data of an option is dropped, however long it is said to be.
    @Test func dataIsNotKept() {
        let header = bytes(0x4948_4156_454F_5054 as UInt64) + bytes(7 as UInt32) + bytes(UInt32.max)
        let (answers, outcome) = feed([0, 0, 0, 3] + header + [UInt8](repeating: 0, count: 100_000))
        #expect(answers.isEmpty && outcome == .unfinished)
    }
}
