import Base
import FabricInterface
import Memory

/// Control memory with its registration: capsules, completions, the data of control commands.
struct RegisteredSlots: ~Copyable {
    private let memory: ControlMemory
    let region: MemoryRegion

    init(slotBytes: Int, count: Int, with context: FabricContext) throws(TercetError) {
        try self.init(ControlMemory(slotBytes: slotBytes, count: count), with: context, access: [.localWrite])
    }

    init(_ memory: consuming ControlMemory, with context: FabricContext, access: MemoryAccess) throws(TercetError) {
        region = try memory.arena.register(with: context, access: access)
        self.memory = memory
    }

    var key: UInt32 { region.localKey }

    /// All of it.
    var bytes: UnsafeMutableRawBufferPointer { memory.arena.memory }

    @inline(__always)
    subscript(position: UInt32) -> UnsafeMutableRawPointer { memory[position] }

    /// Takes a slot, or returns `nil` when all are taken.
    func take() -> UInt32? { memory.take() }

    /// Gives back the slot that begins at an address.
    func give(_ slot: UnsafeMutableRawPointer) {
        memory.give(UInt32((slot - memory[0]) / memory.slotBytes))
    }
}
