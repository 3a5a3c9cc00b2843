/// Little-endian loads at any alignment: all NVMe structures are little-endian (NVMe Base, "Byte, Word, and Dword
/// Relationships"). The caller has checked that the bytes are there.
extension UnsafeRawPointer {
    @inlinable
    @inline(__always)
    func load8(at offset: Int) -> UInt8 { load(fromByteOffset: offset, as: UInt8.self) }

    @inlinable
    @inline(__always)
    func load16(at offset: Int) -> UInt16 {
        UInt16(littleEndian: loadUnaligned(fromByteOffset: offset, as: UInt16.self))
    }

    @inlinable
    @inline(__always)
    func load32(at offset: Int) -> UInt32 {
        UInt32(littleEndian: loadUnaligned(fromByteOffset: offset, as: UInt32.self))
    }

    @inlinable
    @inline(__always)
    func load64(at offset: Int) -> UInt64 {
        UInt64(littleEndian: loadUnaligned(fromByteOffset: offset, as: UInt64.self))
    }
}

/// Little-endian stores at any alignment.
extension UnsafeMutableRawPointer {
    @inlinable
    @inline(__always)
    func store8(_ value: UInt8, at offset: Int) { storeBytes(of: value, toByteOffset: offset, as: UInt8.self) }

    @inlinable
    @inline(__always)
    func store16(_ value: UInt16, at offset: Int) {
        storeBytes(of: value.littleEndian, toByteOffset: offset, as: UInt16.self)
    }

    @inlinable
    @inline(__always)
    func store32(_ value: UInt32, at offset: Int) {
        storeBytes(of: value.littleEndian, toByteOffset: offset, as: UInt32.self)
    }

    @inlinable
    @inline(__always)
    func store64(_ value: UInt64, at offset: Int) {
        storeBytes(of: value.littleEndian, toByteOffset: offset, as: UInt64.self)
    }
}
