import Base
import NVMeSpec
import TargetTransport

/// Reads of a namespace that is memory: the data goes straight out of it, without a buffer and a copy.
///
/// The range is borrowed until the transport has done with it, which is when the answer behind the data has been taken: nothing
/// changes it meanwhile, so that a host sees each write whole or not at all. Writes do not go straight into the memory: a
/// connection that breaks would leave half of one there.
extension CommandEngine {
    /// Finds the data of a read in the namespace's own memory; `false` where it has to be copied. `settleLoans` goes on with it.
    @inline(never)
    func borrow(_ index: RequestIndex, offset: UInt64, on channel: ChannelIndex) -> Bool {
        guard !channel.isNone, !lending.isPaused(now) else { return false }
        if lending.isFull { settleLoans() }
        let length = UInt64(requests[index].transfer.byteCount)
        guard let (memory, surroundings) = blocks.borrow(offset: offset, length: length, on: channel),
            let start = surroundings.baseAddress
        else { return false }
        requests[index].transfer.data = memory
        requests[index].transfer.isLent = true
        lending.ask(Loan(index, start: start, byteCount: surroundings.count))
        return true
    }

    /// Asks the port whether it can send from the memory that this round's reads have borrowed, and answers them; reads for
    /// which it cannot get a buffer instead.
    func settleLoans() {
        guard _slowPath(lending.isAsked) else { return }
        let loans = lending.takeAsked()
        port.lend(loans, now: now)
        for loan in loans {
            if isDead(loan.request) {
                end(loan.request)
            } else if loan.isTaken {
                answer(loan.request, .success)
            } else {
                // It would cost too much to ask for each read.
                giveBackLoan(loan.request)
                lending.pause(now)
                acquireBuffer(loan.request)
            }
        }
    }

    /// Ends the loan of a request, where it has one.
    @inline(__always)
    func giveBackLoan(_ index: RequestIndex) {
        guard requests[index].transfer.isLent, let memory = requests[index].transfer.data else { return }
        requests[index].transfer.isLent = false
        requests[index].transfer.data = nil
        lending.ended()
        // With the answer the port has ended it.
        if requests[index].state != .answering { order(.endLoan(index)) }
        blocks.giveBack(
            memory, length: UInt64(requests[index].transfer.byteCount), on: requests[index].block.channel)
    }

    /// Ends connections whose hosts have not taken a read's data for long while a write waits for the same place, and lets
    /// reads be copied where more memory is read than can be registered at once. With the timer.
    func inspectLoans() {
        if port.lendsAtALoss() { lending.pause(now) }
        guard lending.count > 0 else { return }
        for index in requests.usedIndices {
            guard requests[index].transfer.isLent, let memory = requests[index].transfer.data,
                now >= requests[index].arrival.advanced(byMilliseconds: Limits.loanMilliseconds),
                blocks.isWanted(
                    memory, length: UInt64(requests[index].transfer.byteCount), on: requests[index].block.channel),
                !isDead(index)
            else { continue }
            owner.connectionFailed(
                requests[index].connection, in: self, reason: "the host does not take data that a write waits for")
        }
    }
}

/// The loans of an engine: those that the port has not been asked about, how many there are, and until when none are made.
struct Lending {
    private let asked: UnsafeMutableBufferPointer<Loan>
    private var askedCount = 0
    /// Loans that have not ended.
    private(set) var count = 0
    private var pausedUntil = MonotonicTime(nanoseconds: 0)

    init(capacity: Int) { asked = .allocate(capacity: capacity) }

    var isAsked: Bool { askedCount > 0 }
    var isFull: Bool { askedCount == asked.count }

    func isPaused(_ now: MonotonicTime) -> Bool { now < pausedUntil }

    mutating func ask(_ loan: Loan) {
        asked[askedCount] = loan
        askedCount += 1
        count += 1
    }

    mutating func takeAsked() -> UnsafeMutableBufferPointer<Loan> {
        defer { askedCount = 0 }
        return UnsafeMutableBufferPointer(rebasing: asked[..<askedCount])
    }

    mutating func ended() { count -= 1 }

    mutating func pause(_ now: MonotonicTime) {
        pausedUntil = now.advanced(byMilliseconds: Limits.lendingPauseMilliseconds)
    }

    func deallocate() { asked.deallocate() }
}
