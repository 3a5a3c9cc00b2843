import Base
import NVMeSpec
import TargetTransport

/// A keyed SGL data block descriptor: a piece of the host's memory.
struct KeyedDescriptor: BitwiseCopyable {
    var address: UInt64
    var length: UInt32
    var key: UInt32
    var invalidates: Bool
}

/// Data pointers of NVMe over RDMA (NVMe RDMA Transport, "SGL Support"): one keyed descriptor, a list of them in the capsule,
/// or data in the capsule.
extension DataShape {
    /// Reads the data pointer of a command.
    ///
    /// - Parameters:
    ///   - capsule: the submission queue entry, then `dataLength` bytes.
    ///   - maxPieces: descriptors that a list may have.
    @inline(__always)
    init(of capsule: UnsafeRawPointer, dataLength: UInt32, maxPieces: Int) {
        switch SGLDescriptor(from: capsule + SubmissionEntry.dataPointerOffset) {
        case .none: self.init()
        case .keyed(let address, let length, let key, let invalidate):
            self.init()
            place = .host
            pieceCount = 1
            byteCount = length
            token = (address, UInt64(key) | (invalidate ? DataShape.invalidateBit : 0))
        case .inCapsule(let offset, let length):
            let (end, overflow) = offset.addingReportingOverflow(UInt64(length))
            if overflow || end > UInt64(dataLength) {
                self.init(invalid: .sglOffsetInvalid)
            } else {
                self.init(inCapsuleAt: UInt32(SubmissionEntry.byteCount) + UInt32(offset), byteCount: length)
            }
        case .lastSegmentInCapsule(let offset, let length):
            self.init(list: offset, length, of: capsule, dataLength: dataLength, maxPieces: maxPieces)
        case .invalid(let status): self.init(invalid: status)
        }
    }

    /// A last segment in the capsule: a list of keyed descriptors.
    @inline(never)
    private init(
        list offset: UInt64, _ length: UInt32, of capsule: UnsafeRawPointer, dataLength: UInt32, maxPieces: Int
    ) {
        let count = Int(length) / SGLDescriptor.byteCount
        let (end, overflow) = offset.addingReportingOverflow(UInt64(length))
        guard !overflow, end <= UInt64(dataLength), offset % 16 == 0 else {
            self.init(invalid: .invalidSGLSegmentDescriptor)
            return
        }
        guard count > 0, Int(length) % SGLDescriptor.byteCount == 0, count <= maxPieces else {
            self.init(invalid: .invalidNumberOfSGLDescriptors)
            return
        }
        self.init()
        place = .host
        pieceCount = UInt8(count)
        self.offset = UInt32(SubmissionEntry.byteCount) + UInt32(offset)
        for position in 0..<count {
            guard
                case .keyed(let address, let length, let key, let invalidate) =
                    SGLDescriptor(from: capsule + Int(self.offset) + position * SGLDescriptor.byteCount), length > 0
            else {
                self = DataShape(invalid: .sglDescriptorTypeInvalid)
                return
            }
            if position == 0 { token = (address, UInt64(key) | (invalidate ? DataShape.invalidateBit : 0)) }
            byteCount += length
        }
    }

    private static let invalidateBit: UInt64 = 1 << 32

    /// The key to invalidate with the answer, where the host asks for that.
    @inline(__always)
    var keyToInvalidate: UInt32? {
        token.1 & DataShape.invalidateBit != 0 ? UInt32(truncatingIfNeeded: token.1) : nil
    }

    /// The host's memory, by position. The capsule was checked when the shape was made.
    @inline(__always)
    func piece(_ position: UInt8, in capsule: UnsafeRawPointer) -> KeyedDescriptor {
        if _fastPath(pieceCount == 1) {
            return KeyedDescriptor(
                address: token.0, length: byteCount, key: UInt32(truncatingIfNeeded: token.1),
                invalidates: token.1 & DataShape.invalidateBit != 0)
        }
        guard
            case .keyed(let address, let length, let key, let invalidate) =
                SGLDescriptor(from: capsule + Int(offset) + Int(position) * SGLDescriptor.byteCount)
        else { invariantViolated("a checked descriptor list does not change") }
        return KeyedDescriptor(address: address, length: length, key: key, invalidates: invalidate)
    }
}
