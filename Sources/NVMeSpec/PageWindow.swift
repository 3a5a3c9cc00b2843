import Base

/// The part of a page of data that a host asked for: zeroed memory, and what place of the page it is.
///
/// A long page is written through windows, so that a piece of it costs what the piece is long, not what the page is.
public struct PageWindow {
    /// Place of the window's first byte in the page, in bytes.
    public let offset: Int
    private let buffer: UnsafeMutableRawBufferPointer

    /// - Parameter buffer: zeroed.
    public init(offset: Int, _ buffer: UnsafeMutableRawBufferPointer) {
        self.offset = offset
        self.buffer = buffer
    }

    /// The bytes of the page that the window holds.
    public var range: Range<Int> { offset..<offset + buffer.count }

    /// Places that a repeated structure has in the window: of structures of `stride` bytes from `start` on, those that the
    /// window touches, `count` at the most.
    public func indices(from start: Int, stride: Int, count: Int) -> Range<Int> {
        let first = min(count, max(0, range.lowerBound - start) / stride)
        let end = min(count, max(0, range.upperBound - start + stride - 1) / stride)
        return first..<max(first, end)
    }

    /// Writes those of `bytes` that fall into the window.
    ///
    /// - Parameter position: of their first byte in the page.
    public func place(_ bytes: UnsafeRawBufferPointer, at position: Int) {
        let part = range.clamped(to: position..<position + bytes.count)
        guard !part.isEmpty, let target = buffer.baseAddress, let source = bytes.baseAddress else { return }
        (target + (part.lowerBound - offset)).copyMemory(
            from: source + (part.lowerBound - position), byteCount: part.count)
    }

    /// Writes those of `bytes` that fall into the window.
    public func place(_ bytes: [UInt8], at position: Int) { bytes.withUnsafeBytes { place($0, at: position) } }

    /// Writes the bytes of a text that fall into the window.
    public func place(_ text: String, at position: Int) {
        var text = text
        text.withUTF8 { place(UnsafeRawBufferPointer($0), at: position) }
    }

    /// Writes those of `words`, little-endian, that lie whole in the window. Windows begin and end at whole words.
    public func place(_ words: [UInt32], at position: Int) {
        guard let target = buffer.baseAddress else { return }
        for index in indices(from: position, stride: 4, count: words.count) {
            let place = position + index * 4
            guard place >= range.lowerBound, place + 4 <= range.upperBound else { continue }
            (target + (place - offset)).store32(words[index], at: 0)
        }
    }
}
