import Base
import Foundation
import NVMeAuthentication
import Testing

@Suite("Keys")
struct KeyTests {
    /// Made by nvme-cli 2.3: `nvme gen-dhchap-key --hmac=0 --secret=000102...1f`, and the same of 48 bytes.
    static let madeByOthers = [
        ("DHHC-1:00:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh+KfiaR:", 32),
        ("DHHC-1:00:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vcSEgBQ==:", 48),
        (
            "DHHC-1:03:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+P4zODhA=:",
            64
        ),
    ]

    @Test("Keys that nvme-cli made are read and written alike", arguments: madeByOthers)
    func known(text: String, count: Int) throws {
        let key = try AuthenticationKey(parsing: text)
        #expect(key.byteCount == count && key.exposedText == text)
        let same = Secret(byteCount: count) { bytes in
            for place in bytes.indices { bytes[place] = UInt8(place) }
        }
        #expect(try AuthenticationKey(same, hash: key.hash) == key)
    }

    @Test("Keys that nvme-cli refuses are refused, and the refusal tells nothing of them")
    func refused() throws {
        let good = Self.madeByOthers[0].0
        let wrong = [
            "", "DHHC-1:", "DHHC-1:00:", "DHHC-1:00::", String(good.dropLast()), good + ":", "x" + good,
            good.replacing("AAEC", with: "AAED"), good.replacing("DHHC-1:00", with: "DHHC-1:01:00"),
            good.replacing("DHHC-1:00", with: "DHHC-1:04"), good.replacing("DHHC-1:00", with: "DHHC-1:02"),
            good.replacing("AAEC", with: "AA\u{e9}C"), good.replacing("AAEC", with: "AAE="),
            good.replacing("AAECAwQF", with: ""), good + String(repeating: "A", count: 10_000),
        ]
        for text in wrong {
            let error = #expect(throws: TercetError.self) { try AuthenticationKey(parsing: text) }
            #expect(error?.message.contains("AwQF") == false, "\(error?.message ?? "")")
        }
    }

    @Test("Nothing shows a key: no text of it, no dump")
    func shown() throws {
        let key = try AuthenticationKey(parsing: Self.madeByOthers[0].0)
        let keys = AuthenticationKeys(host: key, controller: key)
        var dumped = ""
        dump(keys, to: &dumped)
        for text in ["\(keys)", String(reflecting: keys), dumped, String(describing: key), String(reflecting: key)] {
            #expect(!text.contains("AAEC") && !text.contains("0, 1, 2"), "\(text)")
        }
    }

    @Test("A key is made of the length that is asked for, another one each time")
    func random() throws {
        let (one, other) = (
            try AuthenticationKey(random: 48, hash: .sha384), try AuthenticationKey(random: 48, hash: .sha384)
        )
        #expect(one != other && one.byteCount == 48)
        #expect(throws: TercetError.self) { try AuthenticationKey(random: 33, hash: nil) }
        #expect(throws: TercetError.self) { try AuthenticationKey(random: 32, hash: .sha512) }
    }
}
