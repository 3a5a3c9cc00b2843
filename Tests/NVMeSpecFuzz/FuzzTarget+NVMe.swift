import Base
import Fuzzing
import NVMeSpec

extension FuzzTarget {
    /// Every parser of NVMeSpec.
    public static let nvme: [FuzzTarget] = entries + handshakes + identify + logs + texts

    /// A structure of fixed size: what it decodes is encoded and decoded again without a change. Text that is no UTF-8
    /// is replaced by the first decoding, which may make it too long for its field, so the second one is compared.
    static func structure<S: FixedStructure & Equatable>(_ example: S) -> FuzzTarget {
        FuzzTarget(name: "\(S.self)", seeds: [example.encoded, S().encoded]) { bytes in
            guard let first = try? S(decoding: bytes) else { return }
            guard let second = try? S(decoding: first.encoded), let third = try? S(decoding: second.encoded) else {
                invariantViolated("what was decoded can be decoded again")
            }
            invariant(third == second, "encoding and decoding keep a structure")
        }
    }

    /// A structure of variable size: what it decodes is encoded and decoded again without a change.
    static func list<S: Equatable & Sendable>(
        _ name: String, _ example: S, encode: @escaping @Sendable (S) -> [UInt8],
        decode: @escaping @Sendable (UnsafeRawBufferPointer) throws -> S
    ) -> FuzzTarget {
        FuzzTarget(name: name, seeds: [encode(example)]) { bytes in
            guard let first = try? decode(bytes) else { return }
            let second = try? encode(first).withUnsafeBytes { try decode($0) }
            invariant(second == first, "encoding and decoding keep a list")
        }
    }
}
