import Base
import CTercet
import FabricInterface
import Glibc
import InitiatorTransport
import NVMeInitiator
import NVMeSpec
import RDMATransport

/// A namespace: one controller with one I/O queue.
final class NamespaceHandle: Handle {
    private let controller: Controller
    private let queue: IOQueue
    private let health: Health
    private let sink = Sink()
    private var namespace = 0
    private var nsid: UInt32 = 0
    /// Ranges of Dataset Management, one for each slot.
    private var ranges: UnsafeMutableRawPointer?
    /// The device of the queue's connection, as the queue and as `memory` number it.
    private var queueDevice: Int?
    private var device = 0

    private final class Sink: CompletionSink {
        unowned(unsafe) var handle: NamespaceHandle?
        override func completed(_ completions: UnsafeBufferPointer<IOCompletion>) { handle?.completed(completions) }
    }

    /// The controller's last news.
    private final class Health: @unchecked Sendable {
        // Unchecked: the caller's thread alone uses it: it drives the group.
        var losses: UInt64 = 0
        var message = ""
        var isLost = false

        func take(_ event: ControllerEvent) {
            switch event {
            case .disconnected(_, let reason):
                losses += 1
                message = reason
            case .reconnectFailed(let error, _): message = "\(error)"
            case .lost(let error):
                message = "\(error)"
                isLost = true
            default: break
            }
        }
    }

    init(_ options: OpenOptions) throws(OpenFailure) {
        let group = try Handle.makeGroup(options.keys)
        let health = Health()
        self.health = health
        let controller = Controller(options.controller, home: group, groups: [group]) { health.take($0) }
        self.controller = controller
        queue = controller.queues[0]
        super.init(
            group: group, memory: HandleMemory(depth: options.depth, pinnedBytesLimit: options.pinnedBytes),
            depth: options.depth)
        do throws(OpenFailure) { try connect(options.nsid) } catch {
            _ = close()
            throw error
        }
        sink.handle = self
        queue.sink = sink
    }

    private func connect(_ wanted: UInt32?) throws(OpenFailure) {
        let controller = controller
        let failure: InitiatorError? = Handle.wait(group) { () async -> InitiatorError? in
            do throws(InitiatorError) {
                try await controller.connect()
                return nil
            } catch { return error }
        }
        if let failure { throw OpenFailure(code: failure.errno, message: failure.description) }
        let found = try find(wanted)
        namespace = found.index
        nsid = found.nsid
        blockSize = found.blockSize
        guard findDevice() else { throw OpenFailure(code: -ECONNRESET, message: "the connection was lost at once") }
        ranges = memory.allocate(depth * DatasetManagementRange.byteCount)
        guard ranges != nil else { throw OpenFailure(code: -ENOMEM, message: "no memory can be registered") }
    }

    private func find(_ nsid: UInt32?) throws(OpenFailure) -> NamespaceDescription {
        let known = controller.namespaces
        guard nsid != nil || known.count == 1 else {
            throw OpenFailure(code: -EINVAL, message: "the subsystem shows \(known.count) namespaces: which one?")
        }
        guard let found = nsid == nil ? known[0] : known.first(where: { $0.nsid == nsid }) else {
            throw OpenFailure(code: -ENXIO, message: "no namespace \(nsid ?? 0)")
        }
        if let problem = found.problem { throw OpenFailure(code: -ENOTSUP, message: problem) }
        return found
    }

    /// Learns which device the queue's connection is on. False where there is none, or memory cannot be registered with it.
    private func findDevice() -> Bool {
        guard let context = queue.device?.context, let number = try? memory.device(context) else { return false }
        device = number
        queueDevice = queue.deviceNumber
        return true
    }

    override var blockCount: UInt64 { controller.namespaces.first { $0.nsid == nsid }?.blockCount ?? 0 }

    override func end() -> Int32 {
        let controller = controller
        Handle.wait(group) { await controller.close() }
        return 0
    }

    override func fill(_ status: inout tercet_status) {
        let isConnected = controller.association != nil
        status.state = (health.isLost ? TERCET_LOST : isConnected ? TERCET_SERVING : TERCET_WAITING).rawValue
        status.members = 1
        status.member.0.state = (isConnected ? TERCET_MEMBER_IN_SYNC : TERCET_MEMBER_AWAY).rawValue
        status.losses = health.losses
        copy(health.message, to: &status.message)
    }

    // MARK: Operations

    override func begin(_ io: borrowing tercet_io, _ slot: Int) -> Int32 {
        if _slowPath(queue.deviceNumber != queueDevice), !findDevice() { return -ENOTCONN }
        let mask = UInt64(blockSize - 1)
        let (offset, length) = (io.offset, io.length)
        guard offset & mask == 0, length & mask == 0, length <= UInt64(Int.max) else { return -EINVAL }
        let shift = UInt64(blockSize.trailingZeroBitCount)
        let (lba, blocks) = (offset >> shift, length >> shift)
        let flags: IOFlags = io.flags & UInt32(TERCET_FUA.rawValue) != 0 ? .forceUnitAccess : []
        var operation = IOOperation(
            .flush, namespace: namespace, startingLBA: lba, blockCount: blocks, flags: flags, tag: UInt64(slot),
            timeoutMilliseconds: io.timeout_ms)
        switch tercet_opcode(rawValue: io.opcode) {
        case TERCET_READ, TERCET_WRITE:
            let isRead = io.opcode == TERCET_READ.rawValue
            guard length > 0, let buffer = io.buffer else { return -EINVAL }
            guard memory.begin(slot, buffer, Int(length), isIncoming: isRead, device: device) else { return -ENOMEM }
            operation.kind = isRead ? .read : .write
            operation.data = memory.segment(
                slot, offset: 0, length: Int(length), isIncoming: isRead, device: device)
        case TERCET_FLUSH:
            operation.startingLBA = 0
            operation.blockCount = 0
        case TERCET_WRITE_ZEROES: operation.kind = .writeZeroes
        case TERCET_TRIM:
            guard blocks > 0, blocks <= UInt64(UInt32.max), let ranges else { return -EINVAL }
            let place = ranges + slot * DatasetManagementRange.byteCount
            DatasetManagementRange(startingLBA: lba, blockCount: UInt32(blocks)).store(to: place)
            guard memory.begin(slot, place, DatasetManagementRange.byteCount, isIncoming: false, device: device) else {
                return -ENOMEM
            }
            operation.kind = .deallocate
            operation.startingLBA = 0
            operation.blockCount = 1
            operation.data = memory.segment(
                slot, offset: 0, length: DatasetManagementRange.byteCount, isIncoming: false, device: device)
        default: return -EINVAL
        }
        return switch queue.submit(operation) {
        case .accepted: 0
        case .full: -EAGAIN
        case .notConnected: -ENOTCONN
        case .invalid: -EINVAL
        case .unsupported: -EOPNOTSUPP
        }
    }

    override func advance() { _ = group.poll(now: .now()) }

    private func completed(_ completions: UnsafeBufferPointer<IOCompletion>) {
        for completion in completions {
            finish(
                Int(completion.tag), error: completion.errno,
                status: completion.outcome == .surelyDone ? completion.status.rawValue : 0, outcome: completion.outcome)
        }
    }
}
