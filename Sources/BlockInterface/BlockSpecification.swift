import Base

/// The backing of a namespace, as it is written on a command line or in a configuration:
///
///     /dev/nvme0n1          a block device
///     /srv/disk.img         a regular file
///     ram:64M               memory of that size
///     null:1T               nothing: writes are dropped, reads are zeroes
///
/// followed by options, separated by commas: `block=4096` (bytes of a logical block), `readonly`, `buffered` (through
/// the page cache; both for paths only), `populate` (all memory is taken at once) and `latency=80us` (the time that each request takes
/// at the least, as a drive's would; both for `ram:` only). A comma in a path is written `\,`.
public struct BlockSpecification: Equatable, Sendable {
    /// The place of the blocks.
    public enum Backing: Hashable, Sendable {
        case path(String)
        case ram(byteCount: UInt64)
        case null(byteCount: UInt64)
    }

    public var backing: Backing
    /// Bytes of a logical block; `nil` takes the device's own, or 512.
    public var blockSize: UInt32?
    /// Nothing may be written.
    public var readOnly: Bool
    /// Paths only: through the page cache.
    public var buffered: Bool
    /// Memory only: all of it is taken when the device is opened.
    public var isPopulated: Bool
    /// Memory only: the time that each request takes at the least, in microseconds.
    public var latencyMicroseconds: UInt32

    /// The longest latency, in microseconds.
    static let longestLatencyMicroseconds: UInt32 = 10_000_000

    public init(
        _ backing: Backing, blockSize: UInt32? = nil, readOnly: Bool = false, buffered: Bool = false,
        isPopulated: Bool = false, latencyMicroseconds: UInt32 = 0
    ) {
        self.backing = backing
        self.blockSize = blockSize
        self.readOnly = readOnly
        self.buffered = buffered
        self.isPopulated = isPopulated
        self.latencyMicroseconds = latencyMicroseconds
    }

    /// - Throws: one line that says which part of `text` is wrong and what is allowed there.
    public init(parsing text: String) throws(TercetError) {
        let parts = Self.split(text)
        self.init(try Self.backing(parts[0], whole: text))
        for option in parts.dropFirst() { try apply(option: option, whole: text) }
        if isPopulated || latencyMicroseconds > 0 {
            guard case .ram = backing else {
                throw TercetError(.invalid, "\(text): '\(isPopulated ? "populate" : "latency")' is for ram: only")
            }
        }
        if readOnly || buffered, case .path = backing { return }
        if readOnly || buffered { throw TercetError(.invalid, "\(text): 'readonly' and 'buffered' are for paths only") }
    }

    private static func backing(_ text: String, whole: String) throws(TercetError) -> Backing {
        for (prefix, make) in [("ram:", Backing.ram), ("null:", Backing.null)] where text.hasPrefix(prefix) {
            guard let size = ByteSize.parse(text.dropFirst(prefix.count)), size > 0 else {
                throw TercetError(
                    .invalid,
                    "\(whole): '\(text.dropFirst(prefix.count))' is no size; a number with K, M, G or T is, such as "
                        + "\(prefix)64M")
            }
            return make(size)
        }
        if text.isEmpty { throw TercetError(.invalid, "'\(whole)': a path, ram:SIZE or null:SIZE is needed") }
        return .path(text)
    }

    private mutating func apply(option: String, whole: String) throws(TercetError) {
        switch option {
        case "readonly": readOnly = true
        case "buffered": buffered = true
        case "populate": isPopulated = true
        case _ where option.hasPrefix("block="):
            guard let size = ByteSize.parse(option.dropFirst(6)), let small = UInt32(exactly: size),
                BlockGeometry.isBlockSize(small)
            else {
                throw TercetError(
                    .invalid,
                    "\(whole): '\(option)': a block size is a power of two from 512 to 65536, such as block=4096")
            }
            blockSize = small
        case _ where option.hasPrefix("latency="):
            guard option.hasSuffix("us"), let time = UInt32(option.dropFirst(8).dropLast(2)),
                (1...Self.longestLatencyMicroseconds).contains(time)
            else {
                throw TercetError(
                    .invalid,
                    "\(whole): '\(option)': a latency is from 1us to \(Self.longestLatencyMicroseconds)us, such as latency=80us"
                )
            }
            latencyMicroseconds = time
        default:
            throw TercetError(
                .invalid,
                "\(whole): there is no option '\(option)'; there are block=SIZE, readonly, buffered, populate and "
                    + "latency=TIME")
        }
    }

    /// The parts between the commas that have no backslash before them.
    private static func split(_ text: String) -> [String] {
        var parts = [""]
        var isEscaped = false
        for character in text {
            if character == "," && !isEscaped {
                parts.append("")
                continue
            }
            if isEscaped && character != "," { parts[parts.count - 1].append("\\") }
            isEscaped = character == "\\" && !isEscaped
            if !isEscaped { parts[parts.count - 1].append(character) }
        }
        if isEscaped { parts[parts.count - 1].append("\\") }
        return parts
    }
}

extension BlockSpecification: CustomStringConvertible {
    /// The form that `init(parsing:)` reads.
    public var description: String {
        var text =
            switch backing {
            case .path(let path): path.split(separator: ",", omittingEmptySubsequences: false).joined(separator: "\\,")
            case .ram(let byteCount): "ram:\(ByteSize.format(byteCount))"
            case .null(let byteCount): "null:\(ByteSize.format(byteCount))"
            }
        if let blockSize { text += ",block=\(blockSize)" }
        if readOnly { text += ",readonly" }
        if buffered { text += ",buffered" }
        if isPopulated { text += ",populate" }
        if latencyMicroseconds > 0 { text += ",latency=\(latencyMicroseconds)us" }
        return text
    }
}
