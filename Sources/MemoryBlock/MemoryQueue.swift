import Base
import BlockInterface
import Glibc

/// Requests to a device in memory. The work is done by `poll`, a limited number of bytes at a time, so that a long range
/// does not keep the reactor from its other work.
///
/// A struct and not part of `MemoryChannel`, because each access to a variable of an object is checked at run time.
struct MemoryQueue: ~Copyable {
    /// Bytes that one `poll` works on before it returns, and of what has no data at once: the reactor has other hosts to
    /// serve. What has data is done in one go nevertheless, so that other threads see all of it or nothing.
    static let bytesPerPoll: UInt64 = 1 << 20
    static let bytesPerPiece: UInt64 = 256 << 10

    /// The device whose memory it is; `nil` for a null device. Unmanaged, because reference counts would cost each I/O time.
    private let ram: Unmanaged<RAMDevice>?
    private let geometry: BlockGeometry
    private let depth: Int
    /// The time that each request takes at the least, in nanoseconds.
    private let latencyNanoseconds: UInt64
    /// Requests in the order in which they came: a ring.
    private let requests: UnsafeMutablePointer<Entry>
    private var head = 0
    private(set) var count = 0
    /// Requests whose range another thread had, in no order.
    private let blocked: UnsafeMutablePointer<Entry>
    private(set) var blockedCount = 0

    private struct Entry: BitwiseCopyable {
        var request: BlockRequest
        var done: UInt64
        var isWithdrawn: Bool
        /// It is not done before, where the device has a latency.
        var notBefore = MonotonicTime(nanoseconds: 0)
    }

    /// How far a request has come.
    private enum Progress {
        case ended(BlockStatus)
        /// The bytes of this poll are used up.
        case unfinished
        /// Another thread has the range.
        case blocked
    }

    init(ram: RAMDevice?, geometry: BlockGeometry, depth: Int) {
        self.ram = ram.map(Unmanaged.passRetained)
        self.geometry = geometry
        self.depth = depth
        latencyNanoseconds = ram?.latencyNanoseconds ?? 0
        requests = .allocate(capacity: depth)
        blocked = .allocate(capacity: depth)
    }

    deinit {
        ram?.release()
        requests.deallocate()
        blocked.deallocate()
    }

    mutating func submit(_ requests: UnsafeBufferPointer<BlockRequest>) -> Int {
        let taken = min(requests.count, depth - count - blockedCount)
        for position in 0..<taken { append(Entry(request: requests[position], done: 0, isWithdrawn: false)) }
        if _slowPath(latencyNanoseconds > 0) { delay(taken) }
        return taken
    }

    /// The last requests take the device's time from now on.
    private func delay(_ added: Int) {
        let time = MonotonicTime.now().advanced(byNanoseconds: latencyNanoseconds)
        for position in count - added..<count { requests[place(position)].notBefore = time }
    }

    private mutating func append(_ entry: Entry) {
        requests[place(count)] = entry
        count += 1
    }

    mutating func poll(into completions: UnsafeMutableBufferPointer<BlockCompletion>) -> Int {
        var ended = 0
        var budget = Self.bytesPerPoll
        let now = _slowPath(latencyNanoseconds > 0) ? MonotonicTime.now() : .distantFuture
        if _slowPath(blockedCount > 0) { ended = retryBlocked(into: completions, budget: &budget) }
        while count > 0 && ended < completions.count && budget > 0 {
            let entry = requests + head
            guard entry.pointee.notBefore <= now else { return ended }
            switch advance(entry, budget: &budget) {
            case .ended(let status):
                completions[ended] = BlockCompletion(tag: entry.pointee.request.tag, status: status)
                ended += 1
            case .blocked:
                blocked[blockedCount] = entry.pointee
                blockedCount += 1
            case .unfinished: return ended
            }
            head = place(1)
            count -= 1
        }
        return ended
    }

    /// Tries those again whose range another thread had.
    private mutating func retryBlocked(
        into completions: UnsafeMutableBufferPointer<BlockCompletion>, budget: inout UInt64
    ) -> Int {
        var ended = 0
        var position = 0
        while position < blockedCount && ended < completions.count && budget > 0 {
            let entry = blocked + position
            switch advance(entry, budget: &budget) {
            case .ended(let status):
                completions[ended] = BlockCompletion(tag: entry.pointee.request.tag, status: status)
                ended += 1
            case .blocked:
                position += 1
                continue
            case .unfinished: append(entry.pointee)
            }
            blockedCount -= 1
            entry.pointee = blocked[blockedCount]
        }
        return ended
    }

    func cancel(tag: UInt64) -> Bool {
        for position in 0..<count + blockedCount {
            let isBlocked = position >= count
            let entry = isBlocked ? blocked + (position - count) : requests + place(position)
            let request = entry.pointee.request
            guard request.tag == tag, entry.pointee.done == 0, !entry.pointee.isWithdrawn else { continue }
            entry.pointee.isWithdrawn = true
            if isBlocked, request.operation.lockMode == .exclusive {
                ram?._withUnsafeGuaranteedRef { $0.ranges.withdraw(offset: request.offset, length: request.length) }
            }
            return true
        }
        return false
    }

    private func place(_ position: Int) -> Int {
        let place = head + position
        return place < depth ? place : place - depth
    }

    /// Works on a request as far as the budget goes.
    private func advance(_ entry: UnsafeMutablePointer<Entry>, budget: inout UInt64) -> Progress {
        if entry.pointee.isWithdrawn { return .ended(.aborted) }
        let request = entry.pointee.request
        if request.operation == .flush { return .ended(.success) }
        guard geometry.contains(offset: request.offset, length: request.length) else { return .ended(.outOfRange) }
        if request.length == 0 { return .ended(.success) }
        let rest = request.length - entry.pointee.done
        let piece = request.buffer == nil ? min(rest, Self.bytesPerPiece) : rest
        let status: BlockStatus
        if let ram, let mode = request.operation.lockMode {
            let locked = ram._withUnsafeGuaranteedRef { ram -> BlockStatus? in
                let offset = request.offset + entry.pointee.done
                guard ram.ranges.tryLock(mode, offset: offset, length: piece) else { return nil }
                defer { ram.ranges.unlock(mode, offset: offset, length: piece) }
                if mode == .exclusive { ram.touched.touch(offset, piece) }
                // In range: that of the geometry, which the request is in, is that of the memory.
                let media = ram.memory.baseAddress.map { $0 + Int(offset) }
                return perform(request, from: entry.pointee.done, Int(piece), media)
            }
            guard let locked else { return .blocked }
            status = locked
        } else {
            status = perform(request, from: entry.pointee.done, Int(piece), nil)
        }
        entry.pointee.done += piece
        budget -= min(piece, budget)
        return status != .success || entry.pointee.done == request.length ? .ended(status) : .unfinished
    }

    /// Keeps a range as it is and returns the memory that it is in, and of a null device zeroes; `nil` if somebody changes it or
    /// wants to, or if it has never been written to.
    func borrow(offset: UInt64, length: UInt64) -> LentMemory? {
        // A loan takes no time.
        if latencyNanoseconds > 0 { return nil }
        guard let ram else { return Zeroes.lend(length) }
        return ram._withUnsafeGuaranteedRef { ram in
            guard let start = ram.memory.baseAddress, let place = ram.touched.surroundings(offset, length),
                ram.ranges.tryLock(.shared, offset: offset, length: length)
            else { return nil }
            return LentMemory(
                start: start + Int(offset),
                region: UnsafeMutableRawBufferPointer(
                    rebasing: ram.memory[Int(place.lowerBound)..<Int(place.upperBound)]))
        }
    }

    func giveBack(_ start: UnsafeMutableRawPointer, length: UInt64) {
        ram?._withUnsafeGuaranteedRef { $0.ranges.unlock(.shared, offset: $0.offset(of: start), length: length) }
    }

    func isWanted(_ start: UnsafeMutableRawPointer, length: UInt64) -> Bool {
        ram?._withUnsafeGuaranteedRef { $0.ranges.isWanted(offset: $0.offset(of: start), length: length) } ?? false
    }

    /// Does `length` bytes of a request, `done` bytes after its start, at `media`; `nil` there for what reads as zeroes and
    /// keeps nothing.
    private func perform(
        _ request: BlockRequest, from done: UInt64, _ length: Int, _ media: UnsafeMutableRawPointer?
    ) -> BlockStatus {
        switch request.operation {
        case .read, .write, .compare, .compareAndWrite:
            guard let start = request.buffer else { invariantViolated("what reads, writes or compares has a buffer") }
            let buffer = start + Int(done)
            switch request.operation {
            case .read:
                if let media { memcpy(buffer, media, length) } else { memset(buffer, 0, length) }
            case .write:
                if let media { memcpy(media, buffer, length) }
            default:
                let isEqual = media.map { memcmp(buffer, $0, length) == 0 } ?? isZero(buffer, length)
                guard isEqual else { return .compareFailure }
                if let media, let replacement = request.replacement { memcpy(media, replacement + Int(done), length) }
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

extension BlockOperation {
    /// How the operation holds its range of the memory; `nil` if it does not look at it.
    fileprivate var lockMode: RangeLock.Mode? {
        switch self {
        case .read, .compare: .shared
        case .write, .compareAndWrite, .writeZeroes, .deallocate: .exclusive
        case .verify, .flush: nil
        }
    }
}
