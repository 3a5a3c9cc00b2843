import Base
import CTercet
import FabricInterface
import Glibc
import Memory
import NVMeInitiator
import NVMeSpec
import VerbsFabric

/// What `struct tercet` stands for: one controller with one I/O queue, driven by its caller's thread.
final class NamespaceHandle {
    let blockSize: Int
    private(set) var blockCount: UInt64
    private let group: InitiatorGroup
    private let controller: Controller
    private let queue: IOQueue
    private let namespace: Int
    private let sink = Sink()
    private let context: FabricContext
    private let cache: RegistrationCache
    private let front: RegistrationFront
    private var arenas: [(arena: RegisteredArena, region: MemoryRegion)] = []
    private let ranges: RegisteredArena
    private let rangesRegion: MemoryRegion
    private let slots: UnsafeMutablePointer<Slot>
    private let free: UnsafeMutablePointer<Int32>
    private let freeCount: UnsafeMutablePointer<Int>
    private let depth: Int

    struct Slot {
        var userData: UnsafeMutableRawPointer?
        var registration: Registration?
    }

    /// Keeps the completions of a round until the caller takes them.
    private final class Sink: CompletionSink {
        var finished: UnsafeMutablePointer<IOCompletion>! = nil
        var count = 0
        override func completed(_ completions: UnsafeBufferPointer<IOCompletion>) {
            for completion in completions {
                finished[count] = completion
                count += 1
            }
        }
    }

    init(_ options: OpenOptions) throws(OpenFailure) {
        do {
            group = InitiatorGroup(
                fabric: try VerbsFabric.open(), options: InitiatorGroupOptions(completionEntries: 4096))
        } catch { throw OpenFailure(code: -ENODEV, message: "\(error)") }
        let opened = Controller(options.controller, home: group, groups: [group])
        controller = opened
        queue = opened.queues[0]
        depth = options.depth
        let failure: InitiatorError? = NamespaceHandle.wait(group) { () async -> InitiatorError? in
            do throws(InitiatorError) {
                try await opened.connect()
                return nil
            } catch { return error }
        }
        if let failure {
            group.close()
            throw OpenFailure(code: failure.errno, message: failure.description)
        }
        do throws(OpenFailure) {
            let found = try NamespaceHandle.find(options.nsid, opened)
            namespace = found.index
            blockSize = found.blockSize
            blockCount = found.blockCount
            guard let device = queue.context else {
                throw OpenFailure(code: -ECONNRESET, message: "the connection was lost at once")
            }
            context = device
            do {
                ranges = try RegisteredArena(bytes: depth * DatasetManagementRange.byteCount)
                rangesRegion = try ranges.register(with: device, access: [.remoteRead])
            } catch { throw OpenFailure(code: -ENOMEM, message: "\(error)") }
        } catch {
            NamespaceHandle.wait(group) { await opened.close() }
            group.close()
            throw error
        }
        cache = RegistrationCache(context, pinnedBytesLimit: options.pinnedBytes)
        front = cache.makeFront()
        slots = .allocate(capacity: depth)
        slots.initialize(repeating: Slot(), count: depth)
        free = .allocate(capacity: depth)
        for index in 0..<depth { free[index] = Int32(depth - 1 - index) }
        freeCount = .allocate(capacity: 1)
        freeCount.initialize(to: depth)
        sink.finished = .allocate(capacity: depth)
        queue.sink = sink
    }

    deinit {
        slots.deallocate()
        free.deallocate()
        freeCount.deallocate()
        sink.finished.deallocate()
    }

    private static func find(_ nsid: UInt32?, _ controller: Controller) throws(OpenFailure) -> NamespaceDescription {
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

    /// Drives the group until a control call has ended.
    @discardableResult
    private static func wait<Value: Sendable>(
        _ group: InitiatorGroup, _ body: @escaping @Sendable () async -> Value
    ) -> Value {
        let result = Holder<Value>()
        group.spawn { result.value = await body() }
        while true {
            let work = group.poll(now: .now())
            if let value = result.value { return value }
            // Control calls take milliseconds; the peer may need this processor for its answer.
            if work == 0 { usleep(20) }
        }
    }

    /// What a task leaves for the thread that drives it.
    private final class Holder<Value>: @unchecked Sendable {
        var value: Value?
    }

    func close() {
        let controller = controller
        NamespaceHandle.wait(group) { await controller.close() }
        for index in 0..<depth { releaseRegistration(index) }
        arenas = []
        group.close()
    }

    // MARK: Memory

    func allocate(_ bytes: Int) -> UnsafeMutableRawPointer? {
        guard bytes > 0, let arena = try? RegisteredArena(bytes: bytes),
            let region = try? arena.register(with: context, access: [.localWrite, .remoteRead, .remoteWrite])
        else { return nil }
        arenas.append((arena, region))
        return arena.memory.baseAddress
    }

    func free(_ memory: UnsafeMutableRawPointer) { arenas.removeAll { $0.arena.memory.baseAddress == memory } }

    func invalidate(_ memory: UnsafeRawBufferPointer) { cache.invalidate(memory) }

    /// The keys of memory: of its arena, or of a registration that the slot holds until the operation ends.
    @inline(__always)
    private func segment(
        _ memory: UnsafeMutableRawPointer, _ length: Int, isRead: Bool, _ slot: Int
    ) -> IOSegment? {
        for (arena, region) in arenas where arena.memory.baseAddress! <= memory {
            guard memory - arena.memory.baseAddress! <= arena.memory.count - length else { continue }
            return IOSegment(
                address: memory, length: length, localKey: region.localKey, remoteKey: region.remoteKey)
        }
        let access: MemoryAccess = isRead ? [.localWrite, .remoteWrite] : [.remoteRead]
        do throws(FabricError) {
            let registration = try front.acquire(memory, length: length, access: access)
            slots[slot].registration = registration
            return IOSegment(
                address: memory, length: length, localKey: registration.localKey, remoteKey: registration.remoteKey)
        } catch { return nil }
    }

    @inline(__always)
    private func releaseRegistration(_ slot: Int) {
        if let registration = slots[slot].registration { front.release(registration) }
        slots[slot].registration = nil
    }

    // MARK: Operations

    func submit(_ io: UnsafePointer<tercet_io>) -> Int32 {
        guard freeCount.pointee > 0 else { return -EAGAIN }
        // The caller may have done other things since its last poll.
        if freeCount.pointee == depth { group.advance(to: .now()) }
        let slot = Int(free[freeCount.pointee - 1])
        guard let operation = operation(io, slot) else {
            releaseRegistration(slot)
            return -EINVAL
        }
        switch queue.submit(operation) {
        case .accepted:
            slots[slot].userData = io.pointee.user_data
            freeCount.pointee -= 1
            return 0
        case .full:
            releaseRegistration(slot)
            return -EAGAIN
        case .notConnected:
            releaseRegistration(slot)
            return -ENOTCONN
        case .invalid:
            releaseRegistration(slot)
            return -EINVAL
        }
    }

    @inline(__always)
    private func operation(_ io: UnsafePointer<tercet_io>, _ slot: Int) -> IOOperation? {
        let tag = UInt64(slot)
        let mask = UInt64(blockSize - 1)
        let (offset, length) = (io.pointee.offset, io.pointee.length)
        guard offset & mask == 0, length & mask == 0, length <= UInt64(Int.max) else { return nil }
        let shift = UInt64(blockSize.trailingZeroBitCount)
        let (lba, blocks) = (offset >> shift, length >> shift)
        let flags: IOFlags = io.pointee.flags & UInt32(TERCET_FUA.rawValue) != 0 ? .forceUnitAccess : []
        switch tercet_opcode(rawValue: io.pointee.opcode) {
        case TERCET_READ, TERCET_WRITE:
            let isRead = io.pointee.opcode == TERCET_READ.rawValue
            guard length > 0, let buffer = io.pointee.buffer,
                let data = segment(buffer, Int(length), isRead: isRead, slot)
            else { return nil }
            return IOOperation(
                isRead ? .read : .write, namespace: namespace, startingLBA: lba, blockCount: blocks, data: data,
                flags: flags, tag: tag)
        case TERCET_FLUSH: return IOOperation(.flush, namespace: namespace, tag: tag)
        case TERCET_WRITE_ZEROES:
            return IOOperation(
                .writeZeroes, namespace: namespace, startingLBA: lba, blockCount: blocks, flags: flags, tag: tag)
        case TERCET_TRIM:
            guard blocks <= UInt64(UInt32.max) else { return nil }
            let place = ranges.memory.baseAddress! + slot * DatasetManagementRange.byteCount
            DatasetManagementRange(startingLBA: lba, blockCount: UInt32(blocks)).store(to: place)
            return IOOperation(
                .deallocate, namespace: namespace, blockCount: 1,
                data: IOSegment(
                    address: place, length: DatasetManagementRange.byteCount, localKey: rangesRegion.localKey,
                    remoteKey: rangesRegion.remoteKey), tag: tag)
        default: return nil
        }
    }

    func poll(_ completions: UnsafeMutableBufferPointer<tercet_completion>) -> Int32 {
        if sink.count == 0 { _ = group.poll(now: .now()) }
        let count = min(sink.count, completions.count)
        for index in 0..<count {
            let completion = sink.finished[index]
            let slot = Int(completion.tag)
            releaseRegistration(slot)
            completions[index] = tercet_completion(
                user_data: slots[slot].userData, error: completion.errno, status: completion.status.rawValue,
                outcome: completion.outcome.code)
            free[freeCount.pointee] = Int32(slot)
            freeCount.pointee += 1
        }
        // What did not fit goes to the front for the next call.
        for index in count..<sink.count { sink.finished[index - count] = sink.finished[index] }
        sink.count -= count
        return Int32(count)
    }
}

extension IOOutcome {
    /// `enum tercet_outcome`.
    @inline(__always) var code: UInt16 {
        switch self {
        case .surelyDone: UInt16(TERCET_DONE.rawValue)
        case .surelyNotDone: UInt16(TERCET_NOT_DONE.rawValue)
        case .unknown: UInt16(TERCET_UNKNOWN.rawValue)
        }
    }
}

extension IOCompletion {
    /// 0 or a negative errno, where there is one that says it as Linux's block layer does.
    @inline(__always) var errno: Int32 {
        if isSuccess { return 0 }
        guard outcome == .surelyDone else { return failure == .timeout ? -ETIMEDOUT : -ENOTCONN }
        return switch status {
        case .reservationConflict: -EBADE
        case .capacityExceeded: -ENOSPC
        case .namespaceIsWriteProtected: -EROFS
        case .invalidOpcode: -EOPNOTSUPP
        case .lbaOutOfRange: -EINVAL
        default: -EIO
        }
    }
}

extension InitiatorError {
    /// A negative errno.
    var errno: Int32 {
        switch self {
        case .fabric(let error): error.code == 0 ? -EIO : -error.code
        case .rejected: -ECONNREFUSED
        case .status, .connectFailed, .invalidResponse: -EPROTO
        case .timeout: -ETIMEDOUT
        case .connectionLost: -ECONNRESET
        case .resources: -ENOMEM
        case .unsupported: -ENOTSUP
        case .closed: -ESHUTDOWN
        }
    }
}
