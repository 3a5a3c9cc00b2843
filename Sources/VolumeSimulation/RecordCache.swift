import Glibc
import Replication

/// The records that were decoded last, with the bytes that they were decoded from: the oracles look at them far more often
/// than anybody writes one.
struct RecordCache: ~Copyable {
    private struct Entry {
        let pages: UnsafeMutableRawPointer
        let byteCount: Int
        let start: UnsafeRawPointer
        var record: Superblock?
    }

    private var entries: [Entry] = []

    deinit { for entry in entries { entry.pages.deallocate() } }

    /// The newer of the records in two slots; `nil` where neither holds one.
    mutating func record(
        _ member: MemberIndex, _ view: MemberView, slots start: UnsafeMutableRawPointer, pageSize: Int
    ) -> Superblock? {
        let byteCount = 2 * pageSize
        let place = entries.firstIndex { $0.start == UnsafeRawPointer(start) && $0.byteCount == byteCount }
        if let place, memcmp(entries[place].pages, start, byteCount) == 0 { return entries[place].record }
        let record = try? Superblock.decode(
            member: member, slot0: UnsafeRawBufferPointer(start: start, count: pageSize),
            slot1: UnsafeRawBufferPointer(start: start + pageSize, count: pageSize))
        if let place {
            entries[place].record = record
            entries[place].pages.copyMemory(from: start, byteCount: byteCount)
        } else {
            let pages = UnsafeMutableRawPointer.allocate(byteCount: byteCount, alignment: 8)
            pages.copyMemory(from: start, byteCount: byteCount)
            entries.append(Entry(pages: pages, byteCount: byteCount, start: start, record: record))
        }
        return record
    }
}
