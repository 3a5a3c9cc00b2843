/// Whether a reactor that is dear to wake is to go on polling for its idle spell, learned from its own waits.
///
/// Under load answers come within the spell, and a wait that is polled through saves the price of arming and of being woken. At rest
/// a reactor is woken by keep-alives and timers, each with a long wait behind it: then the spell is all that it costs, and in vain.
/// A keep-alive has an answer, a short wait, of its own: so a long wait counts for more than a short one.
public struct IdleSpell: Sendable {
    /// The most that short waits add up to: so many, after which two long ones do not end the spell.
    static let most = 8
    /// The least for which the spell is worth its time.
    static let least = 4
    /// A long wait takes away what so many short ones have added.
    static let longCounts = 2

    private var balance = IdleSpell.most

    public init() {}

    /// Whether the wait that begins now is to be polled through for a while.
    public var isWorthwhile: Bool { balance >= IdleSpell.least }

    /// A wait is over.
    ///
    /// - Parameter isShort: polling for the idle spell has found, or would have found, the work that ended it.
    public mutating func waited(isShort: Bool) {
        balance = isShort ? min(balance + 1, IdleSpell.most) : max(balance - IdleSpell.longCounts, 0)
    }
}
