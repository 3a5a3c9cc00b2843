import NVMeSpec

/// Data that a command returns, written where a window of it lies: what a piece costs does not depend on how much there is.
struct DataPage {
    let byteCount: Int
    /// So much of it is written in one round.
    let bytesPerRound: Int
    /// Writes the part that falls into a window.
    let write: (PageWindow) -> Void

    init(
        byteCount: Int, bytesPerRound: Int = Limits.pageBytesPerRound, write: @escaping (PageWindow) -> Void
    ) {
        self.byteCount = byteCount
        self.bytesPerRound = bytesPerRound
        self.write = write
    }

    /// A short one.
    init(_ bytes: [UInt8]) { self.init(byteCount: bytes.count) { $0.place(bytes, at: 0) } }
}
