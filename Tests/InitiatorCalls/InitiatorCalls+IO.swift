import Base
import FabricInterface
import InitiatorTransport
import Memory
import NVMeInitiator
import NVMeSpec

extension InitiatorCalls {
    // MARK: What every target has

    static func inputAndOutput(_ calls: Calls, _ peer: Peer) async {
        let blockSize = peer.namespace.blockSize
        for bytes in [blockSize, 65536, 3 << 20] {
            await calls.check("Write and Read of \(bytes) bytes") {
                peer.fill(UInt8(truncatingIfNeeded: bytes / blockSize))
                let blocks = bytes / blockSize
                try await peer.succeed(peer.operation(.write, at: 16, UInt64(blocks), data: peer.write(0, blocks)))
                try await peer.succeed(peer.operation(.read, at: 16, UInt64(blocks), data: peer.read(0, blocks)))
                try expectEqual(peer, bytes)
            }
        }
        await calls.check("Write with FUA, and Flush") {
            try await peer.succeed(peer.operation(.write, at: 8, 8, data: peer.write(0, 8), flags: .forceUnitAccess))
            try await peer.succeed(peer.operation(.flush))
        }
        await calls.check("Write from scattered memory, and Read into it") {
            peer.fill(77)
            let pieces = [(0, 1), (16, 2), (40, 5), (64, 1)].map { ($0.0 * blockSize, $0.1) }
            let blocks = pieces.map(\.1).reduce(0, +)
            try await scattered(peer, .write, pieces.map { peer.write($0.0, $0.1) }, blocks)
            peer.incoming.memory.initializeMemory(as: UInt8.self, repeating: 0)
            try await scattered(peer, .read, pieces.map { peer.read($0.0, $0.1) }, blocks)
            for (offset, count) in pieces {
                let range = offset..<offset + count * blockSize
                try expect(peer.incoming.memory[range].elementsEqual(peer.outgoing.memory[range]), "at \(offset)")
            }
        }
        await calls.check("a Read beyond the end is refused with its status") {
            // Linux's target leaves the check to its block layer, which knows no error of its own for that.
            let isLinux = peer.identify.modelNumber.hasPrefix("Linux")
            try await peer.refused(
                peer.operation(.read, at: peer.namespace.blockCount, 1, data: peer.read(0, 1)),
                isLinux ? .internalError : .lbaOutOfRange)
        }
    }

    private static func expectEqual(_ peer: Peer, _ bytes: Int) throws {
        try expect(
            peer.incoming.memory[..<bytes].elementsEqual(peer.outgoing.memory[..<bytes]),
            "what was read is not what was written")
    }

    private static func scattered(_ peer: Peer, _ kind: IOKind, _ pieces: [IOSegment], _ blocks: Int) async throws {
        let segments = UnsafeMutableBufferPointer<IOSegment>.allocate(capacity: pieces.count)
        defer { segments.deallocate() }
        _ = segments.initialize(from: pieces)
        try await peer.succeed(
            IOOperation(
                kind, namespace: peer.namespace.index, startingLBA: 100, blockCount: UInt64(blocks),
                segments: UnsafeBufferPointer(segments)))
    }

    // MARK: What a target may have

    static func optionalCommands(_ calls: Calls, _ peer: Peer) async {
        let offered = peer.identify.nvmCommands
        func says(_ isOffered: Bool, _ name: String) -> String {
            isOffered ? name : "\(name): not there, and refused as such"
        }
        let hasCompare = offered.contains(.compare)
        await calls.check(says(hasCompare, "Compare, equal and different")) {
            peer.fill(1)
            try await peer.succeed(peer.operation(.write, at: 200, 8, data: peer.write(0, 8)))
            try await peer.succeedIf(hasCompare, peer.operation(.compare, at: 200, 8, data: peer.write(0, 8)))
            if hasCompare {
                try await peer.refused(
                    peer.operation(.compare, at: 200, 8, data: peer.write(4096 * 8 + 512, 8)), .compareFailure)
            }
        }
        let hasFused = peer.identify.fusedOperations & 1 != 0
        await calls.check(hasFused ? "fused Compare and Write" : "fused Compare and Write: not there, and not done") {
            peer.fill(2)
            try await peer.succeed(peer.operation(.write, at: 220, 1, data: peer.write(0, 1)))
            let swap = peer.operation(.compareAndWrite, at: 220, 1, data: peer.write(0, 1), second: peer.write(8192, 1))
            let completion = await peer.queue.perform(swap)
            if hasFused {
                try expect(completion.outcome == .surelyDone, "\(completion.outcome)")
                try expect(completion.status.isSuccess, "\(completion.status)")
            } else {
                try peer.expectUnsupported(completion)
            }
            try await peer.succeed(peer.operation(.read, at: 220, 1, data: peer.read(0, 1)))
            let start = hasFused ? 8192 : 0
            let size = peer.namespace.blockSize
            try expect(
                peer.incoming.memory[..<size].elementsEqual(peer.outgoing.memory[start..<start + size]),
                "the block's content")
            // The block holds something else now: it stays.
            if hasFused { try await peer.refused(swap, .compareFailure) }
        }
        let hasZeroes = offered.contains(.writeZeroes)
        await calls.check(says(hasZeroes, "Write Zeroes")) {
            try await peer.succeed(peer.operation(.write, at: 240, 16, data: peer.write(0, 16)))
            try await peer.succeedIf(hasZeroes, peer.operation(.writeZeroes, at: 240, 16))
            try await peer.succeed(peer.operation(.read, at: 240, 16, data: peer.read(0, 16)))
            let bytes = 16 * peer.namespace.blockSize
            try expect(peer.incoming.memory[..<bytes].allSatisfy { $0 == 0 } == hasZeroes, "the content")
        }
        let hasVerify = offered.contains(.verify)
        await calls.check(says(hasVerify, "Verify")) {
            try await peer.succeedIf(hasVerify, peer.operation(.verify, at: 240, 16))
        }
        let hasManagement = offered.contains(.datasetManagement)
        await calls.check(says(hasManagement, "Dataset Management of two ranges")) {
            let start = peer.outgoing.memory.baseAddress!
            DatasetManagementRange(startingLBA: 240, blockCount: 16).store(to: start)
            DatasetManagementRange(startingLBA: 300, blockCount: 8).store(to: start + DatasetManagementRange.byteCount)
            var ranges = peer.write(0, 1)
            ranges.length = 2 * DatasetManagementRange.byteCount
            try await peer.succeedIf(hasManagement, peer.operation(.deallocate, 2, data: ranges))
        }
    }

    // MARK: Reservations

    static func reservations(
        _ calls: Calls, _ first: Peer, _ address: SocketAddress, _ nqn: String, _ group: InitiatorGroup
    ) async {
        let nsid = first.namespace.nsid
        let type = ReservationType.writeExclusiveRegistrantsOnly
        let isOffered = first.identify.nvmCommands.contains(.reservations)
        guard isOffered else {
            return await calls.check("reservations: not there, and refused as such") {
                let report = try await refusal { () async throws(InitiatorError) in
                    try await first.controller.reservationReport(nsid: nsid)
                }
                try expect(report.matches(.invalidOpcode), "Report: \(report)")
                let register = try await refusal { () async throws(InitiatorError) in
                    try await first.controller.registerReservation(
                        nsid: nsid, ReservationRegisterCommand(.register), currentKey: 0, newKey: 1)
                }
                try expect(register.matches(.invalidOpcode), "Register: \(register)")
            }
        }
        await calls.check("reservations: register, acquire, conflict, report, preempt and abort, release") {
            let second = try await Peer(
                address, nqn, host: UUIDBytes(high: 0x6d1a_6a1e_0000_4000, low: 0x8000_0000_0000_0022), queues: 1,
                group: group)
            let write = first.operation(.write, at: 16, 1, data: first.write(0, 1))
            let otherWrite = second.operation(.write, at: 16, 1, data: second.write(0, 1))
            try await first.controller.registerReservation(
                nsid: nsid, ReservationRegisterCommand(.register), currentKey: 0, newKey: 11)
            try await first.controller.acquireReservation(
                nsid: nsid, ReservationAcquireCommand(.acquire, type: type), currentKey: 11)
            try await second.refused(otherWrite, .reservationConflict)
            try await first.succeed(write)
            let report = try await second.controller.reservationReport(nsid: nsid)
            try expect(
                report.type == type && report.registrants.map(\.key) == [11] && report.registrants[0].holdsReservation
                    && report.registrants[0].hostID == first.controller.options.hostID, "\(report)")
            try await second.controller.registerReservation(
                nsid: nsid, ReservationRegisterCommand(.register), currentKey: 0, newKey: 22)
            try await second.succeed(otherWrite)
            try await second.controller.acquireReservation(
                nsid: nsid, ReservationAcquireCommand(.preemptAndAbort, type: type), currentKey: 22, preemptKey: 11)
            try await first.refused(write, .reservationConflict)
            try await second.controller.releaseReservation(
                nsid: nsid, ReservationReleaseCommand(.release, type: type), currentKey: 22)
            try await second.controller.registerReservation(
                nsid: nsid, ReservationRegisterCommand(.unregister), currentKey: 22, newKey: 0)
            try await first.succeed(write)
            await second.controller.close()
        }
    }
}
