import ControllerCalls
import Glibc

/// A look at what a device holds, by reads that all have to succeed. blkid(8) alone does not tell a device that is empty from one that could not
/// be read.
struct SignatureProbe {
    enum Finding: Equatable {
        /// All that was read is zero, and nobody knows a signature in it.
        case nothing
        /// A file system, a partition table or the like, as blkid calls it.
        case signature(String)
        /// Something that nobody knows.
        case unknown
    }

    /// Bytes read at each end: signatures of file systems, of volume managers and of partition tables lie in them.
    private static let window: UInt64 = 4 << 20
    private static let alignment: UInt64 = 4096

    let device: HostDevice
    let programs: HostProgram

    /// Looks at the device. Throws `unavailable` where any read fails, or gives less than it should.
    func look() async throws(NodeError) -> Finding {
        let isZero = try await endsAreZero()
        let outcome = try await programs.run(
            "blkid", ["--probe", "--output", "value", "--match-tag", "TYPE", device.path])
        switch outcome.status {
        case 0:
            let type = outcome.text.split(separator: "\n").first.map(String.init)
            if let type { return .signature(type) }
            return isZero ? .nothing : .signature("a partition table")
        case 2: return isZero ? .nothing : .unknown
        case 8: return .signature("several signatures")
        default:
            throw NodeError(.unavailable, "blkid cannot look at \(device.path) (\(outcome.status)): \(outcome.line)")
        }
    }

    /// Whether all bytes at both ends are zero, read from the device itself and not from what the system has cached of it.
    private func endsAreZero() async throws(NodeError) -> Bool {
        let size = try device.byteCount()
        guard size > 0 else { throw NodeError(.unavailable, "\(device.path) has no size: it cannot be looked at") }
        let last = (size - min(size, Self.window)) / Self.alignment * Self.alignment
        for place in [0, last] {
            let length = min(Self.window, size - place)
            // A program's read can be given up, should the device not answer.
            let outcome = try await programs.run(
                "dd",
                [
                    "if=\(device.path)", "iflag=direct,skip_bytes,count_bytes,fullblock", "bs=1M", "skip=\(place)",
                    "count=\(length)", "status=none",
                ])
            guard outcome.status == 0, outcome.bytes.count == length else {
                let reason = outcome.status == 0 ? "\(outcome.bytes.count) bytes came of \(length)" : outcome.line
                throw NodeError(
                    .unavailable,
                    "\(device.path) cannot be read at \(place) (\(reason)): what is on it is not known, and nothing was changed"
                )
            }
            guard outcome.bytes.allSatisfy({ $0 == 0 }) else { return false }
        }
        return true
    }
}
