import NVMeSpec

/// Operations that a controller need not do: those of ONCS and FUSES (NVMe Base, "Identify Controller data structure").
struct OptionalOperations: OptionSet, Sendable, BitwiseCopyable {
    let rawValue: UInt8
    init(rawValue: UInt8) { self.rawValue = rawValue }
    static let compare = OptionalOperations(rawValue: 1 << 0)
    static let writeZeroes = OptionalOperations(rawValue: 1 << 1)
    static let verify = OptionalOperations(rawValue: 1 << 2)
    static let deallocate = OptionalOperations(rawValue: 1 << 3)
    static let compareAndWrite = OptionalOperations(rawValue: 1 << 4)

    init(_ identify: IdentifyController) {
        self = []
        if identify.nvmCommands.contains(.compare) { insert(.compare) }
        if identify.nvmCommands.contains(.writeZeroes) { insert(.writeZeroes) }
        if identify.nvmCommands.contains(.verify) { insert(.verify) }
        if identify.nvmCommands.contains(.datasetManagement) { insert(.deallocate) }
        // FUSES bit 0; its first half is a Compare.
        if identify.fusedOperations & 1 != 0, contains(.compare) { insert(.compareAndWrite) }
    }

    /// Whether a controller that does these does operations of a kind.
    @inline(__always)
    func include(_ kind: IOKind) -> Bool {
        switch kind {
        case .read, .write, .flush: true
        case .compare: contains(.compare)
        case .writeZeroes: contains(.writeZeroes)
        case .verify: contains(.verify)
        case .compareAndWrite: contains(.compareAndWrite)
        case .deallocate: contains(.deallocate)
        }
    }
}
