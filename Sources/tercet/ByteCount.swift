import ArgumentParser
import Base

/// A number of bytes greater than 0, written as tercetd's sizes are: 4096, 4k, 1M, 2GiB.
struct ByteCount: ExpressibleByArgument {
    var value: Int

    init(_ value: Int) { self.value = value }

    init?(argument: String) {
        guard let bytes = ByteSize.parse(argument), bytes > 0, let value = Int(exactly: bytes) else { return nil }
        self.value = value
    }

    var defaultValueDescription: String { ByteSize.format(UInt64(value)) }

    /// The help of an option that takes a number of bytes.
    static func help(_ text: String) -> ArgumentHelp {
        ArgumentHelp("\(text) In bytes; K, M, G or T may follow.", valueName: "bytes")
    }
}
