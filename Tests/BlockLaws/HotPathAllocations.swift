import AllocationProbe
import BlockInterface
import Glibc

/// Runs rounds of reads and writes of 4 KiB as a reactor does, and counts the allocations of this thread.
///
/// - Parameter driver: its memory is at least `batch` times 4 KiB, its channel at least `batch` deep.
public func allocationsOf(_ driver: ChannelDriver, rounds: Int, batch: Int) -> (ended: Int, allocations: UInt64) {
    let requests = UnsafeMutableBufferPointer<BlockRequest>.allocate(capacity: batch)
    let completions = UnsafeMutableBufferPointer<BlockCompletion>.allocate(capacity: batch)
    defer {
        requests.deallocate()
        completions.deallocate()
    }
    for position in 0..<batch {
        requests[position] = BlockRequest(
            tag: UInt64(position), operation: position % 2 == 0 ? .write : .read, offset: UInt64(position * 4096),
            length: 4096, buffer: driver.memory.baseAddress.map { $0 + position * 4096 })
    }
    let channel = driver.channel
    let deadline = time(nil) + 30
    var ended = 0
    var before: UInt64 = 0
    // The first round is not counted: the language's run-time allocates when code runs for the first time.
    for round in 0...rounds {
        if round == 1 {
            before = allocationsOfThread()
            ended = 0
        }
        guard channel.submit(UnsafeBufferPointer(requests)) == batch else { break }
        var left = batch
        while left > 0 && time(nil) < deadline {
            let count = channel.poll(into: completions)
            left -= count
            ended += count
            if count == 0 { sched_yield() }
        }
    }
    return (ended, allocationsOfThread() - before)
}
