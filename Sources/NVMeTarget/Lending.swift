import Base
import BlockInterface
import TargetTransport

/// Reads of a namespace that is memory: the data goes straight out of it, without a buffer and a copy.
///
/// The range is borrowed until the transport has done with it, which is when the answer behind the data has been taken: nothing
/// changes it meanwhile, so that a host sees each write whole or not at all. Writes do not go straight into the memory: a
/// connection that breaks would leave half of one there.
struct Lending: ~Copyable {
    private let blocks: BlockSet
    /// Loans that the port has not been asked about.
    private let asked: UnsafeMutableBufferPointer<Loan>
    private var askedCount = 0
    /// Loans that have not ended.
    private(set) var count = 0
    /// Until then no loans are made.
    private var pausedUntil = MonotonicTime(nanoseconds: 0)

    init(_ blocks: BlockSet, capacity: Int) {
        self.blocks = blocks
        asked = .allocate(capacity: capacity)
    }

    deinit { asked.deallocate() }

    /// The port has to be asked about loans.
    @inline(__always)
    var isAsked: Bool { askedCount > 0 }
    /// It has to be asked before another loan is made.
    var isFull: Bool { askedCount == asked.count }

    /// Whether a read of a channel's device may borrow.
    @inline(__always)
    func mayBorrow(on channel: ChannelIndex, _ now: MonotonicTime) -> Bool { !channel.isNone && now >= pausedUntil }

    /// Finds the data of a read in memory that the namespace lends; `false` where it has to be copied.
    mutating func borrow(
        _ request: inout RequestSlot, _ index: RequestIndex, offset: UInt64, on channel: ChannelIndex
    ) -> Bool {
        let length = UInt64(request.transfer.byteCount)
        guard let lent = blocks.borrow(offset: offset, length: length, on: channel),
            let start = lent.region.baseAddress
        else { return false }
        request.transfer.borrow(lent.start)
        asked[askedCount] = Loan(index, start: start, byteCount: lent.region.count)
        askedCount += 1
        count += 1
        return true
    }

    /// The loans that the port is to be asked about.
    mutating func takeAsked() -> UnsafeMutableBufferPointer<Loan> {
        defer { askedCount = 0 }
        return UnsafeMutableBufferPointer(rebasing: asked[..<askedCount])
    }

    /// Ends the loan of a request; `false` where it has none.
    @inline(__always)
    mutating func giveBack(_ request: inout RequestSlot) -> Bool {
        guard request.transfer.isLent else { return false }
        end(&request)
        return true
    }

    @inline(never)
    private mutating func end(_ request: inout RequestSlot) {
        guard let memory = request.transfer.endLoan() else { return }
        count -= 1
        blocks.giveBack(memory, length: UInt64(request.transfer.byteCount), on: request.block.channel)
    }

    /// Reads are copied for a while: to ask for each would cost too much.
    mutating func pause(_ now: MonotonicTime) {
        pausedUntil = now.advanced(byMilliseconds: Limits.lendingPauseMilliseconds)
    }

    /// The host has not taken the data of a read for long, and a write waits for the same place.
    func isInTheWay(_ request: RequestSlot, _ now: MonotonicTime) -> Bool {
        guard request.transfer.isLent, let memory = request.transfer.data else { return false }
        return now >= request.arrival.advanced(byMilliseconds: Limits.loanMilliseconds)
            && blocks.isWanted(
                memory, length: UInt64(request.transfer.byteCount), on: request.block.channel)
    }
}
