import Base
import NVMeSpec
import TargetTransport

/// The capsule as its request holds it.
struct HeldCapsule: BitwiseCopyable {
    /// The transport's buffer, until the answer is ordered; `none` also where the capsule was set aside.
    private(set) var buffer = CapsuleIndex.none
    /// Bytes that arrived after the submission queue entry.
    private var dataLength: UInt32 = 0
    /// The place of the capsule now.
    private(set) var bytes: UnsafeMutableRawPointer? = nil
    private(set) var shape = DataShape()
    /// The command moves data, and the shape was found good.
    private var usesShape = false

    init() {}

    @inline(__always)
    init(_ capsule: Capsule) {
        buffer = capsule.buffer
        dataLength = capsule.dataLength
        bytes = capsule.bytes
        shape = capsule.shape
    }

    /// The shape that the answer's data has.
    @inline(__always)
    var answerShape: DataShape { usesShape ? shape : DataShape() }

    /// Bytes of the whole capsule.
    var byteCount: Int { SubmissionEntry.byteCount + Int(dataLength) }

    /// The buffer, which the request has no longer.
    @inline(__always)
    mutating func takeBuffer() -> CapsuleIndex {
        defer { buffer = .none }
        return buffer
    }

    /// The capsule was copied to another place.
    mutating func moved(to copy: UnsafeMutableRawPointer) { bytes = copy }

    /// The data that the command describes, if the target accepts the description; the bytes of data that came in the capsule
    /// are put into `transfer`.
    ///
    /// - Parameter sendsData: the command's data goes from the host to the controller.
    @inline(__always)
    mutating func describe(_ transfer: inout DataTransfer, sendsData: Bool) -> DescribedData {
        usesShape = true
        switch shape.place {
        case .none: return .bytes(0)
        case .host: return .bytes(Int(shape.byteCount))
        case .capsule:
            guard sendsData, let bytes else { return refuse(.sglDescriptorTypeInvalid) }
            transfer.use(bytes + Int(shape.offset))
            return .bytes(Int(shape.byteCount))
        case .invalid: return refuse(shape.status)
        }
    }

    @inline(never)
    private mutating func refuse(_ status: Status) -> DescribedData {
        usesShape = false
        return .refused(status.doNotRetry)
    }
}

/// The data that a command's data pointer describes.
enum DescribedData {
    case bytes(Int)
    case refused(Status)
}
