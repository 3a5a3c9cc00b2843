import Base
import TargetTransport

/// Requests that wait for something of a channel, one list for each: a device that stands still holds up nobody else's.
/// Requests of no channel have a list too.
struct ChannelWaitLists {
    private var lists: [SlotList<RequestSlot>] = []
    private var count = 0

    var isEmpty: Bool { count == 0 }

    /// The channels that somebody may wait for, and no channel.
    var channels: Range<Int> { 0..<lists.count }

    /// The list of a channel: the first is that of no channel.
    @inline(__always)
    private func place(_ channel: ChannelIndex) -> Int { channel.isNone ? 0 : channel.offset + 1 }

    /// Whether somebody waits for the channel already.
    @inline(__always)
    func isAwaited(_ channel: ChannelIndex) -> Bool {
        if _fastPath(count == 0) { return false }
        return place(channel) < lists.count && !lists[place(channel)].isEmpty
    }

    mutating func append(_ index: RequestIndex, in requests: borrowing RequestTable) {
        let channel = requests[index].block.channel
        while lists.count <= place(channel) { lists.append(SlotList()) }
        lists[place(channel)].append(index, in: requests)
        count += 1
    }

    mutating func removeFirst(
        _ list: Int, in requests: borrowing RequestTable
    ) -> RequestIndex? {
        guard let index = lists[list].removeFirst(in: requests) else { return nil }
        count -= 1
        return index
    }

    /// Puts a request back to where it was taken from.
    mutating func prepend(
        _ index: RequestIndex, _ list: Int, in requests: borrowing RequestTable
    ) {
        lists[list].prepend(index, in: requests)
        count += 1
    }

    /// Takes one request out; `false` where it does not wait.
    mutating func remove(
        _ index: RequestIndex, in requests: borrowing RequestTable
    ) -> Bool {
        for list in lists.indices where lists[list].remove(index, in: requests) {
            count -= 1
            return true
        }
        return false
    }
}
