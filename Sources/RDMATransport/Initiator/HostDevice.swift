import Base
import FabricInterface
import InitiatorTransport
import Memory

/// An initiator's share of one RDMA device: its completions, the work collected for it, and memory for control data.
final class HostDevice {
    /// The transport's number for it.
    let number: Int
    let context: FabricContext
    var work: WorkBatch
    let control: ControlBuffers
    /// Completion queue entries that queue pairs have not been promised.
    private var completionEntriesLeft: Int
    private let queuePairs: Int
    private var queuePairsLeft: Int
    private let completions: UnsafeMutableBufferPointer<WorkCompletion>

    init(
        number: Int, context: FabricContext, completionEntries: Int, queuePairs: Int, controlBuffers: Int
    ) throws(ConnectionFailure) {
        self.queuePairs = queuePairs
        queuePairsLeft = queuePairs
        self.number = number
        self.context = context
        control = try ControlBuffers(context, device: number, count: controlBuffers)
        completionEntriesLeft = min(completionEntries, context.limits.maxCompletionQueueEntries)
        work = WorkBatch(context, work: HostLimits.workBatch, receives: HostLimits.workBatch)
        completions = .allocate(capacity: HostLimits.completionBatch)
    }

    deinit { completions.deallocate() }

    /// The work that has completed; it stays as it is until the next call.
    @inline(__always)
    func poll() -> UnsafeBufferPointer<WorkCompletion> {
        UnsafeBufferPointer(rebasing: completions[..<context.poll(into: completions)])
    }

    // MARK: Room

    /// One receive more than commands: the queue never runs dry between an answer and its buffer's return.
    static func receiveCount(depth: Int) -> Int { depth + 1 }

    /// Promises completion queue entries to a queue pair. Throws where the device has no room for it.
    func reserve(depth: Int) throws(ConnectionFailure) {
        let receives = Self.receiveCount(depth: depth)
        guard queuePairsLeft > 0 else {
            throw .resources("more than \(queuePairs) queue pairs on \(context.deviceName)")
        }
        guard completionEntriesLeft >= depth + receives else {
            throw .resources("the completion queue on \(context.deviceName) has no room for a queue of \(depth)")
        }
        guard receives <= context.limits.maxWorkRequests else {
            throw .resources(
                "\(context.deviceName) takes \(context.limits.maxWorkRequests) work requests on a queue pair")
        }
        completionEntriesLeft -= depth + receives
        queuePairsLeft -= 1
    }

    /// Takes a promise back.
    func giveBack(depth: Int) {
        completionEntriesLeft += depth + Self.receiveCount(depth: depth)
        queuePairsLeft += 1
    }
}

/// Registered memory for the data of control commands on one device: one part that controllers may read, one that they may
/// write.
final class ControlBuffers {
    private struct Part: ~Copyable {
        private let slots: RegisteredSlots

        init(_ context: FabricContext, _ access: MemoryAccess, count: Int) throws(ConnectionFailure) {
            let memory: ControlMemory
            do throws(TercetError) {
                memory = try ControlMemory(slotBytes: ControlBuffer.byteCount, count: count)
            } catch { throw .resources(error.description) }
            do throws(TercetError) { slots = try RegisteredSlots(memory, with: context, access: access) } catch {
                throw .call(error)
            }
        }

        func take() -> IOSegment? {
            slots.take().map { slot in
                IOSegment(
                    address: slots[slot], length: ControlBuffer.byteCount, localKey: slots.region.localKey,
                    remoteKey: slots.region.remoteKey)
            }
        }

        func give(_ segment: IOSegment) { slots.give(segment.address) }
    }

    private let device: Int
    private let outgoing: Part
    private let incoming: Part

    /// - Parameter count: control transfers at once, in each direction.
    init(_ context: FabricContext, device: Int, count: Int) throws(ConnectionFailure) {
        self.device = device
        outgoing = try Part(context, .outgoing, count: count)
        incoming = try Part(context, .incoming, count: count)
    }

    func take(_ direction: DataDirection) -> ControlBuffer? {
        let segment =
            switch direction {
            case .toController: outgoing.take()
            case .fromController: incoming.take()
            }
        return segment.map { ControlBuffer($0, direction, device: device) }
    }

    func give(_ buffer: ControlBuffer) {
        switch buffer.direction {
        case .toController: outgoing.give(buffer.segment)
        case .fromController: incoming.give(buffer.segment)
        }
    }
}
