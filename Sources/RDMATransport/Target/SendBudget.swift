/// Work that may still be posted on a device. When queue pairs fail all of their work completes, signaled or not, and the
/// completion queue must have room for it.
struct SendBudget {
    private(set) var available: Int32
    /// Entries that any answer may need.
    private let longestAnswer: Int32
    /// Somebody waits for it.
    private(set) var isWanted = false

    init(entries: Int, answer: Int) {
        available = Int32(clamping: entries)
        longestAnswer = Int32(clamping: answer)
    }

    @inline(__always)
    mutating func take(_ entries: Int32) { available -= entries }

    @inline(__always)
    mutating func give(_ entries: Int32) { available += entries }

    /// Somebody waits from now on.
    mutating func want() { isWanted = true }

    /// Somebody waits, and there is enough for any answer.
    @inline(__always)
    var isAwaited: Bool { isWanted && available > longestAnswer }

    /// Those who wait are served now.
    mutating func serve() { isWanted = false }
}
