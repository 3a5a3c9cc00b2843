import Base
import Fuzzing
import NVMeSpec

extension FuzzTarget {
    /// Submission and completion queue entries, and SGL descriptors.
    static var entries: [FuzzTarget] {
        let read = IOCommand.read(BlockCommand(startingLBA: 8, blockCount: 8, flags: .forceUnitAccess))
        let keyed = SGLDescriptor.keyed(address: 0x1000, length: 4096, key: 7, invalidate: true)
        let commands = [
            SubmissionEntry(read, nsid: 1, commandID: 1, data: keyed),
            SubmissionEntry(
                .datasetManagement(DatasetManagementCommand(rangeCount: 3, attributes: .deallocate)), nsid: 1,
                commandID: 2, data: .inCapsule(offset: 0, length: 48)),
            SubmissionEntry(
                .reservationAcquire(ReservationAcquireCommand(.preempt, type: .writeExclusive)), nsid: 1, commandID: 3),
            SubmissionEntry(.connect(ConnectCommand(queueID: 1, sqSize: 127)), commandID: 4, data: keyed),
            SubmissionEntry(.propertySet(PropertySetCommand(.configuration, value: 0x460001)), commandID: 5),
            SubmissionEntry(.getLogPage(GetLogPageCommand(.discovery, byteCount: 1024)), commandID: 6, data: keyed),
            SubmissionEntry(.setFeatures(SetFeaturesCommand(.numberOfQueues, value: 0x70007)), commandID: 7),
            SubmissionEntry(.namespaceManagement(NamespaceManagementCommand(.create)), commandID: 8, data: keyed),
            SubmissionEntry(
                .namespaceAttachment(NamespaceAttachmentCommand(.detach)), nsid: 1, commandID: 9, data: keyed),
            SubmissionEntry(
                .namespaceGrowth(NamespaceGrowthCommand(blockCount: 1 << 40 + 1)), nsid: 1, commandID: 10),
        ]
        return [
            FuzzTarget(name: "SubmissionEntry", seeds: commands.map(bytes), run: submissionEntry),
            FuzzTarget(
                name: "CompletionEntry", seeds: [[UInt8](repeating: 0, count: 14) + [0x04, 0x80]], run: completionEntry),
            FuzzTarget(
                name: "SGLDescriptor",
                seeds: [SGLDescriptor.none, keyed, .lastSegmentInCapsule(offset: 0, length: 32)].map(bytes),
                run: descriptor),
            FuzzTarget(name: "DatasetManagementRange", seeds: [[UInt8](repeating: 1, count: 16)]) { bytes in
                guard let base = bytes.baseAddress, bytes.count >= DatasetManagementRange.byteCount else { return }
                withUnsafeTemporaryAllocation(byteCount: DatasetManagementRange.byteCount, alignment: 8) { copy in
                    guard let target = copy.baseAddress else { return }
                    DatasetManagementRange(from: base).store(to: target)
                    invariant(copy.elementsEqual(bytes.prefix(copy.count)), "a range keeps all its bytes")
                }
            },
        ]
    }

    private static func submissionEntry(_ bytes: UnsafeRawBufferPointer) {
        guard let base = bytes.baseAddress, bytes.count >= SubmissionEntry.byteCount else { return }
        let entry = SubmissionEntry(from: base)
        invariant(self.bytes(entry).elementsEqual(bytes.prefix(64)), "an entry keeps all its bytes")
        checkDescriptor(entry.dataPointer)
        let fabrics = FabricsCommand(entry)
        if case .invalid(let status) = fabrics {
            invariant(!status.isSuccess, "an invalid command has a status")
        } else {
            let again = SubmissionEntry(fabrics, commandID: entry.commandID)
            invariant(FabricsCommand(again) == fabrics, "encoding keeps a Fabrics command")
            invariant(again.sendsData == entry.sendsData, "encoding keeps the direction")
        }
        let admin = AdminCommand(entry)
        if case .invalid(let status) = admin {
            invariant(!status.isSuccess, "an invalid command has a status")
        } else {
            let again = SubmissionEntry(admin, nsid: entry.nsid, commandID: entry.commandID)
            invariant(AdminCommand(again) == admin && again.opcode == entry.opcode, "encoding keeps an admin command")
        }
        let io = IOCommand(entry)
        if case .invalid(let status) = io {
            invariant(!status.isSuccess, "an invalid command has a status")
        } else {
            let again = SubmissionEntry(io, nsid: entry.nsid, commandID: entry.commandID, fused: entry.fusedOperation)
            invariant(IOCommand(again) == io && again.opcode == entry.opcode, "encoding keeps an I/O command")
            invariant(again.fusedOperation == entry.fusedOperation, "encoding keeps the fused operation")
        }
        invariant((1...65536).contains(entry.blockCount), "NLB is 0-based")
    }

    private static func completionEntry(_ bytes: UnsafeRawBufferPointer) {
        guard let base = bytes.baseAddress, bytes.count >= CompletionEntry.byteCount else { return }
        let entry = CompletionEntry(from: base)
        invariant(!entry.status.description.isEmpty, "a status can be described")
        invariant(entry.status.description(isFabrics: true).utf8.count > 3, "a status can be described")
        let event = AsyncEvent(dword0: entry.dword0)
        invariant(AsyncEvent(dword0: event.dword0) == event, "encoding keeps an event")
        invariant(ConnectResult(rawValue: entry.dword0).controllerID == UInt16(entry.dword0 & 0xFFFF), "CNTLID is low")
        withUnsafeTemporaryAllocation(byteCount: CompletionEntry.byteCount, alignment: 8) { copy in
            guard let target = copy.baseAddress else { return }
            entry.store(to: target)
            invariant(CompletionEntry(from: target) == entry, "an entry keeps its fields")
            invariant(copy.prefix(14).elementsEqual(bytes.prefix(14)), "an entry keeps all but the phase tag")
        }
    }

    private static func descriptor(_ bytes: UnsafeRawBufferPointer) {
        guard let base = bytes.baseAddress, bytes.count >= SGLDescriptor.byteCount else { return }
        checkDescriptor(SGLDescriptor.Bytes(from: base))
    }

    private static func checkDescriptor(_ bytes: SGLDescriptor.Bytes) {
        let descriptor = SGLDescriptor(bytes)
        switch descriptor {
        case .none: break
        case .keyed(_, let length, _, _): invariant((1...SGLDescriptor.maxKeyedLength).contains(length), "24 bits")
        case .inCapsule(_, let length): invariant(length > 0, "no data is none")
        case .lastSegmentInCapsule(_, let length): invariant(length >= 16 && length % 16 == 0, "whole descriptors")
        case .invalid(let status):
            invariant(!status.isSuccess, "an invalid descriptor has a status")
            return
        }
        invariant(SGLDescriptor(descriptor.bytes) == descriptor, "encoding keeps a descriptor")
    }

    private static func bytes(_ entry: SubmissionEntry) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: SubmissionEntry.byteCount) { buffer, count in
            if let base = UnsafeMutableRawPointer(buffer.baseAddress) { entry.store(to: base) }
            count = SubmissionEntry.byteCount
        }
    }

    private static func bytes(_ descriptor: SGLDescriptor) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: SGLDescriptor.byteCount) { buffer, count in
            if let base = UnsafeMutableRawPointer(buffer.baseAddress) { descriptor.store(to: base) }
            count = SGLDescriptor.byteCount
        }
    }
}
