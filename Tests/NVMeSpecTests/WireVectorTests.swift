import NVMeSpec
import Testing

/// Bytes as Linux's initiator and SPDK send them; their sources define them in `struct nvmf_connect_command`,
/// `struct nvme_keyed_sgl_desc`, `struct nvme_rdma_cm_req` (Linux) and `struct spdk_nvmf_fabric_connect_cmd`,
/// `struct spdk_nvmf_rdma_request_private_data` (SPDK).
@Suite("Wire vectors")
struct WireVectorTests {
    private func entry(_ bytes: [UInt8]) throws -> SubmissionEntry {
        try #require(bytes.count == 64)
        return try #require(bytes.withUnsafeBytes { $0.baseAddress.map(SubmissionEntry.init(from:)) })
    }

    private func bytes(_ entry: SubmissionEntry) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: 64) { buffer, count in
            if let base = UnsafeMutableRawPointer(buffer.baseAddress) { entry.store(to: base) }
            count = 64
        }
    }

    private func descriptor(_ bytes: [UInt8]) throws -> SGLDescriptor {
        try #require(bytes.count == 16)
        return try #require(bytes.withUnsafeBytes { $0.baseAddress.map(SGLDescriptor.init(from:)) })
    }

    private func bytes(_ descriptor: SGLDescriptor) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: 16) { buffer, count in
            if let base = UnsafeMutableRawPointer(buffer.baseAddress) { descriptor.store(to: base) }
            count = 16
        }
    }

    @Test("Connect")
    func connect() throws {
        var wire: [UInt8] = [0x7F, 0x40, 0x21, 0x43, 0x01] + [UInt8](repeating: 0, count: 19)
        wire += [0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x00, 0x04, 0x00, 0xDD, 0xCC, 0xBB, 0xAA, 0x40]
        wire += [0x00, 0x00, 0x05, 0x00, 0x7F, 0x00, 0x04, 0x00, 0x98, 0x3A, 0x00, 0x00]
        wire += [UInt8](repeating: 0, count: 12)
        let command = FabricsCommand.connect(
            ConnectCommand(
                queueID: 5, sqSize: 127, attributes: .disableSQFlowControl, keepAliveMilliseconds: 15000))
        let data = SGLDescriptor.keyed(
            address: 0x7060_5040_3020_1000, length: 1024, key: 0xAABB_CCDD, invalidate: false)
        let decoded = try entry(wire)
        #expect(FabricsCommand(decoded) == command)
        #expect(SGLDescriptor(decoded.dataPointer) == data)
        #expect(decoded.commandID == 0x4321 && decoded.usesSGL && decoded.sendsData)
        #expect(bytes(SubmissionEntry(command, commandID: 0x4321, data: data)) == wire)
    }

    @Test("Connect and Disconnect of a record format that does not exist, and reserved property sizes")
    func fabricsRefusals() throws {
        var connect = SubmissionEntry(
            .connect(ConnectCommand(queueID: 0, sqSize: 31)), commandID: 0)
        connect.cdw10 |= 1
        // The target refuses it, and tells the operator.
        guard case .connect(let command) = FabricsCommand(connect) else { Issue.record("not a Connect"); return }
        #expect(command.recordFormat == 1)
        var disconnect = SubmissionEntry(.disconnect, commandID: 0)
        #expect(FabricsCommand(disconnect) == .disconnect)
        disconnect.cdw10 = 1
        #expect(FabricsCommand(disconnect) == .invalid(.connectIncompatibleFormat))
        var property = SubmissionEntry(.propertyGet(PropertyGetCommand(.status)), commandID: 0)
        property.cdw10 = 2
        #expect(FabricsCommand(property) == .invalid(.invalidField))
        for type in UInt32(0)...255 where FabricsCommandType(rawValue: UInt8(type)) == nil {
            property.nsid = type
            #expect(FabricsCommand(property) == .invalid(.invalidOpcode))
        }
        #expect(FabricsCommand(SubmissionEntry()) == .invalid(.invalidOpcode))
    }

    @Test("Authentication Send and Receive", arguments: [UInt8(0x05), 0x06])
    func authentication(type: UInt8) throws {
        var wire: [UInt8] = [0x7F, 0x40, 0x01, 0x00, type] + [UInt8](repeating: 0, count: 34) + [0x40]
        wire += [0x00, 0x01, 0x01, 0xE9, 0x00, 0x02, 0x00, 0x00] + [UInt8](repeating: 0, count: 16)
        let expected = AuthenticationCommand(length: 512)
        let command = type == 5 ? FabricsCommand.authenticationSend(expected) : .authenticationReceive(expected)
        #expect(FabricsCommand(try entry(wire)) == command)
        #expect(bytes(SubmissionEntry(command, commandID: 1)) == wire)
        #expect(try entry(wire).sendsData == (type == 5))
        #expect(try entry(wire).receivesData == (type == 6))
    }

    @Test("A read of 8 blocks with a keyed SGL that is to be invalidated")
    func read() throws {
        var wire: [UInt8] = [0x02, 0x40, 0x07, 0x00, 0x01, 0, 0, 0] + [UInt8](repeating: 0, count: 16)
        wire += [0x00, 0xF0, 0xDE, 0xBC, 0x9A, 0x78, 0x56, 0x34, 0x00, 0x10, 0x00, 0x44, 0x33, 0x22, 0x11, 0x4F]
        wire += [0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0x07, 0, 0, 0] + [UInt8](repeating: 0, count: 12)
        let command = IOCommand.read(BlockCommand(startingLBA: 0x1122_3344_5566_7788, blockCount: 8))
        let data = SGLDescriptor.keyed(
            address: 0x3456_789A_BCDE_F000, length: 4096, key: 0x1122_3344, invalidate: true)
        let decoded = try entry(wire)
        #expect(IOCommand(decoded) == command)
        #expect(SGLDescriptor(decoded.dataPointer) == data)
        #expect(!decoded.sendsData && decoded.receivesData)
        #expect(bytes(SubmissionEntry(command, nsid: 1, commandID: 7, data: data)) == wire)
    }

    @Test("SGL descriptors")
    func descriptors() throws {
        let zeroes = [UInt8](repeating: 0, count: 8)
        let vectors: [([UInt8], SGLDescriptor)] = [
            (zeroes + [0, 0, 0, 0, 0, 0, 0, 0x40], .none),
            (
                [1, 2, 3, 4, 5, 6, 7, 8, 0xFF, 0xFF, 0xFF, 1, 2, 3, 4, 0x40],
                .keyed(address: 0x0807_0605_0403_0201, length: 0xFF_FFFF, key: 0x0403_0201, invalidate: false)
            ),
            (
                [1, 2, 3, 4, 5, 6, 7, 8, 1, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0x4F],
                .keyed(address: 0x0807_0605_0403_0201, length: 1, key: .max, invalidate: true)
            ),
            ([16, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0x01], .inCapsule(offset: 16, length: 512)),
            (
                [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0x01],
                .inCapsule(offset: .max, length: .max)
            ),
            (zeroes + [0x20, 0, 0, 0, 0, 0, 0, 0x31], .lastSegmentInCapsule(offset: 0, length: 32)),
        ]
        for (wire, expected) in vectors {
            #expect(try descriptor(wire) == expected)
            #expect(bytes(expected) == wire)
        }
        #expect(try descriptor(zeroes + [0, 0, 0, 0, 0, 0, 0, 0x4F]) == .none)
        #expect(try descriptor([1] + [UInt8](repeating: 0, count: 14) + [0x01]) == .none)
        #expect(try descriptor([UInt8](repeating: 0, count: 16)) == .none)
    }

    @Test("SGL descriptors that this transport does not have")
    func descriptorRefusals() throws {
        let known: Set<UInt8> = [0x01, 0x31, 0x40, 0x4F]
        for identifier in UInt8(0)...255 where !known.contains(identifier) {
            let wire = [UInt8](repeating: 0, count: 8) + [0, 1, 0, 0, 0, 0, 0, identifier]
            #expect(try descriptor(wire) == .invalid(.sglDescriptorTypeInvalid), "\(identifier)")
        }
        for length in [0, 1, 15, 17, 31] as [UInt8] {
            let wire = [UInt8](repeating: 0, count: 8) + [length, 0, 0, 0, 0, 0, 0, 0x31]
            #expect(try descriptor(wire) == .invalid(.invalidSGLSegmentDescriptor), "\(length)")
        }
    }

    @Test("RDMA CM private data")
    func privateData() throws {
        let request: [UInt8] = [0, 0, 2, 1, 4, 3, 6, 5, 8, 7] + [UInt8](repeating: 0, count: 22)
        let expected = RDMAConnectRequest(
            queueID: 0x0102, hostReceiveQueueSize: 0x0304, hostSendQueueSize: 0x0506, controllerID: 0x0708)
        #expect(expected.privateData == request)
        #expect(try RDMAConnectRequest(decoding: request) == expected)
        // InfiniBand's connection manager pads with zeroes, to 56 bytes.
        #expect(try RDMAConnectRequest(decoding: request + [UInt8](repeating: 0, count: 24)) == expected)
        #expect(throws: RDMARejectStatus.invalidPrivateDataLength) {
            try RDMAConnectRequest(decoding: Array(request.dropLast()))
        }
        #expect(throws: RDMARejectStatus.invalidRecordFormat) {
            try RDMAConnectRequest(decoding: [1] + request.dropFirst())
        }
        let reply: [UInt8] = [0, 0, 0x80, 0] + [UInt8](repeating: 0, count: 28)
        #expect(RDMAConnectReply(controllerReceiveQueueSize: 128).privateData == reply)
        #expect(try RDMAConnectReply(decoding: reply).controllerReceiveQueueSize == 128)
        #expect(throws: RDMARejectStatus.self) { try RDMAConnectReply(decoding: []) }
        #expect(RDMARejectStatus.invalidHostSendQueueSize.privateData == [0, 0, 4, 0])
        #expect(RDMARejectStatus(decoding: [0, 0, 6, 0]) == .noResources)
        #expect(RDMARejectStatus(decoding: [0, 0, 9, 0, 0, 0]) == .invalidControllerID)
        #expect(RDMARejectStatus(decoding: [0, 0, 6]) == nil)
        #expect(RDMARejectStatus(decoding: [1, 0, 6, 0]) == nil)
        let statuses: [RDMARejectStatus] = [
            .invalidPrivateDataLength, .invalidRecordFormat, .invalidQueueID, .invalidHostSendQueueSize,
            .invalidHostReceiveQueueSize, .noResources, .invalidInboundReadDepth, .invalidOutboundReadDepth,
            .invalidControllerID,
        ]
        #expect(statuses.map(\.rawValue) == Array(1...9))
    }

    @Test("The result of Connect: controller and authentication, or the place of the invalid parameter")
    func connectResult() {
        let result = ConnectResult(controllerID: 0x1234, requiresAuthentication: true)
        #expect(result.rawValue == 0x0002_1234)
        #expect(result.controllerID == 0x1234 && result.requiresAuthentication && !result.requiresSecureChannel)
        #expect(ConnectFailure.invalidParameter(inData: ConnectData.Offset.subsystemNQN).result == 0x0001_0100)
        #expect(ConnectFailure.invalidParameter(inCommand: ConnectCommand.Offset.sqSize).result == 44)
        #expect(
            ConnectFailure.invalidParameter(inData: 512).description
                == "Connect Invalid Parameters (1/82h): offset 512 of the data")
    }

    @Test("Direction of the data is in the opcode")
    func direction() {
        var entry = SubmissionEntry()
        entry.opcode = NVMOpcode.write.rawValue
        #expect(entry.sendsData && !entry.receivesData)
        entry.opcode = NVMOpcode.flush.rawValue
        #expect(!entry.sendsData && !entry.receivesData)
        entry.opcode = AdminOpcode.identify.rawValue
        #expect(!entry.sendsData && entry.receivesData)
        entry.flags = 0x02
        #expect(entry.isFused && entry.fusedOperation == .second && !entry.usesSGL)
    }
}
