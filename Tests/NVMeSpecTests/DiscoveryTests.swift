import Base
import CLibNVMe
import NVMeSpec
import Testing

@Suite("Discovery and Connect")
struct DiscoveryTests {
    @Test("A discovery entry is nvmf_disc_log_entry")
    func entry() throws {
        let spaces = { (c: inout nvmf_disc_log_entry) in
            set(&c.trsvcid, "", padding: 0x20)
            set(&c.traddr, "", padding: 0x20)
        }
        try expectLayout(
            nvmf_disc_log_entry.self, DiscoveryLogEntry.self, prepare: spaces,
            [
                FieldPair("trtype", \.trtype, \.transport),
                FieldPair("adrfam", \.adrfam, \.addressFamily),
                FieldPair("subtype", \.subtype, \.subsystemType),
                FieldPair("treq", \.treq, \.requirements),
                FieldPair("portid", \.portid, \.portID),
                FieldPair("cntlid", \.cntlid, \.controllerID),
                FieldPair("asqsz", \.asqsz, \.adminQueueSize),
                FieldPair("eflags", \.eflags, \.flags),
                FieldPair("trsvcid", { set(&$0.trsvcid, "4420", padding: 0x20) }, { $0.serviceID = "4420" }),
                FieldPair("subnqn", { set(&$0.subnqn, "nqn.a") }, { $0.subsystemNQN = "nqn.a" }),
                FieldPair("traddr", { set(&$0.traddr, "fe80::1", padding: 0x20) }, { $0.address = "fe80::1" }),
                FieldPair("tsas.rdma.qptype", \.tsas.rdma.qptype, \.queuePairType),
                FieldPair("tsas.rdma.prtype", \.tsas.rdma.prtype, \.provider),
                FieldPair("tsas.rdma.cms", \.tsas.rdma.cms, \.connectionManagement),
                FieldPair("tsas.rdma.pkey", \.tsas.rdma.pkey, \.partitionKey),
            ])
    }

    @Test("The discovery log is nvmf_discovery_log and its entries")
    func log() throws {
        var entry = DiscoveryLogEntry()
        entry.subsystemNQN = "nqn.2014-08.org.example:a"
        entry.address = "192.0.2.1"
        entry.serviceID = "4420"
        let log = DiscoveryLog(generation: 0x0102_0304_0506_0708, entries: [entry, entry])
        var header = zeroed(nvmf_discovery_log.self)
        header.genctr = 0x0102_0304_0506_0708
        header.numrec = 2
        #expect(log.encoded == bytes(of: header) + entry.encoded + entry.encoded)
        #expect(try log.encoded.withUnsafeBytes { try DiscoveryLog(decoding: $0) } == log)

        // A count beyond what was read, as after reading the header alone.
        header.numrec = .max
        let part = try (bytes(of: header) + entry.encoded).withUnsafeBytes { try DiscoveryLog(decoding: $0) }
        #expect(part.header.recordCount == .max)
        #expect(part.entries == [entry])

        header.recfmt = 1
        #expect(throws: MalformedStructure.self) { try DiscoveryLogHeader(decoding: bytes(of: header)) }
    }

    private func connectData(_ c: nvmf_connect_data) throws(ConnectFailure) -> ConnectData {
        let result = withUnsafeBytes(of: c) { bytes in
            Result { () throws(ConnectFailure) in try ConnectData(decoding: bytes) }
        }
        return try result.get()
    }

    @Test("Connect data is nvmf_connect_data")
    func connect() throws {
        let hostID = try #require(UUIDBytes("01234567-89ab-cdef-0123-456789abcdef"))
        let data = ConnectData(hostID: hostID, controllerID: 0x0102, subsystemNQN: "nqn.subsystem", hostNQN: "nqn.höst")
        var c = zeroed(nvmf_connect_data.self)
        #expect(nvme_uuid_from_string("01234567-89ab-cdef-0123-456789abcdef", &c.hostid.0) == 0)
        c.cntlid = 0x0102
        set(&c.subsysnqn, "nqn.subsystem")
        set(&c.hostnqn, "nqn.höst")
        #expect(data.encoded == bytes(of: c))
        #expect(try connectData(c) == data)
    }

    @Test("Names without an end, empty, too long or not UTF-8 are refused with their place in the data")
    func connectRefusals() throws {
        var c = zeroed(nvmf_connect_data.self)
        set(&c.subsysnqn, "nqn.subsystem")
        set(&c.hostnqn, "nqn.host")
        #expect(try connectData(c).hostNQN == "nqn.host")
        let subsystem = UInt32(MemoryLayout<nvmf_connect_data>.offset(of: \.subsysnqn) ?? 0)
        let host = UInt32(MemoryLayout<nvmf_connect_data>.offset(of: \.hostnqn) ?? 0)
        for bad in ["", String(repeating: "n", count: 224), String(repeating: "n", count: 256)] {
            var other = c
            set(&other.subsysnqn, bad)
            #expect(throws: ConnectFailure(status: .connectInvalidParameters, result: 1 << 16 | subsystem)) {
                try connectData(other)
            }
            // A host may leave its own name out: a subsystem that takes any host takes it too.
            guard !bad.isEmpty else { continue }
            other = c
            set(&other.hostnqn, bad)
            #expect(throws: ConnectFailure(status: .connectInvalidParameters, result: 1 << 16 | host)) {
                try connectData(other)
            }
        }
        set(&c.hostnqn, "")
        #expect(try connectData(c).hostNQN.isEmpty)
        set(&c.hostnqn, String(repeating: "n", count: Int(NVMF_NQN_SIZE)))
        #expect(try connectData(c).hostNQN.utf8.count == 223)
        set(&c.hostnqn, [0xFF, 0xFE, 0x00])
        #expect(throws: ConnectFailure.self) { try connectData(c) }
        #expect(throws: ConnectFailure(status: .dataSGLLengthInvalid)) {
            try withUnsafeBytes(of: c) { bytes throws(ConnectFailure) in
                try ConnectData(decoding: UnsafeRawBufferPointer(rebasing: bytes.dropLast()))
            }
        }
    }
}
