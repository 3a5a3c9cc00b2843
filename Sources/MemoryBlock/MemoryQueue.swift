import Base
import BlockInterface
import Glibc

/// Requests to a device in memory. The work is done by `poll`, a limited number of bytes at a time, so that a long range
/// does not keep the reactor from its other work.
///
/// A struct and not part of `MemoryChannel`, because each access to a variable of an object is checked at run time.
struct MemoryQueue: ~Copyable {
    /// Bytes that one `poll` works on before it returns.
    static let bytesPerPoll: UInt64 = 4 << 20

    // Keeps the memory.
    private let device: any BlockDevice
    /// `nil` on a null device.
    private let memory: UnsafeMutableRawPointer?
    private let geometry: BlockGeometry
    private let depth: Int
    /// Requests in the order in which they came: a ring.
    private let requests: UnsafeMutablePointer<Entry>
    private var head = 0
    private(set) var count = 0

    private struct Entry: BitwiseCopyable {
        var request: BlockRequest
        var done: UInt64
        var isWithdrawn: Bool
    }

    init(device: any BlockDevice, memory: UnsafeMutableRawBufferPointer?, geometry: BlockGeometry, depth: Int) {
        self.device = device
        self.memory = memory?.baseAddress
        self.geometry = geometry
        self.depth = depth
        requests = .allocate(capacity: depth)
    }

    deinit { requests.deallocate() }

    mutating func submit(_ requests: UnsafeBufferPointer<BlockRequest>) -> Int {
        let taken = min(requests.count, depth - count)
        for position in 0..<taken {
            self.requests[place(count)] = Entry(request: requests[position], done: 0, isWithdrawn: false)
            count += 1
        }
        return taken
    }

    mutating func poll(into completions: UnsafeMutableBufferPointer<BlockCompletion>) -> Int {
        var ended = 0
        var budget = Self.bytesPerPoll
        while count > 0 && ended < completions.count && budget > 0 {
            let entry = requests + head
            guard let status = advance(entry, budget: &budget) else { break }
            completions[ended] = BlockCompletion(tag: entry.pointee.request.tag, status: status)
            ended += 1
            head = place(1)
            count -= 1
        }
        return ended
    }

    func cancel(tag: UInt64) -> Bool {
        for position in 0..<count {
            let entry = requests + place(position)
            guard entry.pointee.request.tag == tag, entry.pointee.done == 0, !entry.pointee.isWithdrawn else {
                continue
            }
            entry.pointee.isWithdrawn = true
            return true
        }
        return false
    }

    private func place(_ position: Int) -> Int {
        let place = head + position
        return place < depth ? place : place - depth
    }

    /// Works on a request; `nil` when the budget is used up before its end.
    private func advance(_ entry: UnsafeMutablePointer<Entry>, budget: inout UInt64) -> BlockStatus? {
        if entry.pointee.isWithdrawn { return .aborted }
        let request = entry.pointee.request
        if request.operation == .flush { return .success }
        guard geometry.contains(offset: request.offset, length: request.length) else { return .outOfRange }
        let piece = min(request.length - entry.pointee.done, budget)
        let status = perform(request, from: entry.pointee.done, Int(piece))
        entry.pointee.done += piece
        budget -= piece
        return status != .success || entry.pointee.done == request.length ? status : nil
    }

    /// Does `length` bytes of a request, `done` bytes after its start.
    private func perform(_ request: BlockRequest, from done: UInt64, _ length: Int) -> BlockStatus {
        if length == 0 { return .success }
        // In range: the caller has checked the request against the geometry, and the geometry is that of the memory.
        let media = memory.map { $0 + Int(request.offset + done) }
        switch request.operation {
        case .read, .write, .compare:
            guard let start = request.buffer else { invariantViolated("a read, write or compare has a buffer") }
            let buffer = start + Int(done)
            switch request.operation {
            case .read:
                if let media { memcpy(buffer, media, length) } else { memset(buffer, 0, length) }
            case .write:
                if let media { memcpy(media, buffer, length) }
            default:
                let isEqual = media.map { memcmp(buffer, $0, length) == 0 } ?? isZero(buffer, length)
                return isEqual ? .success : .compareFailure
            }
        case .writeZeroes, .deallocate:
            if let media { memset(media, 0, length) }
        case .verify, .flush:
            break
        }
        return .success
    }

    /// Whether all bytes are 0: the first is, and each is as the one before it.
    private func isZero(_ memory: UnsafeMutableRawPointer, _ length: Int) -> Bool {
        memory.load(as: UInt8.self) == 0 && memcmp(memory, memory + 1, length - 1) == 0
    }
}
