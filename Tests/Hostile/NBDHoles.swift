import MemoryBlock
import NBDProtocol
import NBDServer
import Testing

@testable import NBDServerTests

/// Requests and options of NBD clients ("The NBD protocol").
@Suite("Holes: NBD")
struct NBDHoles {
    private static let longest: [(NBDHeaderForm, UInt64)] = [
        (.structured, 0xFFFF_FFFF), (.extended, 1 << 32), (.extended, 1 << 62),
    ]

    @Test("The state of the longest range is told in the numbers that the answer has", arguments: longest)
    func longBlockStatus(form: NBDHeaderForm, length: UInt64) throws {
        let session = NBDSession(
            form: form, size: 1 << 62, flags: [.hasFlags], contexts: NBDContexts.allocation)
        let request = NBDRequest(type: 7, cookie: 5, offset: 0, length: length)
        #expect(session.judge(request) == .perform(.blockStatus))
        var memory = [UInt8](repeating: 0, count: NBDReply.longestHeader)
        // A device may know more of the range than a client may be told.
        for known in [length, 1 << 62, .max] as [UInt64] {
            let count = memory.withUnsafeMutableBytes { memory in
                memory.baseAddress.map {
                    NBDReply.blockStatus(request, length: known, state: 3, form: form, into: $0)
                } ?? 0
            }
            // Behind the header: the context, and with extended headers the number of extents.
            let (start, width) = form == .extended ? (32 + 8, 8) : (20 + 4, 4)
            #expect(count == start + 2 * width)
            let told = memory[start..<start + width].reduce(0 as UInt64) { $0 << 8 | UInt64($1) }
            #expect(told == (form == .extended ? known : min(known, 0xFFFF_FFFF)))
        }
    }

    @Test("A range that wraps around, ends beyond the export, or is none is refused, and its session goes on")
    func ranges() throws {
        for form in [NBDHeaderForm.structured, .extended] {
            let session = NBDSession(form: form, size: 1 << 20, flags: [.hasFlags, .sendTrim], contexts: .allocation)
            for (offset, length) in [
                (.max, 1), (.max, .max), (1 << 20, 1), ((1 << 20) - 1, 2), (0, (1 << 20) + 1), (1 << 63, 1 << 63),
            ] as [(UInt64, UInt64)] {
                let request = NBDRequest(type: 7, cookie: 5, offset: offset, length: length)
                #expect(session.judge(request) == .refuse(.invalid), "\(offset), \(length)")
            }
            #expect(session.judge(NBDRequest(type: 7, cookie: 5, offset: 0, length: 0)) == .refuse(.invalid))
        }
        let world = try ServerWorld(RAMDevice(byteCount: 1 << 20))
        let client = try RawClient(world)
        client.begin(structured: true)
        for (offset, length) in [(UInt64.max, UInt32.max), (1 << 20, 1), (0, 0)] as [(UInt64, UInt32)] {
            client.send(client.request(7, cookie: 9, offset: offset, length: length))
            // An error chunk: its type, the cookie, six bytes of which the first four are EINVAL.
            let answer = client.receive(26)
            #expect(answer.count == 26 && Array(answer[6..<8]) == [0x80, 1] && answer[23] == 22)
        }
        client.send(client.request(0, cookie: 1, offset: 0, length: 512))
        #expect(client.receive(20 + 8 + 512).count == 20 + 8 + 512)
    }

    @Test(
        "A client that asks on and on without TLS is let go, and told no more than it has asked",
        arguments: [1, 7, 16384])
    func withoutTLS(part: Int) {
        let list = number(NBDMagic.option) + number(UInt32(3)) + number(UInt32(0))
        let bytes = number(UInt32(3)) + (0..<10_000).flatMap { _ in list }
        var prelude = NBDTLSPrelude()
        var (position, outcome) = (0, NBDTLSPrelude.Outcome.unfinished)
        while position < bytes.count, outcome == .unfinished {
            let piece = bytes[position..<min(position + part, bytes.count)]
            outcome = piece.withUnsafeBytes { prelude.receive($0) }
            position += piece.count
        }
        guard case .over = outcome else {
            Issue.record("\(outcome)")
            return
        }
        #expect(prelude.output.count <= NBDTLSPrelude.greetingBytes + 65 * 20)
    }

    @Test("A client that asks for many lists at once has them one after the other, as it takes them")
    func lists() throws {
        let world = try ServerWorld(RAMDevice(byteCount: 1 << 20))
        for place in 1..<200 {
            try world.exports.add(
                Export(name: "\(place)-\(String(repeating: "x", count: 200))", device: RAMDevice(byteCount: 1 << 20)))
        }
        var handshake = NBDHandshake(
            exports: world.exports.all.map { NBDExportDescription(name: $0.name, size: 1 << 20, flags: [.hasFlags]) })
        let list = number(NBDMagic.option) + number(UInt32(3)) + number(UInt32(0))
        let bytes = number(UInt32(3)) + (0..<1000).flatMap { _ in list }
        let (consumed, outcome) = bytes.withUnsafeBytes { handshake.receive($0) }
        #expect(outcome == .unfinished && consumed < bytes.count)
        #expect(handshake.output.count < 256 << 10)
        // All of them come, with an acknowledgement each, to one who takes them.
        let client = try RawClient(world)
        client.send(bytes)
        let one = 20 + (0..<200).reduce(0) { $0 + 24 + world.exports.all[$1].name.utf8.count }
        #expect(client.receive(18 + 1000 * one).count == 18 + 1000 * one)
        client.go()
        world.settle()
        #expect(!client.received().isEmpty)
        #expect(client.contents(0, 512).count == 512)
    }

    private func number<Number: FixedWidthInteger>(_ value: Number) -> [UInt8] {
        withUnsafeBytes(of: value.bigEndian) { Array($0) }
    }
}
