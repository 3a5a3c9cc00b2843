import NVMeSpec
import Testing

/// A field of one structure of libnvme's headers, and the same field of ours.
struct FieldPair<C, S> {
    let name: String
    let setC: (inout C) -> Void
    let setSwift: (inout S) -> Void

    init(_ name: String, _ setC: @escaping (inout C) -> Void, _ setSwift: @escaping (inout S) -> Void) {
        self.name = name
        self.setC = setC
        self.setSwift = setSwift
    }

    /// Integer fields of one width.
    init<V: FixedWidthInteger>(_ name: String, _ c: WritableKeyPath<C, V>, _ swift: WritableKeyPath<S, V>) {
        self.init(name, { $0[keyPath: c] = pattern() }, { $0[keyPath: swift] = pattern() })
    }

    /// An integer field that is an option set or a code here.
    init<V: FixedWidthInteger, R: RawRepresentable>(
        _ name: String, _ c: WritableKeyPath<C, V>, _ swift: WritableKeyPath<S, R>
    ) where R.RawValue == V {
        self.init(
            name, { $0[keyPath: c] = pattern() },
            { structure in
                guard let value = R(rawValue: pattern()) else { fatalError("an open value takes every raw value") }
                structure[keyPath: swift] = value
            })
    }
}

/// A value whose bytes differ from each other.
func pattern<V: FixedWidthInteger>() -> V { V(truncatingIfNeeded: 0x0012_3456_789A_BCDE as UInt64) }

/// A C structure of zeroes.
func zeroed<C>(_ type: C.Type) -> C {
    let memory = UnsafeMutableRawPointer.allocate(
        byteCount: MemoryLayout<C>.size, alignment: max(MemoryLayout<C>.alignment, 16))
    defer { memory.deallocate() }
    memory.initializeMemory(as: UInt8.self, repeating: 0, count: MemoryLayout<C>.size)
    return memory.load(as: C.self)
}

/// The bytes of a C structure.
func bytes<C>(of structure: C) -> [UInt8] { withUnsafeBytes(of: structure) { [UInt8]($0) } }

/// Copies bytes into a C array.
func set<T>(_ array: inout T, _ content: [UInt8]) {
    withUnsafeMutableBytes(of: &array) { $0.copyBytes(from: content) }
}

/// Copies text into a C array and fills the rest.
func set<T>(_ array: inout T, _ text: String, padding: UInt8 = 0) {
    withUnsafeMutableBytes(of: &array) { buffer in
        for index in buffer.indices { buffer[index] = padding }
        buffer.copyBytes(from: Array(text.utf8))
    }
}

/// Checks each field in both directions: our encoding of it is, in all bytes, the C structure with the field set, and
/// that C structure decodes to our structure with the field set.
///
/// - Parameter prepare: what both have before any field is set.
func expectLayout<C, S: FixedStructure & Equatable>(
    _ c: C.Type, _ s: S.Type, prepare: (inout C) -> Void = { _ in }, _ fields: [FieldPair<C, S>]
) throws {
    #expect(S.byteCount == MemoryLayout<C>.size)
    for field in fields {
        var expected = zeroed(C.self)
        prepare(&expected)
        var structure = try S(decoding: bytes(of: expected))
        field.setC(&expected)
        field.setSwift(&structure)
        #expect(structure.encoded == bytes(of: expected), "encoding \(field.name)")
        #expect(try S(decoding: bytes(of: expected)) == structure, "decoding \(field.name)")
    }
}
