/// The data of a command, on our side.
struct DataTransfer: BitwiseCopyable {
    /// Length, in bytes.
    private(set) var byteCount: UInt32 = 0
    /// Bytes taken from the data pool; 0 where `data` belongs to the capsule or to a namespace.
    private(set) var allocated: UInt32 = 0
    /// The place of the data.
    private(set) var data: UnsafeMutableRawPointer? = nil
    /// In-capsule data whose alignment the device does not take: it is copied to memory of the pool.
    private var misaligned: UnsafeMutableRawPointer? = nil
    /// The host's data is in our memory: fetched, or sent in the capsule.
    private(set) var hasHostData = false
    /// `data` is a namespace's own memory.
    private(set) var isLent = false

    /// The data as bytes; none where the command has none.
    var bytes: UnsafeRawBufferPointer {
        guard let data else { return UnsafeRawBufferPointer(start: nil, count: 0) }
        return UnsafeRawBufferPointer(start: data, count: Int(byteCount))
    }

    @inline(__always)
    mutating func measure(_ bytes: Int) { byteCount = UInt32(bytes) }

    /// The host's data came with the capsule.
    @inline(__always)
    mutating func use(_ capsuleData: UnsafeMutableRawPointer) {
        data = capsuleData
        hasHostData = true
    }

    /// Data in the capsule is copied to memory of the pool if the device does not take it where it is.
    @inline(__always)
    mutating func align(to alignment: UInt32) {
        guard let data, UInt(bitPattern: data) % UInt(alignment) != 0 else { return }
        misaligned = data
        self.data = nil
        hasHostData = false
    }

    /// The capsule was copied; data that is used where it arrived goes along.
    mutating func moved(from bytes: UnsafeMutableRawPointer, count: Int, to copy: UnsafeMutableRawPointer) {
        if let data, data >= bytes, data <= bytes + count { self.data = copy + (data - bytes) }
    }

    /// Memory of the pool for `byteCount` bytes.
    @inline(__always)
    mutating func take(_ memory: UnsafeMutableRawPointer) {
        data = memory
        allocated = byteCount
    }

    /// The memory of the pool, which the request has no longer.
    @inline(__always)
    mutating func giveMemory() -> (memory: UnsafeMutableRawPointer, bytes: UInt32)? {
        guard allocated > 0, let memory = data else { return nil }
        defer {
            allocated = 0
            data = nil
        }
        return (memory, allocated)
    }

    /// The memory is there: what came in the capsule is copied to it.
    @inline(__always)
    mutating func copyMisaligned() {
        guard let source = misaligned, let data else { return }
        data.copyMemory(from: source, byteCount: Int(byteCount))
        misaligned = nil
        hasHostData = true
    }

    /// The host's data has been fetched.
    @inline(__always)
    mutating func fetched() { hasHostData = true }

    /// The data is a namespace's own memory.
    mutating func borrow(_ memory: UnsafeMutableRawPointer) {
        data = memory
        isLent = true
    }

    /// The namespace's memory, which the request has no longer.
    mutating func endLoan() -> UnsafeMutableRawPointer? {
        guard isLent, let memory = data else { return nil }
        isLent = false
        data = nil
        return memory
    }
}
