/// A parser of bytes from a peer, a file or a socket, with what must hold whatever the bytes are.
///
/// The tests feed it seeded random bytes; `Tools/fuzz` feeds it libFuzzer's. It traps where something does not hold.
public struct FuzzTarget: Sendable {
    public let name: String
    /// Bytes that are what the parser expects, to start from.
    public let seeds: [[UInt8]]
    /// Inputs that the tests feed it with: fewer where each takes long.
    public let inputs: Int
    /// Parses the bytes.
    public let run: @Sendable (UnsafeRawBufferPointer) -> Void

    public init(
        name: String, seeds: [[UInt8]], inputs: Int = 100_000, run: @escaping @Sendable (UnsafeRawBufferPointer) -> Void
    ) {
        (self.name, self.seeds, self.inputs, self.run) = (name, seeds, inputs, run)
    }
}
