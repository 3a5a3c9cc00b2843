import Base
import Glibc
import NVMeSpec

/// A namespace as one reactor sees it.
struct NamespaceSlot: BitwiseCopyable {
    var isPresent = false
    var isReadOnly = false
    var blockShift: UInt8 = 9
    /// Another one each time a namespace is opened in this place, or its block size changes: a command for what was here
    /// before is recognised. 0 where there is no namespace.
    var generation: UInt32 = 0
    /// The device lends memory with its data.
    var lends = false
    /// The reactor's channel to the device, where there is one.
    var channel = ChannelIndex.none
    var blockCount: UInt64 = 0
    var reservation = ReservationAccess()
    /// `Namespace.lastLoss`.
    var lastLoss: UInt64 = 0
    /// The namespace's place in an `AccessTable`.
    var anaGroup: UInt8 = 1
    /// The most that a Compare and Write may cover, in bytes.
    var compareAndWriteBytes: UInt32 = 512
    /// Alignment that the device wants of memory.
    var memoryAlignment: UInt32 = 512
}

/// A place of the table: the namespace, and its counters behind it. Together they are 128 bytes, and a place is found by a shift.
struct NamespacePlace: BitwiseCopyable {
    var slot = NamespaceSlot()
    var counters = NamespaceCounters()
}

/// A subsystem's namespaces by their identifiers, from 1. A reference to memory of its `SubsystemView`; without one, no
/// namespace is there.
///
/// Unchecked: the memory is a `SubsystemView`'s, whose reactor alone writes to it; the view takes the reference out of its
/// subsystem before it frees it.
struct NamespaceTable: @unchecked Sendable, BitwiseCopyable, Equatable {
    private let places: UnsafeMutablePointer<NamespacePlace>?
    private let capacity: UInt32

    init() {
        places = nil
        capacity = 0
    }

    /// Allocates a table for the namespaces 1 to `capacity`. `deallocate` frees it.
    static func allocate(capacity: Int) -> NamespaceTable { NamespaceTable(capacity: capacity) }

    private init(capacity: Int) {
        // Zeroes are slots without a namespace. The table may be large, and most of it is never used: the system gives the pages
        // of this memory as they are first touched.
        guard let memory = calloc(capacity, MemoryLayout<NamespacePlace>.stride)
        else { invariantViolated("there is memory for a table of namespaces") }
        places = memory.bindMemory(to: NamespacePlace.self, capacity: capacity)
        self.capacity = UInt32(capacity)
    }

    func deallocate() { free(places) }

    /// Counters of a namespace; zeroes if there can be none.
    func counters(of nsid: UInt32) -> NamespaceCounters {
        guard let places, hasPlace(for: nsid) else { return NamespaceCounters() }
        return places[Int(nsid - 1)].counters
    }

    /// Counts for an identifier, which may be anything; for the reactor of the table alone.
    @inline(__always)
    func count(_ nsid: UInt32, _ change: (inout NamespaceCounters) -> Void) {
        if nsid &- 1 < capacity { change(&place(of: nsid).pointee.counters) }
    }

    /// The place of an identifier within the table.
    @inline(__always)
    func place(of nsid: UInt32) -> UnsafeMutablePointer<NamespacePlace> {
        places.unsafelyUnwrapped + Int(nsid - 1)
    }

    /// Whether an identifier, which may be anything, names a namespace that is there.
    @inline(__always)
    func contains(_ nsid: UInt32) -> Bool { nsid &- 1 < capacity && self[nsid].isPresent }

    /// Whether there can be a namespace of that identifier.
    func hasPlace(for nsid: UInt32) -> Bool { nsid &- 1 < capacity }

    /// The slot of an identifier within the table.
    subscript(nsid: UInt32) -> NamespaceSlot {
        @inline(__always) unsafeAddress { UnsafePointer(slot(nsid)) }
        @inline(__always) nonmutating unsafeMutableAddress { slot(nsid) }
    }

    /// The slot is the first of what a place has.
    @inline(__always)
    private func slot(_ nsid: UInt32) -> UnsafeMutablePointer<NamespaceSlot> {
        UnsafeMutableRawPointer(place(of: nsid)).assumingMemoryBound(to: NamespaceSlot.self)
    }
}
