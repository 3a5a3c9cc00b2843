import Base
import CLibNVMe
import NVMeSpec
import Testing

@Suite("NQNs and UUIDs")
struct NameTests {
    @Test(
        "Valid NQNs",
        arguments: [
            NQN.discovery, "nqn.2014-08.org.nvmexpress:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
            "nqn.2014-08.com.example:nvme:nvm-subsystem-sn-d78432", "nqn.2016-06.io.spdk:cnode1", "nqn.2024-12.a:b",
            "nqn.2019-10.com.3par-arrays.x1:Ünïcode and spaces", "nqn.2014-08.com.example:a:b:c",
            "nqn.2014-08.com.example:" + String(repeating: "x", count: 199),
        ])
    func validNames(name: String) throws { try NQN.validate(name) }

    @Test(
        "Invalid NQNs",
        arguments: [
            ("", InvalidNQN.noPrefix), ("iqn.2014-08.com.example:a", .noPrefix), ("nqn", .noPrefix),
            ("nqn.", .invalidDate), ("nqn.2014-8.com.example:a", .invalidDate),
            ("nqn.2014-13.com.example:a", .invalidDate),
            ("nqn.2014-00.com.example:a", .invalidDate), ("nqn.20x4-08.com.example:a", .invalidDate),
            ("nqn.2014-08-com.example:a", .invalidDate), ("nqn.2014-08.com.example", .noString),
            ("nqn.2014-08.com.example:", .noString), ("nqn.2014-08.:a", .invalidDomain),
            ("nqn.2014-08.com..example:a", .invalidDomain), ("nqn.2014-08.-com:a", .invalidDomain),
            ("nqn.2014-08.com-:a", .invalidDomain), ("nqn.2014-08.c_m:a", .invalidDomain),
            ("nqn.2014-08." + String(repeating: "x", count: 64) + ":a", .invalidDomain),
            ("nqn.2014-08.org.nvmexpress:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf", .invalidUUID),
            ("nqn.2014-08.org.nvmexpress:uuid:", .invalidUUID), ("nqn.2014-08.com.example:a\0b", .zeroByte),
            ("nqn.2014-08.com.example:" + String(repeating: "x", count: 200), .tooLong(byteCount: 224)),
        ])
    func invalidNames(name: String, problem: InvalidNQN) {
        #expect(throws: problem) { try NQN.validate(name) }
        #expect(!problem.description.isEmpty)
    }

    @Test(
        "UUIDs are parsed and written as libnvme does",
        arguments: [
            "00000000-0000-0000-0000-000000000000", "01234567-89ab-cdef-0123-456789abcdef",
            "f81d4fae-7dec-11d0-a765-00a0c91e6bf6", "ffffffff-ffff-ffff-ffff-ffffffffffff",
        ])
    func uuids(text: String) throws {
        var theirs = [UInt8](repeating: 0, count: Int(NVME_UUID_LEN))
        #expect(nvme_uuid_from_string(text, &theirs) == 0)
        let uuid = try #require(UUIDBytes(text))
        #expect(uuid.bytes == theirs)
        #expect(UUIDBytes(text.uppercased()) == uuid)
        #expect(uuid.description == text)
        #expect(UUIDBytes(bytes: theirs) == uuid)
        #expect(theirs.withUnsafeBytes { $0.baseAddress.map { UUIDBytes(from: $0) } } == uuid)
        #expect(uuid.hexadecimal == text.filter { $0 != "-" })
        #expect(UUIDBytes(hexadecimal: uuid.hexadecimal) == uuid)
        #expect(uuid.isZero == (text.first == "0" && text.last == "0"))
        #expect(NQN.uuid(uuid) == "nqn.2014-08.org.nvmexpress:uuid:\(text)")
    }

    @Test(
        "What is no UUID",
        arguments: [
            "", "f81d4fae", "f81d4fae-7dec-11d0-a765-00a0c91e6bf", "f81d4fae-7dec-11d0-a765-00a0c91e6bf67",
            "f81d4fae-7dec-11d0-a765_00a0c91e6bf6", "f81d4fag-7dec-11d0-a765-00a0c91e6bf6",
            "f81d4fae7-dec-11d0-a765-00a0c91e6bf6", "{81d4fae-7dec-11d0-a765-00a0c91e6bf}",
        ])
    func notUUIDs(text: String) {
        #expect(UUIDBytes(text) == nil)
        #expect(UUIDBytes(hexadecimal: text) == nil)
    }
}
