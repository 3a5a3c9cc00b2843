/// Bytes of a client that have been received and not yet taken up: headers, and small payloads that came with them.
struct Staging {
    static let capacity = 16 << 10
    private let memory = UnsafeMutableRawPointer.allocate(byteCount: capacity, alignment: 16)
    private var start = 0
    private var end = 0

    func deallocate() { memory.deallocate() }

    var count: Int { end - start }
    var first: UnsafeRawPointer { UnsafeRawPointer(memory + start) }
    var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: first, count: count) }
    /// The place for what is received next, and how much there is room for.
    var room: (UnsafeMutableRawPointer, Int) { (memory + end, Self.capacity - end) }

    mutating func received(_ count: Int) { end += count }

    mutating func take(_ count: Int) {
        start += count
        if start == end { (start, end) = (0, 0) }
    }

    /// Moves what is there to the front, where so much would not fit behind it.
    mutating func makeRoom(for needed: Int) {
        guard Self.capacity - end < needed, start > 0 else { return }
        memory.copyMemory(from: memory + start, byteCount: count)
        (start, end) = (0, count)
    }

    /// Adds bytes that another server has received.
    mutating func append(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes {
            if let first = $0.baseAddress { (memory + end).copyMemory(from: first, byteCount: $0.count) }
        }
        end += bytes.count
    }
}
