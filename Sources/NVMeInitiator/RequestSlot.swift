import Base
import NVMeSpec

/// The index that stands for "no slot".
let noSlot = UInt32.max

/// The life of a command, from its capsule to the end of both its SEND and its answer.
enum RequestState: UInt8, BitwiseCopyable {
    case free
    /// The capsule is posted; neither its completion nor the answer has come.
    case posted
    /// The SEND has completed; the answer has not come.
    case sent
    /// The answer has come; the SEND has not completed, so the capsule's memory is still the device's.
    case answered

    /// The one place where a command changes its state.
    @inline(__always)
    mutating func move(to next: RequestState) {
        switch (self, next) {
        case (.free, .posted), (.posted, .sent), (.posted, .answered), (.posted, .free), (.sent, .free),
            (.answered, .free):
            self = next
        default: invariantViolated("a command makes only the listed transitions")
        }
    }
}

/// A command that a queue pair has under way. Plain data.
struct RequestSlot: BitwiseCopyable {
    var state = RequestState.free
    /// Raised with each use and sent in the command identifier: an answer that comes twice is recognised.
    var generation: UInt8 = 0
    /// The controller was asked to invalidate `key`.
    var invalidates = false
    var key: UInt32 = 0
    /// The operation that this command is a part of.
    var operation = noSlot
    /// The answer, while the SEND is awaited.
    var status = Status.success
    var result: UInt64 = 0
}

/// Command identifiers: the request's index in the low bits, its generation above.
enum CommandIdentifier {
    static let indexBits: UInt16 = 10
    static let indexMask: UInt16 = (1 << indexBits) - 1
    static let generationMask: UInt8 = UInt8((1 << (16 - indexBits)) - 1)

    @inline(__always)
    static func make(index: UInt32, generation: UInt8) -> UInt16 {
        UInt16(truncatingIfNeeded: index) | UInt16(generation & generationMask) << indexBits
    }

    @inline(__always)
    static func index(of identifier: UInt16) -> Int { Int(identifier & indexMask) }

    @inline(__always)
    static func generation(of identifier: UInt16) -> UInt8 { UInt8(truncatingIfNeeded: identifier >> indexBits) }
}
