import SystemPackage

/// The engine's report of a run while it goes on: the fields of `struct report` in Tools/fio/engine/report.h.
struct RunReport {
    enum MemberState: UInt32 {
        case inSync, behind, away
    }

    struct Member {
        var state: MemberState
        /// Still to be copied to it.
        var behindBytes: UInt64
    }

    /// Operations of all jobs.
    var submitted: UInt64
    var completed: UInt64
    /// Those of the volume; empty where there is none, or nothing is known yet.
    var members: [Member]

    private static let byteCount = 72

    /// - Returns: `nil` before the file is complete.
    init?(path: String) {
        guard let file = try? FileDescriptor.open(FilePath(path), .readOnly, options: .closeOnExec) else { return nil }
        defer { try? file.close() }
        let read = withUnsafeTemporaryAllocation(byteCount: RunReport.byteCount, alignment: 8) { bytes -> RunReport? in
            guard (try? file.read(fromAbsoluteOffset: 0, into: bytes)) == bytes.count else { return nil }
            let count = min(Int(bytes.load(fromByteOffset: 16, as: UInt32.self)), 3)
            let members = (0..<count).map { index in
                Member(
                    state: MemberState(rawValue: bytes.load(fromByteOffset: 24 + index * 16, as: UInt32.self)) ?? .away,
                    behindBytes: bytes.load(fromByteOffset: 32 + index * 16, as: UInt64.self))
            }
            return RunReport(
                submitted: bytes.load(as: UInt64.self), completed: bytes.load(fromByteOffset: 8, as: UInt64.self),
                members: members)
        }
        guard let read else { return nil }
        self = read
    }

    private init(submitted: UInt64, completed: UInt64, members: [Member]) {
        self.submitted = submitted
        self.completed = completed
        self.members = members
    }
}
