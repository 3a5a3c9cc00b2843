import FabricInterface

/// The memory regions of one device, found by key. A key names a place of the table and how often that place was used,
/// so that the key of a region that has ended is known to be stale.
struct RegionTable: ~Copyable {
    private struct Region: BitwiseCopyable {
        var start: UInt = 0
        var length: UInt = 0
        var access: MemoryAccess = []
        var tag: UInt8 = 0x11
        var isPresent = false
        /// A SEND with invalidate ended the use of the remote key.
        var isInvalidated = false
    }

    /// In raw memory: each transfer looks keys up, and an array would be counted each time.
    private var regions = UnsafeMutablePointer<Region>.allocate(capacity: 16)
    private var capacity = 16
    private var used = 0
    private var free: [Int] = []

    deinit { regions.deallocate() }

    /// Regions that are registered.
    var count: Int { used - free.count }

    mutating func insert(_ memory: UnsafeMutableRawBufferPointer, _ access: MemoryAccess) -> MemoryRegion {
        let place: Int
        if let reused = free.popLast() {
            place = reused
        } else {
            if used == capacity { grow() }
            place = used
            (regions + place).initialize(to: Region())
            used += 1
        }
        regions[place].start = UInt(bitPattern: memory.baseAddress)
        regions[place].length = UInt(memory.count)
        regions[place].access = access
        regions[place].tag &+= 1
        regions[place].isPresent = true
        regions[place].isInvalidated = false
        let key = UInt32(place + 1) << 8 | UInt32(regions[place].tag)
        return MemoryRegion(handle: UInt(place), localKey: key, remoteKey: key)
    }

    /// Ends a region; `false` when there is none under this key.
    mutating func remove(_ region: MemoryRegion) -> Bool {
        guard let place = place(region.localKey) else { return false }
        regions[place].isPresent = false
        free.append(place)
        return true
    }

    /// Ends the use of a key by peers; `false` when no region has it.
    mutating func invalidate(_ key: UInt32) -> Bool {
        guard let place = place(key), !regions[place].isInvalidated else { return false }
        regions[place].isInvalidated = true
        return true
    }

    /// The memory of a local piece, where its key allows `access`.
    func local(_ piece: ScatterGatherElement, _ access: MemoryAccess) -> UnsafeMutableRawPointer? {
        memory(piece.localKey, piece.address, piece.length, access, isRemote: false)
    }

    /// The memory that a peer names, where its key allows `access`.
    func remote(_ key: UInt32, _ address: UInt64, _ length: UInt32, _ access: MemoryAccess) -> UnsafeMutableRawPointer?
    {
        memory(key, address, length, access, isRemote: true)
    }

    private func memory(
        _ key: UInt32, _ address: UInt64, _ length: UInt32, _ access: MemoryAccess, isRemote: Bool
    ) -> UnsafeMutableRawPointer? {
        guard let place = place(key) else { return nil }
        let region = regions[place]
        guard region.access.isSuperset(of: access), !(isRemote && region.isInvalidated) else { return nil }
        let (end, overflow) = UInt(address).addingReportingOverflow(UInt(length))
        guard !overflow, UInt(address) >= region.start, end <= region.start + region.length else { return nil }
        return UnsafeMutableRawPointer(bitPattern: UInt(address))
    }

    private mutating func grow() {
        let larger = UnsafeMutablePointer<Region>.allocate(capacity: capacity * 2)
        larger.moveInitialize(from: regions, count: used)
        regions.deallocate()
        regions = larger
        capacity *= 2
    }

    private func place(_ key: UInt32) -> Int? {
        let place = Int(key >> 8) - 1
        guard place >= 0, place < used, regions[place].isPresent,
            regions[place].tag == UInt8(truncatingIfNeeded: key)
        else { return nil }
        return place
    }
}
