/// The contents of a volume's block: each word names the write, the block and its own place, so that a block of another place,
/// a shift within a block and parts of two writes are seen. Value 0 is a block of zeroes.
package enum BlockContent {
    /// Lays out what the write of a value leaves in a block. Values are below 2^32.
    package static func lay(_ value: UInt64, of block: Int, in bytes: UnsafeMutableRawBufferPointer) {
        for place in 0..<bytes.count / 8 {
            bytes.storeBytes(of: word(value, block, place), toByteOffset: place * 8, as: UInt64.self)
        }
    }

    /// The value whose content of a block this is, all of it; `nil` where it is no value's.
    package static func value(of block: Int, in bytes: UnsafeRawBufferPointer) -> UInt64? {
        let value = bytes.load(as: UInt64.self) >> 32
        for place in 0..<bytes.count / 8
        where bytes.load(fromByteOffset: place * 8, as: UInt64.self) != word(value, block, place) { return nil }
        return value
    }

    /// Describes a block that holds no value, for people.
    package static func describe(_ bytes: UnsafeRawBufferPointer) -> String {
        var runs: [String] = []
        var last: UInt64?
        for place in 0..<bytes.count / 8 {
            let found = bytes.load(fromByteOffset: place * 8, as: UInt64.self)
            // Words that follow each other differ by their places alone.
            if last.map({ found != $0 && found != $0 &+ 1 }) ?? true, runs.count < 4 {
                runs.append(
                    "from word \(place) on \(found >> 32) of block \(found >> 16 & 0xFFFF), word \(found & 0xFFFF)")
            }
            last = found
        }
        return "is torn or misplaced: " + runs.joined(separator: "; ")
    }

    private static func word(_ value: UInt64, _ block: Int, _ place: Int) -> UInt64 {
        value == 0 ? 0 : value << 32 | UInt64(block) << 16 | UInt64(place)
    }
}
