import Base

/// An SGL descriptor as the RDMA transport uses them, decoded (NVMe Base, "Scatter Gather List"; NVMe RDMA Transport,
/// "SGL Support").
///
/// Decoding always gives a case that says what to do: what a controller does not take is `.invalid` with the status
/// that the specification names. Lengths and offsets are the peer's: check them against the bytes received.
public enum SGLDescriptor: Hashable, Sendable, BitwiseCopyable {
    /// No data: a descriptor of length 0.
    case none
    /// Keyed SGL Data Block: the host's memory; with `invalidate`, the answer invalidates `key`. The length has 24 bits.
    case keyed(address: UInt64, length: UInt32, key: UInt32, invalidate: Bool)
    /// SGL Data Block with an offset: data in the capsule, `offset` bytes after the entry and ICDOFF.
    case inCapsule(offset: UInt64, length: UInt32)
    /// SGL Last Segment with an offset: a list of descriptors in the capsule. `length` is a multiple of 16, not 0.
    case lastSegmentInCapsule(offset: UInt64, length: UInt32)
    /// Not a descriptor for this transport.
    case invalid(Status)

    /// Size on the wire, in bytes.
    @inlinable public static var byteCount: Int { 16 }
    /// Largest length of a keyed data block: the field has 24 bits.
    @inlinable public static var maxKeyedLength: UInt32 { 0xFF_FFFF }

    /// Decodes 16 bytes at `bytes`, at any alignment.
    @inlinable public init(from bytes: UnsafeRawPointer) { self.init(Bytes(from: bytes)) }

    /// Decodes a descriptor, such as the data pointer of a submission queue entry.
    @inlinable
    public init(_ bytes: Bytes) {
        let length = UInt32(truncatingIfNeeded: bytes.high)
        switch UInt8(truncatingIfNeeded: bytes.high >> 56) {
        case SGLIdentifier.keyed, SGLIdentifier.keyedInvalidate:
            let keyedLength = length & SGLDescriptor.maxKeyedLength
            guard keyedLength > 0 else {
                self = .none
                return
            }
            self = .keyed(
                address: bytes.low, length: keyedLength, key: UInt32(truncatingIfNeeded: bytes.high >> 24),
                invalidate: UInt8(truncatingIfNeeded: bytes.high >> 56) == SGLIdentifier.keyedInvalidate)
        case SGLIdentifier.dataOffset:
            self = length == 0 ? .none : .inCapsule(offset: bytes.low, length: length)
        case SGLIdentifier.lastSegmentOffset:
            // A last segment of length 0, or not of whole descriptors (NVMe Base, status 0Dh).
            let isList = length > 0 && length % UInt32(SGLDescriptor.byteCount) == 0
            self =
                isList
                ? .lastSegmentInCapsule(offset: bytes.low, length: length) : .invalid(.invalidSGLSegmentDescriptor)
        case SGLIdentifier.dataAddress where length == 0:
            self = .none
        default:
            self = .invalid(.sglDescriptorTypeInvalid)
        }
    }

    /// The descriptor on the wire. No data is a keyed data block of length 0, as Linux sends it.
    @inlinable
    public var bytes: Bytes {
        switch self {
        case .none:
            return Bytes(low: 0, high: UInt64(SGLIdentifier.keyed) << 56)
        case .keyed(let address, let length, let key, let invalidate):
            invariant(length <= SGLDescriptor.maxKeyedLength, "a keyed data block has a length of 24 bits")
            let identifier = invalidate ? SGLIdentifier.keyedInvalidate : SGLIdentifier.keyed
            return Bytes(low: address, high: UInt64(length) | UInt64(key) << 24 | UInt64(identifier) << 56)
        case .inCapsule(let offset, let length):
            return Bytes(low: offset, high: UInt64(length) | UInt64(SGLIdentifier.dataOffset) << 56)
        case .lastSegmentInCapsule(let offset, let length):
            return Bytes(low: offset, high: UInt64(length) | UInt64(SGLIdentifier.lastSegmentOffset) << 56)
        case .invalid:
            invariantViolated("an invalid descriptor is never sent")
        }
    }

    /// Writes 16 bytes to `bytes`, at any alignment. `.invalid` traps.
    @inlinable public func store(to bytes: UnsafeMutableRawPointer) { self.bytes.store(to: bytes) }

    /// The 16 bytes of a descriptor, undecoded.
    public struct Bytes: BitwiseCopyable, Hashable, Sendable {
        /// Bytes 0 to 7: address or offset.
        public var low: UInt64 = 0
        /// Bytes 8 to 15: length, key and, in the top byte, the SGL Identifier.
        public var high: UInt64 = 0

        @inlinable public init() {}

        @inlinable
        public init(low: UInt64, high: UInt64) {
            self.low = low
            self.high = high
        }

        /// Copies 16 bytes at `bytes`, at any alignment.
        @inlinable
        public init(from bytes: UnsafeRawPointer) {
            low = bytes.load64(at: 0)
            high = bytes.load64(at: 8)
        }

        /// Writes 16 bytes to `bytes`, at any alignment.
        @inlinable
        public func store(to bytes: UnsafeMutableRawPointer) {
            bytes.store64(low, at: 0)
            bytes.store64(high, at: 8)
        }
    }
}

/// SGL Identifiers: descriptor type in the high half, sub type in the low one (NVMe Base, "SGL Descriptor Type").
@usableFromInline
enum SGLIdentifier {
    /// Data block, address.
    @inlinable static var dataAddress: UInt8 { 0x00 }
    /// Data block, offset into the capsule.
    @inlinable static var dataOffset: UInt8 { 0x01 }
    /// Last segment, offset into the capsule.
    @inlinable static var lastSegmentOffset: UInt8 { 0x31 }
    /// Keyed data block, address.
    @inlinable static var keyed: UInt8 { 0x40 }
    /// Keyed data block, address, invalidate the key.
    @inlinable static var keyedInvalidate: UInt8 { 0x4F }
}
