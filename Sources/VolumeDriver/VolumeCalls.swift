import Base
import BlockInterface
import NVMeInitiator

/// A volume's I/O as `async` calls, for the control plane and for tools; usable from anywhere.
public final class VolumeCalls: VolumeIOSink, @unchecked Sendable {
    // Unchecked: all that changes belongs to the group's thread.
    private let group: InitiatorGroup
    private let io: VolumeIO
    private var callers: [CheckedContinuation<BlockStatus, Never>?]
    private var freeTags: [UInt64]
    /// Calls for which there was no room, oldest first.
    private var queue: [(request: BlockRequest, caller: CheckedContinuation<BlockStatus, Never>)] = []

    /// I/Os that are under way at once; further calls wait in order.
    private static let depth = 64

    init(_ volume: Volume, _ group: InitiatorGroup) {
        self.group = group
        io = VolumeIO(volume, depth: Self.depth)
        callers = Array(repeating: nil, count: Self.depth)
        freeTags = (0..<UInt64(Self.depth)).reversed()
        io.sink = self
    }

    /// Does one I/O of any length and waits for its end.
    ///
    /// - Parameters:
    ///   - offset: first byte, as `length` a multiple of the block size.
    ///   - buffer: memory that the volume gave out; `nil` for operations without data.
    public func perform(
        _ operation: BlockOperation, offset: UInt64 = 0, length: UInt64 = 0, buffer: UnsafeMutableRawPointer? = nil,
        flags: BlockFlags = []
    ) async -> BlockStatus {
        let request = BlockRequest(
            tag: 0, operation: operation, flags: flags, offset: offset, length: length, buffer: buffer)
        return await withCheckedContinuation { caller in
            group.send {
                if self.freeTags.isEmpty { self.queue.append((request, caller)) } else { self.begin(request, caller) }
            }
        }
    }

    private func begin(_ request: BlockRequest, _ caller: CheckedContinuation<BlockStatus, Never>) {
        var request = request
        request.tag = freeTags.removeLast()
        callers[Int(request.tag)] = caller
        invariant(io.submit(request), "there are as many tags as I/Os")
    }

    public func completed(_ completions: UnsafeBufferPointer<BlockCompletion>) {
        for completion in completions {
            let caller = callers[Int(completion.tag)]
            callers[Int(completion.tag)] = nil
            freeTags.append(completion.tag)
            caller?.resume(returning: completion.status)
        }
        while !queue.isEmpty, !freeTags.isEmpty {
            let next = queue.removeFirst()
            begin(next.request, next.caller)
        }
    }
}
