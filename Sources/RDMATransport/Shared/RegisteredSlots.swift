import Base
import FabricInterface
import Memory

/// Control memory with its registration: capsules, completions.
struct RegisteredSlots: ~Copyable {
    private let memory: ControlMemory
    let key: UInt32

    init(slotBytes: Int, count: Int, with context: FabricContext) throws(TercetError) {
        let memory = try ControlMemory(slotBytes: slotBytes, count: count)
        key = try memory.arena.register(with: context).localKey
        self.memory = memory
    }

    /// All of it.
    var bytes: UnsafeMutableRawBufferPointer { memory.arena.memory }

    @inline(__always)
    subscript(position: UInt32) -> UnsafeMutableRawPointer { memory[position] }
}
