import Base
import CCrypto

/// Bytes that nobody may see: they are compared in constant time, cleared when they are given up, and shown by no log, error or
/// dump.
///
/// Unchecked: the bytes do not change after `init`.
public final class Secret: @unchecked Sendable {
    private let memory: UnsafeMutableRawBufferPointer

    /// - Parameter fill: writes all bytes, which are zeroes before.
    public init<Failure: Error>(
        byteCount: Int, _ fill: (UnsafeMutableRawBufferPointer) throws(Failure) -> Void
    ) throws(Failure) {
        memory = .allocate(byteCount: byteCount, alignment: 16)
        memory.initializeMemory(as: UInt8.self, repeating: 0)
        try fill(memory)
    }

    public convenience init(copying bytes: UnsafeRawBufferPointer) {
        self.init(byteCount: bytes.count) { $0.copyMemory(from: bytes) }
    }

    /// Bytes from the system's generator of random numbers.
    public convenience init(randomByteCount: Int) {
        self.init(byteCount: randomByteCount) { memory in
            let done = RAND_priv_bytes(memory.bindMemory(to: UInt8.self).baseAddress, Int32(memory.count))
            invariant(done == 1, "the system gives random numbers")
        }
    }

    deinit {
        OPENSSL_cleanse(memory.baseAddress, memory.count)
        memory.deallocate()
    }

    public var byteCount: Int { memory.count }

    /// Lends the bytes; they must not be kept.
    public func withBytes<Result, Failure: Error>(
        _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
    ) throws(Failure) -> Result { try body(UnsafeRawBufferPointer(memory)) }

    /// Whether these are the same bytes; takes as long wherever they differ.
    public func equals(_ bytes: UnsafeRawBufferPointer) -> Bool {
        bytes.count == memory.count
            && (memory.isEmpty || CRYPTO_memcmp(memory.baseAddress, bytes.baseAddress, memory.count) == 0)
    }
}

extension Secret: Equatable {
    public static func == (one: Secret, other: Secret) -> Bool { other.withBytes { one.equals($0) } }
}

extension Secret: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    public var description: String { "(secret)" }
    public var debugDescription: String { description }
    public var customMirror: Mirror { Mirror(self, children: []) }
}
