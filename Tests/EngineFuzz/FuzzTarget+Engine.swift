import Base
import Fuzzing
import NVMeSpec

extension FuzzTarget {
    /// Hosts that send anything: to a whole target without a fabric, and to what lets them in.
    public static let engines = [
        hostileHost, rdmaConnections, reservationRecord, authenticationMessage, authenticationKey,
        authenticationExchange,
    ]

    /// A host that has two queues, or none yet, sends what the bytes say, and goes away. Nothing traps, and nothing of it is left.
    ///
    /// | bytes | meaning |
    /// |---|---|
    /// | 0 | bit 0: the queues are connected first; bits 1 and 2: how long the transport has no room, in commands |
    /// | each 72 after it | queue (bit 0), data (bits 1 to 3), rounds before the next one (bits 4 to 6); 3 bytes of data length; 4 of data, which repeat; the submission queue entry |
    private static let hostileHost = FuzzTarget(name: "TargetEngine", seeds: EngineScript.seeds, inputs: 4000) {
        bytes in
        guard let first = bytes.first else { return }
        let world = FuzzedTarget()
        if first & 1 == 1 { world.connect() }
        world.begin(withoutRoomFor: Int(first >> 1 & 3))
        var place = 1
        while place + EngineScript.stepBytes <= bytes.count, place < EngineScript.stepBytes * 64 {
            world.step(UnsafeRawBufferPointer(rebasing: bytes[place..<place + EngineScript.stepBytes]))
            place += EngineScript.stepBytes
        }
        world.end()
    }
}

/// Inputs that a well-behaved host could be.
enum EngineScript {
    static let stepBytes = 72

    static let seeds: [[UInt8]] = {
        let read = IOCommand.read(BlockCommand(startingLBA: 8, blockCount: 8))
        let io = [
            SubmissionEntry(read, nsid: 1, commandID: 1),
            SubmissionEntry(.write(BlockCommand(startingLBA: 0, blockCount: 8)), nsid: 1, commandID: 2),
            SubmissionEntry(.compare(BlockCommand(startingLBA: 0, blockCount: 8)), nsid: 1, commandID: 3),
            SubmissionEntry(
                .datasetManagement(DatasetManagementCommand(rangeCount: 2, attributes: .deallocate)), nsid: 1,
                commandID: 4),
            SubmissionEntry(
                .reservationRegister(ReservationRegisterCommand(.register)), nsid: 1, commandID: 5),
            SubmissionEntry(
                .reservationAcquire(ReservationAcquireCommand(.preempt, type: .writeExclusive)), nsid: 1, commandID: 6),
            SubmissionEntry(.flush, nsid: 1, commandID: 7),
        ]
        let admin = [
            SubmissionEntry(.identify(IdentifyCommand(.controller)), commandID: 1),
            SubmissionEntry(.getLogPage(GetLogPageCommand(.discovery, byteCount: 1024)), commandID: 2),
            SubmissionEntry(.setFeatures(SetFeaturesCommand(.numberOfQueues, value: 0x70007)), commandID: 3),
            SubmissionEntry(.asynchronousEventRequest, commandID: 4),
            SubmissionEntry(.keepAlive, commandID: 5),
            SubmissionEntry(.connect(ConnectCommand(queueID: 0, sqSize: 31)), commandID: 6),
            SubmissionEntry(.propertyGet(PropertyGetCommand(.status)), commandID: 7),
        ]
        return [
            [1] + io.flatMap { step(1 | 2 << 1, 4096, $0) } + admin.flatMap { step(0 | 2 << 1, 4096, $0) },
            [1] + io.flatMap { step(1 | 1 << 1, 4096, $0) }, [7] + io.flatMap { step(1 | 3 << 1, 512, $0) },
            [0] + admin.flatMap { step(0 | 1 << 1, 1024, $0) },
        ]
    }()

    private static func step(_ kind: UInt8, _ length: UInt32, _ entry: SubmissionEntry) -> [UInt8] {
        let size = withUnsafeBytes(of: length.littleEndian) { Array($0.prefix(3)) }
        return [kind] + size + [1, 0, 0, 0] + entry.wire
    }
}

extension SubmissionEntry {
    /// The 64 bytes that a host sends.
    var wire: [UInt8] {
        [UInt8](unsafeUninitializedCapacity: Self.byteCount) { buffer, count in
            if let place = buffer.baseAddress { store(to: UnsafeMutableRawPointer(place)) }
            count = Self.byteCount
        }
    }
}
