import Base
import Glibc
import Testing

@testable import NBDOverTCP

/// Files of keys, as GnuTLS's psktool(1) writes them.
@Suite struct PreSharedKeysTests {
    private func parse(_ text: String) throws(TercetError) -> PreSharedKeys {
        try PreSharedKeys(parsing: Array(text.utf8)[...], file: "keys")
    }

    private func reason(_ text: String) -> String? {
        do throws(TercetError) {
            _ = try parse(text)
            return nil
        } catch { return error.description }
    }

    @Test func linesOfPsktool() throws {
        let keys = try parse(
            "alice:00112233445566778899AABBCCDDEEFF\r\n\nbob smith:ffeeddccbbaa99887766554433221100\n")
        #expect(keys.key(of: "alice") == (0..<16).map { UInt8($0 * 0x11) })
        #expect(keys.key(of: "bob smith") == (0..<16).map { UInt8((15 - $0) * 0x11) })
        #expect(keys.key(of: "carol") == nil && keys.key(of: "") == nil)
    }

    /// The reasons name the line, and nothing of a key.
    @Test func malformedLines() {
        let key = "00112233445566778899aabbccddeeff"
        #expect(reason("") == "keys: no key is in it; psktool -u NAME -p keys adds one")
        #expect(reason("a:\(key)\nb\n") == "keys, line 2: no colon; allowed: NAME:KEY, as psktool writes it")
        for name in ["", "#6162", String(repeating: "n", count: 129)] {
            #expect(
                reason("\(name):\(key)")
                    == "keys, line 1: no user name; allowed: 1 to 128 bytes that do not begin with #")
        }
        for wrong in ["", "0011", key + "0", "g" + key.dropFirst(), key + ":00", String(repeating: "00", count: 257)] {
            #expect(
                reason("a:\(wrong)")
                    == "keys, line 1: no key; allowed: hexadecimal digits, two for each of 16 to 256 bytes")
        }
        #expect(reason("a:\(key)\na:\(key)") == "keys, line 2: the user name is there twice; allowed: once")
    }

    @Test(arguments: [(0o600 as mode_t, true), (0o640, true), (0o644, false), (0o604, false), (0o660, false)])
    func othersMayNotReadIt(mode: mode_t, isTaken: Bool) throws {
        let path = "/tmp/tercet-keys.\(getpid()).\(mode)"
        let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        try #require(descriptor >= 0)
        defer { unlink(path) }
        let text = "a:00112233445566778899aabbccddeeff\n"
        #expect(write(descriptor, text, text.utf8.count) == text.utf8.count)
        close(descriptor)
        chmod(path, mode)
        do throws(TercetError) {
            _ = try PreSharedKeys(contentsOf: path)
            #expect(isTaken)
        } catch {
            #expect(!isTaken)
            #expect(
                error.description
                    == "\(path): others than its owner may read or change the keys; allowed: chmod 600 or 640 \(path)")
        }
    }

    /// One line about a peer and a reason in a minute, whatever its ports are, and no more than 64.
    @Test func refusalsDoNotFillTheLog() {
        var log = RefusalLog()
        let start = MonotonicTime(nanoseconds: 1_000_000_000_000)
        #expect(log.admit("192.0.2.1:1000", "wrong", start) == 0)
        for port in 0..<9 {
            #expect(log.admit("192.0.2.1:\(port)", "wrong", start.advanced(byMilliseconds: 59_000)) == nil)
        }
        #expect(log.admit("192.0.2.2:1", "wrong", start) == 9)
        #expect(log.admit("192.0.2.1:8", "late", start) == 0)
        #expect(log.admit("192.0.2.1:7", "wrong", start.advanced(byMilliseconds: 60_000)) == 0)
        let later = start.advanced(byMilliseconds: 1_000_000)
        let told = (0..<1000).count { log.admit("[2001:db8::\($0)]:1", "wrong", later) != nil }
        #expect(told == 64)
    }
}
