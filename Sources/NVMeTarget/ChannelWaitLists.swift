/// Requests that wait for room at a block device, one list for each channel: a device that stands still holds up nobody
/// else's.
struct ChannelWaitLists {
    /// By place of the channel in the reactor's `BlockSet`.
    private var lists: [RequestList] = []
    private var count = 0

    var isEmpty: Bool { count == 0 }
    var channelCount: Int { lists.count }

    /// Whether somebody waits for the channel already.
    func isAwaited(_ channel: UInt32) -> Bool {
        count > 0 && Int(channel) < lists.count && !lists[Int(channel)].isEmpty
    }

    mutating func append(_ index: UInt32, _ channel: UInt32, _ slots: UnsafeMutablePointer<RequestSlot>) {
        while lists.count <= Int(channel) { lists.append(RequestList()) }
        lists[Int(channel)].append(index, slots)
        count += 1
    }

    mutating func removeFirst(_ channel: Int, _ slots: UnsafeMutablePointer<RequestSlot>) -> UInt32? {
        guard let index = lists[channel].removeFirst(slots) else { return nil }
        count -= 1
        return index
    }

    /// Puts a request back to where it was taken from.
    mutating func prepend(_ index: UInt32, _ channel: Int, _ slots: UnsafeMutablePointer<RequestSlot>) {
        lists[channel].prepend(index, slots)
        count += 1
    }

    /// Takes one request out; `false` where it does not wait.
    mutating func remove(_ index: UInt32, _ slots: UnsafeMutablePointer<RequestSlot>) -> Bool {
        for channel in lists.indices where lists[channel].remove(index, slots) {
            count -= 1
            return true
        }
        return false
    }
}
