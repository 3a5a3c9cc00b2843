/// The tag of a member's command, which says what it belongs to: purpose (4 bits), member (4), index (24), generation (32).
struct Tag: BitwiseCopyable {
    enum Purpose: UInt8, BitwiseCopyable {
        case operation, page, superblock, join
    }

    var purpose: Purpose
    var member: MemberIndex
    var index: Int
    var generation: UInt32

    @inline(__always)
    var rawValue: UInt64 {
        UInt64(purpose.rawValue) << 60 | UInt64(member.place) << 56 | UInt64(index & 0xff_ffff) << 32
            | UInt64(generation)
    }

    init(_ purpose: Purpose, member: MemberIndex, index: Int = 0, generation: UInt32 = 0) {
        self.purpose = purpose
        self.member = member
        self.index = index
        self.generation = generation
    }

    /// Takes a tag apart; `nil` for one that the engine cannot have made.
    @inline(__always)
    init?(rawValue: UInt64) {
        guard let purpose = Purpose(rawValue: UInt8(rawValue >> 60)), rawValue >> 56 & 15 < memberCount else {
            return nil
        }
        self.purpose = purpose
        member = MemberIndex(place: UInt8(rawValue >> 56 & 15))
        index = Int(rawValue >> 32 & 0xff_ffff)
        generation = UInt32(truncatingIfNeeded: rawValue)
    }
}
