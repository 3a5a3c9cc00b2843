import NBDProtocol
import Testing

/// Requests and answers, against bytes written by hand from the NBD protocol document ("Transmission").
@Suite struct RequestTests {
    private func decode(_ bytes: [UInt8], _ form: NBDHeaderForm) -> NBDRequest? {
        bytes.withUnsafeBytes { $0.baseAddress.flatMap { NBDRequest(decoding: $0, form: form) } }
    }

    private func session(
        _ form: NBDHeaderForm = .structured, _ flags: NBDTransmissionFlags = [.hasFlags, .sendFlush]
    ) -> NBDSession {
        NBDSession(form: form, size: 1 << 20, flags: flags, contexts: .allocation)
    }

    private func encode(_ body: (UnsafeMutableRawPointer) -> Int) -> [UInt8] {
        withUnsafeTemporaryAllocation(byteCount: NBDReply.longestHeader, alignment: 8) { memory in
            guard let place = memory.baseAddress else { return [] }
            return Array(memory[..<body(place)])
        }
    }

    @Test func headersAreDecoded() {
        let compact = wire("25609513", "0001", "0001", "1122334455667788", "0000000000001000", "00000200")
        #expect(compact.count == 28)
        let expected = NBDRequest(flags: .fua, type: 1, cookie: 0x1122_3344_5566_7788, offset: 4096, length: 512)
        #expect(decode(compact, .simple) == expected)
        #expect(decode(compact + [0, 0, 0, 0], .extended) == nil)
        let extended = wire(
            "21E41C71", "0000", "0006", "1122334455667788", "0000000000000000", "0000010000000000")
        #expect(extended.count == 32)
        #expect(decode(extended, .extended)?.length == 1 << 40)
        #expect(decode(extended, .structured) == nil)
    }

    @Test func simpleAnswers() {
        let write = NBDRequest(type: 1, cookie: 0x0102_0304_0506_0708, offset: 0, length: 512)
        #expect(
            encode { NBDReply.end(write, .noSpace, form: .structured, into: $0) }
                == wire("67446698", "0000001C", "0102030405060708"))
        let read = NBDRequest(type: 0, cookie: 1, offset: 0, length: 512)
        #expect(
            encode { NBDReply.data(read, offset: 0, length: 512, isLast: true, form: .simple, into: $0) }
                == wire("67446698", "00000000", "0000000000000001"))
    }

    @Test func structuredAnswers() {
        let read = NBDRequest(type: 0, cookie: 0x0102_0304_0506_0708, offset: 4096, length: 1024)
        // NBD_REPLY_TYPE_OFFSET_DATA: the offset counts with the data.
        #expect(
            encode { NBDReply.data(read, offset: 4608, length: 512, isLast: false, form: .structured, into: $0) }
                == wire("668E33EF", "0000", "0001", "0102030405060708", "00000208", "0000000000001200"))
        #expect(
            encode { NBDReply.end(read, .ioError, form: .structured, into: $0) }
                == wire("668E33EF", "0001", "8001", "0102030405060708", "00000006", "00000005", "0000"))
        #expect(
            encode { NBDReply.end(read, .none, form: .structured, into: $0) }
                == wire("668E33EF", "0001", "0000", "0102030405060708", "00000000"))
        let status = NBDRequest(flags: .reqOne, type: 7, cookie: 9, offset: 0, length: 0x7FFF_FFFF)
        #expect(
            encode { NBDReply.blockStatus(status, length: 0x7FFF_FFFF, state: 0, form: .structured, into: $0) }
                == wire("668E33EF", "0001", "0005", "0000000000000009", "0000000C", "00000001", "7FFFFFFF", "00000000"))
    }

    @Test func extendedAnswers() {
        let write = NBDRequest(flags: .payloadLength, type: 1, cookie: 7, offset: 512, length: 512)
        #expect(
            encode { NBDReply.end(write, .none, form: .extended, into: $0) }
                == wire("6E8A278C", "0001", "0000", "0000000000000007", "0000000000000200", "0000000000000000"))
        let status = NBDRequest(type: 7, cookie: 9, offset: 0, length: 1 << 33)
        #expect(
            encode { NBDReply.blockStatus(status, length: 1 << 33, state: 3, form: .extended, into: $0) }
                == wire("6E8A278C", "0001", "0006", "0000000000000009", "0000000000000000", "0000000000000018")
                + wire("00000001", "00000001", "0000000200000000", "0000000000000003"))
    }

    @Test func theRulesOfRequests() {
        func judge(_ type: UInt16, _ flags: UInt16 = 0, _ offset: UInt64 = 0, _ length: UInt64 = 512) -> NBDVerdict {
            session().judge(
                NBDRequest(
                    flags: NBDCommandFlags(rawValue: flags), type: type, cookie: 0, offset: offset, length: length))
        }
        #expect(judge(0) == .perform(.read))
        #expect(judge(1, 1) == .perform(.write))
        #expect(judge(2, 0, 0, 0) == .disconnect)
        #expect(judge(3, 1, 0, 0) == .perform(.flush))
        #expect(judge(6, 1 | 2 | 16) == .perform(.writeZeroes))
        #expect(judge(7, 8) == .perform(.blockStatus))
        #expect(judge(7, 0, 0, 0) == .refuse(.invalid))
        // Beyond the end: EINVAL, and ENOSPC for what would write.
        #expect(judge(0, 0, 1 << 20) == .refuse(.invalid))
        #expect(judge(1, 0, (1 << 20) - 511) == .refuse(.noSpace))
        #expect(judge(0, 0, UInt64.max - 5) == .refuse(.invalid))
        // Flags where they have no meaning, and commands that are none.
        #expect(judge(1, 4) == .refuse(.invalid))
        #expect(judge(0, 64) == .refuse(.invalid))
        #expect(judge(8) == .refuse(.invalid))
        #expect(judge(99) == .refuse(.invalid))
        let readOnly = session(.structured, [.hasFlags, .readOnly])
        #expect(readOnly.judge(NBDRequest(type: 4, cookie: 0, offset: 0, length: 512)) == .refuse(.notPermitted))
    }

    @Test func payloadsFollowWritesAndWhatSaysSo() {
        let write = NBDRequest(type: 1, cookie: 0, offset: 0, length: 512)
        #expect(write.payloadLength(.simple) == 512)
        let status = NBDRequest(flags: .payloadLength, type: 7, cookie: 0, offset: 0, length: 100)
        #expect(status.payloadLength(.structured) == 0)
        #expect(status.payloadLength(.extended) == 100)
        #expect(session(.extended).judge(status) == .refuse(.invalid))
        let huge = NBDRequest(flags: .payloadLength, type: 1, cookie: 0, offset: 0, length: 1 << 40)
        #expect(session(.extended).judge(huge) == .breach)
        let zeroes = NBDRequest(type: 6, cookie: 0, offset: 0, length: 1 << 20)
        #expect(session(.extended).judge(zeroes) == .perform(.writeZeroes))
    }
}
