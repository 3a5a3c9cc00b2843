import Base
import BlockInterface
import CTercet
import Glibc
import NVMeInitiator
import Reactor
import Replication
import VolumeDriver

/// A replicated volume: its attachment, and its I/O in the caller's memory.
final class VolumeHandle: Handle, VolumeIOSink {
    private let attachment: VolumeAttachment
    private let volume: Volume
    private let io: VolumeIO
    private let rounds: Rounds
    /// Whether the operation in a slot is a read, for its completion.
    private let reads: UnsafeMutablePointer<Bool>

    /// Polls the group, and behind it the volume once it is there. On the caller's thread, which drives both.
    private final class Rounds: PollerHost, @unchecked Sendable {
        // Unchecked: the caller's thread alone uses it.
        private let group: InitiatorGroup
        private var volume: Poller?

        init(_ group: InitiatorGroup) { self.group = group }

        func add(_ poller: Poller) { volume = poller }

        func remove(_ poller: Poller) { volume = nil }

        func next() -> Int {
            let now = MonotonicTime.now()
            return group.poll(now: now) + (volume?.poll(now: now) ?? 0)
        }
    }

    init(_ options: VolumeOpenOptions) throws(OpenFailure) {
        let group = try Handle.makeGroup(options.keys)
        let memory = HandleMemory(depth: options.depth, pinnedBytesLimit: options.pinnedBytes)
        let rounds = Rounds(group)
        let opened = Handle.wait(group, rounds.next) { () async -> Result<VolumeAttachment, VolumeError> in
            do throws(VolumeError) {
                return .success(
                    try await VolumeAttachment.open(
                        options.attachment, group: group, hostMemory: memory, host: rounds))
            } catch {
                return .failure(error)
            }
        }
        do throws(VolumeError) { attachment = try opened.get() } catch {
            group.close()
            throw OpenFailure(error)
        }
        volume = attachment.volume
        io = VolumeIO(volume, depth: options.depth)
        self.rounds = rounds
        reads = .allocate(capacity: options.depth)
        reads.initialize(repeating: false, count: options.depth)
        super.init(group: group, memory: memory, depth: options.depth)
        blockSize = Int(attachment.superblock.geometry.blockSize)
        io.sink = self
    }

    deinit { reads.deallocate() }

    override var blockCount: UInt64 { volume.dataBlocks }

    override func end() -> Int32 {
        io.sink = nil
        let attachment = attachment
        let failure = Handle.wait(group, rounds.next) { () async -> VolumeError? in
            do throws(VolumeError) { try await attachment.detach() } catch { return error }
            return nil
        }
        switch failure?.code {
        case nil: return 0
        case .deposed: return -EBADE
        default: return -ETIMEDOUT
        }
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
        status.losses = attachment.losses
        copy(attachment.lastProblem, to: &status.message)
    }

    // MARK: Operations

    override func begin(_ io: borrowing tercet_io, _ slot: Int) -> Int32 {
        guard io.timeout_ms == 0 else { return -EINVAL }
        let operation: BlockOperation
        switch tercet_opcode(rawValue: io.opcode) {
        case TERCET_READ: operation = .read
        case TERCET_WRITE: operation = .write
        case TERCET_FLUSH: operation = .flush
        case TERCET_WRITE_ZEROES: operation = .writeZeroes
        case TERCET_TRIM: operation = .deallocate
        default: return -EINVAL
        }
        var request = BlockRequest(
            tag: UInt64(slot), operation: operation,
            flags: io.flags & UInt32(TERCET_FUA.rawValue) != 0 ? .forceUnitAccess : [])
        if operation != .flush {
            guard (io.offset | io.length) & UInt64(blockSize - 1) == 0, io.length > 0,
                io.length <= HandleMemory.longestNamed
            else { return -EINVAL }
            request.offset = io.offset
            request.length = io.length
        }
        if operation == .read || operation == .write {
            guard let buffer = io.buffer else { return -EINVAL }
            // An operation beyond the end uses no memory.
            let (end, overflow) = io.offset.addingReportingOverflow(io.length)
            if !overflow, end <= volume.byteCount {
                guard
                    memory.begin(
                        slot, buffer, Int(io.length), isIncoming: operation == .read, device: volume.recentDevice)
                else { return -ENOMEM }
            }
            request.buffer = UnsafeMutableRawPointer(bitPattern: UInt(HandleMemory.name(slot, offset: 0)))
        }
        reads[slot] = operation == .read
        return self.io.submit(request) ? 0 : -EAGAIN
    }

    override func advance() {
        let now = MonotonicTime.now()
        let work = volume.poll(now: now) + group.poll(now: now)
        if work > 0 { _ = volume.poll(now: now) }
    }

    func completed(_ completions: UnsafeBufferPointer<BlockCompletion>) {
        for completion in completions {
            let slot = Int(completion.tag)
            if _fastPath(completion.status == .success) {
                finish(slot, error: 0, status: 0, outcome: .surelyDone)
            } else {
                finish(
                    slot, error: completion.status.errno, status: completion.status.nvmeStatus(isRead: reads[slot]),
                    outcome: completion.status.outcome(isRead: reads[slot]))
            }
        }
    }
}
