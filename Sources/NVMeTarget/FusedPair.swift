import Base
import TargetTransport

/// A request's part in a fused operation.
struct FusedPair: BitwiseCopyable {
    /// The other half, from when both have arrived until one of them is answered or ends.
    private(set) var partner = RequestIndex.none
    /// The data of this half is here.
    private(set) var isReady = false

    /// Both halves have arrived.
    mutating func join(_ other: RequestIndex) { partner = other }

    /// The half is on its own from here on.
    mutating func separate() { partner = .none }

    mutating func ready() { isReady = true }
}
