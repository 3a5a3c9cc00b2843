import Base
import CLibNVMe
import NVMeSpec
import Testing

@Suite("Identify lists")
struct IdentifyListTests {
    private func descriptors(_ bytes: [UInt8]) throws -> NamespaceDescriptors {
        try bytes.withUnsafeBytes { try NamespaceDescriptors(decoding: $0) }
    }

    @Test("Namespace Identification Descriptors are nvme_ns_id_desc")
    func namespaceDescriptors() throws {
        let uuid = try #require(UUIDBytes("6ba7b810-9dad-11d1-80b4-00c04fd430c8"))
        let all = NamespaceDescriptors(
            eui64: 0x0102_0304_0506_0708, nguid: UUIDBytes(bytes: Array(1...16)), uuid: uuid, commandSet: .nvm)
        let encoded = all.encoded
        #expect(encoded.count == Int(NVME_IDENTIFY_DATA_SIZE.rawValue))
        #expect(try descriptors(encoded) == all)

        // Walked with libnvme's structure.
        var found: [UInt32: [UInt8]] = [:]
        var offset = 0
        while encoded[offset + 1] > 0 {
            let header = encoded[offset...].withUnsafeBytes { $0.loadUnaligned(as: nvme_ns_id_desc.self) }
            let start = offset + tercet_nvme_ns_id_desc_nid
            found[UInt32(header.nidt)] = Array(encoded[start..<start + Int(header.nidl)])
            offset = start + Int(header.nidl)
        }
        #expect(
            found == [
                NVME_NIDT_EUI64.rawValue: Array(1...8), NVME_NIDT_NGUID.rawValue: Array(1...16),
                NVME_NIDT_UUID.rawValue: uuid.bytes, NVME_NIDT_CSI.rawValue: [UInt8(NVME_CSI_NVM.rawValue)],
            ])
        #expect(found[NVME_NIDT_EUI64.rawValue]?.count == Int(NVME_NIDT_EUI64_LEN.rawValue))
        #expect(found[NVME_NIDT_NGUID.rawValue]?.count == Int(NVME_NIDT_NGUID_LEN.rawValue))
        #expect(found[NVME_NIDT_UUID.rawValue]?.count == Int(NVME_NIDT_UUID_LEN.rawValue))
        #expect(found[NVME_NIDT_CSI.rawValue]?.count == Int(NVME_NIDT_CSI_LEN.rawValue))
    }

    @Test("Descriptors of unknown types are skipped; those of wrong length, or cut off, are refused")
    func oddDescriptors() throws {
        #expect(try descriptors([9, 2, 0, 0, 1, 2, 4, 1, 0, 0, 0]).commandSet == .nvm)
        #expect(try descriptors([0, 0, 0, 0, 4, 1, 0, 0, 0]) == NamespaceDescriptors())
        #expect(try descriptors([]) == NamespaceDescriptors())
        #expect(throws: MalformedStructure.self) { try descriptors([1, 7, 0, 0, 1, 2, 3, 4, 5, 6, 7]) }
        #expect(throws: MalformedStructure.self) { try descriptors([2, 16, 0, 0, 1]) }
        #expect(throws: MalformedStructure.self) { try descriptors([9, 255, 0, 0, 1]) }
    }

    @Test("A namespace list is nvme_ns_list, ascending, above the namespace asked for")
    func namespaceList() throws {
        var c = zeroed(nvme_ns_list.self)
        c.ns.0 = 3
        c.ns.1 = 7
        let list = NamespaceList([7, 1, 3, 2], after: 2)
        #expect(list.identifiers == [3, 7])
        #expect(list.encoded == bytes(of: c))
        #expect(try list.encoded.withUnsafeBytes { try NamespaceList(decoding: $0) } == list)
        c.ns.1 = 3
        #expect(throws: MalformedStructure.self) {
            try bytes(of: c).withUnsafeBytes { try NamespaceList(decoding: $0) }
        }
        #expect(NamespaceList(1...2000, after: 5).identifiers == Array(6...1029))
    }

    @Test("A Changed Namespace List that does not hold all says FFFFFFFFh")
    func changedNamespaces() throws {
        #expect(NamespaceList(changed: 1...1024).identifiers.count == 1024)
        let overflowed = NamespaceList(changed: 1...1025)
        #expect(overflowed.hasOverflowed)
        var c = zeroed(nvme_ns_list.self)
        c.ns.0 = NVME_NSID_ALL.rawValue
        #expect(overflowed.encoded == bytes(of: c))
        #expect(try overflowed.encoded.withUnsafeBytes { try NamespaceList(decoding: $0) } == overflowed)
    }

    @Test("A controller list is nvme_ctrl_list")
    func controllerList() throws {
        var c = zeroed(nvme_ctrl_list.self)
        c.num = 2
        c.identifier.0 = 5
        c.identifier.1 = 9
        let list = ControllerList([9, 1, 5], from: 2)
        #expect(list.encoded == bytes(of: c))
        #expect(try list.encoded.withUnsafeBytes { try ControllerList(decoding: $0) } == list)
        c.num = 2048
        #expect(throws: MalformedStructure.self) {
            try bytes(of: c).withUnsafeBytes { try ControllerList(decoding: $0) }
        }
    }
}
