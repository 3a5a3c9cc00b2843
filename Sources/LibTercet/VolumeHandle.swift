import Base
import CTercet
import FabricInterface
import Glibc
import NVMeInitiator
import NVMeSpec
import Replication
import VolumeDriver

/// A replicated volume: three controllers and the engine that keeps them equal. Operations that are longer than the
/// engine takes are split here.
final class VolumeHandle: Handle {
    private let volume: Volume
    private let health: Health
    private let sink = Sink()
    private let operations: UnsafeMutablePointer<Operation>
    /// Slots with parts that have not been submitted, oldest first.
    private let waiting: UnsafeMutablePointer<Int32>
    private var waitingCount = 0
    private var partBytes = 1 << 20

    /// Parts of one operation that are under way at once: a long one leaves room for others.
    private static let partsAtOnce = 8

    private struct Operation {
        var kind = HostOperation.read
        var forceUnitAccess = false
        var lba: UInt64 = 0
        var length: UInt64 = 0
        /// Bytes submitted.
        var submitted: UInt64 = 0
        /// Parts under way.
        var parts = 0
        /// In the list of those with parts to submit.
        var isWaiting = false
        /// The first failure.
        var status = HostStatus.success
    }

    private final class Sink: VolumeSink {
        unowned(unsafe) var handle: VolumeHandle?
        override func completed(_ completions: UnsafeBufferPointer<HostCompletion>) { handle?.completed(completions) }
    }

    /// What the volume has told. The caller's thread writes and reads it: it drives the group.
    private final class Health: @unchecked Sendable {
        var phase = VolumePhase.detached
        var losses: UInt64 = 0
        var message = ""
        var failure: AttachError?
        var awaited = ""

        func take(_ event: VolumeEvent) {
            switch event {
            case .phase(let next): phase = next
            case .attachFailed(let error): failure = error
            case .notice(.memberLost(let member, let reason)):
                losses += 1
                message = "member \(member): lost (\(reason))"
            case .notice(.memberRefused(let member, let error)): message = "member \(member): \(error)"
            case .notice(.waitingFor(let members)): awaited = "\(members)"
            case .memberUnreachable(_, Volume.givenUp): break
            case .memberUnreachable(let member, let reason): message = "member \(member): \(reason)"
            case .notice: break
            }
        }
    }

    init(_ options: VolumeOpenOptions) throws(OpenFailure) {
        let group = try Handle.makeGroup()
        let memory = HandleMemory(depth: options.depth, pinnedBytesLimit: options.pinnedBytes)
        let deadline = MonotonicTime.now().advanced(byMilliseconds: options.attachTimeoutMilliseconds)
        let superblock: Superblock
        do throws(OpenFailure) { superblock = try VolumeHandle.find(options, group, deadline) } catch {
            group.close()
            throw error
        }
        let health = Health()
        self.health = health
        do {
            volume = try Volume(options.volume(superblock), group: group, hostMemory: memory) { health.take($0) }
        } catch {
            group.close()
            throw OpenFailure(code: -ENOMEM, message: "\(error)")
        }
        operations = .allocate(capacity: options.depth)
        operations.initialize(repeating: Operation(), count: options.depth)
        waiting = .allocate(capacity: options.depth)
        super.init(group: group, memory: memory, depth: options.depth)
        blockSize = Int(superblock.geometry.blockSize)
        do throws(OpenFailure) { try attach(deadline) } catch {
            _ = close()
            throw error
        }
        partBytes = Int(volume.longestTransferBlocks) * blockSize
        sink.handle = self
        volume.sink = sink
    }

    deinit {
        operations.deallocate()
        waiting.deallocate()
    }

    /// What the members that can be reached say, once no other host has the volume, or may be fenced.
    private static func survey(
        _ options: VolumeOpenOptions, _ group: InitiatorGroup, _ deadline: MonotonicTime
    ) throws(OpenFailure) -> [MemberSurvey] {
        let patience = MonotonicTime.now().advanced(byMilliseconds: VolumeOccupant.patienceMilliseconds)
        let end = min(patience, deadline)
        // Members are asked one after the other. Where each fails in one step, half of the time is left to attach.
        let share = options.attachTimeoutMilliseconds / UInt64(2 * memberCount)
        let step = min(MemberProbe.surveyStepMilliseconds, UInt32(clamping: max(share, 1)))
        while true {
            let surveys = Handle.wait(group) {
                await MemberProbe.survey(
                    options.members, hostNQN: options.hostNQN, hostID: options.hostID, group: group,
                    stepMilliseconds: step)
            }
            guard !options.takesOver, let occupant = VolumeOccupant(options.members, surveys.map(\.presentHosts)) else {
                return surveys
            }
            guard MonotonicTime.now() < end else {
                throw OpenFailure(code: -EBUSY, message: occupant.objection(consent: "set take_over"))
            }
            usleep(100_000)
        }
    }

    /// The newest record of the volume on members that can be reached.
    private static func find(
        _ options: VolumeOpenOptions, _ group: InitiatorGroup, _ deadline: MonotonicTime
    ) throws(OpenFailure) -> Superblock {
        let found = try survey(options, group, deadline).map(\.superblock)
        let records = found.compactMap { try? $0.get() }
        if let newest = records.max(by: { $0.stamp < $1.stamp }) { return newest }
        let problems = found.compactMap { result -> String? in
            if case .failure(let error) = result { return error.description }
            return nil
        }
        throw OpenFailure(code: -ENODEV, message: "no member can be read: " + problems.joined(separator: "; "))
    }

    private func attach(_ deadline: MonotonicTime) throws(OpenFailure) {
        guard MonotonicTime.now() < deadline else {
            throw OpenFailure(code: -ETIMEDOUT, message: "the members took all the time to say what they hold")
        }
        volume.attach(nonce: UInt32.random(in: 1...UInt32.max))
        while health.phase != .serving {
            if let failure = health.failure {
                throw OpenFailure(code: failure.errno, message: "the volume cannot be attached: \(failure.explanation)")
            }
            if MonotonicTime.now() >= deadline {
                let awaited = health.awaited.isEmpty ? "" : ": waiting for members \(health.awaited)"
                let last = health.message.isEmpty ? "" : " (\(health.message))"
                throw OpenFailure(code: -ETIMEDOUT, message: "the volume cannot be served yet\(awaited)\(last)")
            }
            if round() == 0 { usleep(20) }
        }
    }

    override var blockCount: UInt64 { volume.dataBlocks }

    override func end() -> Int32 {
        let deadline = MonotonicTime.now().advanced(byMilliseconds: 10_000)
        let wasServing = health.phase != .detached && health.phase != .deposed && health.phase != .attaching
        if wasServing { volume.detach() }
        while wasServing, health.phase != .detached, health.phase != .deposed, MonotonicTime.now() < deadline {
            if round() > 0 { continue }
            // Members were lost on the way, and have come back.
            if health.phase == .serving || health.phase == .suspended { volume.detach() }
            usleep(20)
        }
        let result = wasServing ? (health.phase == .detached ? 0 : -ETIMEDOUT) : 0
        let isDeposed = health.phase == .deposed
        volume.abandon()
        // Until nothing reaches memory any more: targets that do not answer are given the time that connections take.
        let limit = MonotonicTime.now().advanced(byMilliseconds: 10_000)
        while !volume.isDisconnected, MonotonicTime.now() < limit {
            if round() == 0 { usleep(20) }
        }
        return isDeposed ? -EBADE : result
    }

    override func fill(_ status: inout tercet_status) {
        let report = volume.currentStatus
        status.state =
            switch report.phase {
            case .serving, .detaching: TERCET_SERVING.rawValue
            case .attaching, .suspended, .recovering: TERCET_WAITING.rawValue
            case .deposed: TERCET_DEPOSED.rawValue
            case .detached: TERCET_LOST.rawValue
            }
        let regionSize = UInt64(volume.regionSize)
        let members = report.members.map { member in
            let isActive = member.phase == .active
            return tercet_member_status(
                state: (!isActive
                    ? TERCET_MEMBER_AWAY : member.isInSync ? TERCET_MEMBER_IN_SYNC : TERCET_MEMBER_BEHIND).rawValue,
                reserved: 0, behind_bytes: UInt64(member.behindRegions) * regionSize)
        }
        status.members = UInt32(members.count)
        status.member = (members[0], members[1], members[2])
        status.losses = health.losses
        copy(health.message, to: &status.message)
    }

    // MARK: Operations

    override func begin(_ io: borrowing tercet_io, _ slot: Int) -> Int32 {
        guard io.timeout_ms == 0 else { return -EINVAL }
        let mask = UInt64(blockSize - 1)
        let shift = UInt64(blockSize.trailingZeroBitCount)
        var operation = Operation()
        operation.forceUnitAccess = io.flags & UInt32(TERCET_FUA.rawValue) != 0
        switch tercet_opcode(rawValue: io.opcode) {
        case TERCET_READ: operation.kind = .read
        case TERCET_WRITE: operation.kind = .write
        case TERCET_FLUSH: operation.kind = .flush
        case TERCET_WRITE_ZEROES: operation.kind = .writeZeroes
        case TERCET_TRIM: operation.kind = .deallocate
        default: return -EINVAL
        }
        if operation.kind != .flush {
            guard io.offset & mask == 0, io.length & mask == 0, io.length > 0, io.length <= HandleMemory.longestNamed
            else { return -EINVAL }
            operation.lba = io.offset >> shift
            operation.length = io.length
            let (end, overflow) = operation.lba.addingReportingOverflow(io.length >> shift)
            if overflow || end > volume.dataBlocks {
                operations[slot] = operation
                conclude(slot, .outOfRange)
                return 0
            }
        }
        if operation.kind == .read || operation.kind == .write {
            guard let buffer = io.buffer else { return -EINVAL }
            guard
                memory.begin(
                    slot, buffer, Int(io.length), isIncoming: operation.kind == .read, device: volume.recentDevice)
            else { return -ENOMEM }
        }
        operation.isWaiting = true
        operations[slot] = operation
        waiting[waitingCount] = Int32(slot)
        waitingCount += 1
        return 0
    }

    override func advance() { _ = round() }

    /// One round: what was submitted leaves, and what has arrived is delivered.
    private func round() -> Int {
        if waitingCount > 0 { submitParts() }
        let now = MonotonicTime.now()
        let work = volume.poll(now: now) + group.poll(now: now)
        return work == 0 ? 0 : work + volume.poll(now: now)
    }

    /// Gives the engine parts of the operations that wait, as many as it takes.
    private func submitParts() {
        var kept = 0
        for position in 0..<waitingCount {
            let slot = Int(waiting[position])
            if !submitParts(of: slot) {
                waiting[kept] = Int32(slot)
                kept += 1
            }
        }
        waitingCount = kept
    }

    /// True when no part of the operation is left to submit.
    private func submitParts(of slot: Int) -> Bool {
        let operation = operations + slot
        let shift = UInt64(blockSize.trailingZeroBitCount)
        repeat {
            guard operation.pointee.status == .success else { break }
            guard operation.pointee.parts < Self.partsAtOnce else { return false }
            let offset = operation.pointee.submitted
            let bytes = min(operation.pointee.length - offset, UInt64(partBytes))
            let request = HostRequest(
                operation.pointee.kind, start: operation.pointee.lba + offset >> shift, count: bytes >> shift,
                buffer: HandleMemory.name(slot, offset: Int(offset)), cookie: UInt64(slot),
                forceUnitAccess: operation.pointee.forceUnitAccess)
            guard volume.submit(request) else { return false }
            operation.pointee.parts += 1
            operation.pointee.submitted += bytes
        } while operation.pointee.submitted < operation.pointee.length
        operation.pointee.isWaiting = false
        if operation.pointee.parts == 0 { conclude(slot, operation.pointee.status) }
        return true
    }

    private func completed(_ completions: UnsafeBufferPointer<HostCompletion>) {
        for completion in completions {
            let slot = Int(completion.cookie)
            let operation = operations + slot
            operation.pointee.parts -= 1
            // After a failure nothing more is submitted.
            if completion.status != .success { operation.pointee.status = completion.status }
            if operation.pointee.parts == 0, !operation.pointee.isWaiting { conclude(slot, operation.pointee.status) }
        }
    }

    private func conclude(_ slot: Int, _ status: HostStatus) {
        let isRead = operations[slot].kind == .read
        finish(
            slot, error: status.errno, status: status.nvmeStatus(isRead: isRead),
            outcome: status.outcome(isRead: isRead))
    }
}
