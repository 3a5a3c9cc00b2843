import NVMeSpec

/// The last errors of a controller, newest first (NVMe Base, "Error Information" log page).
struct ErrorLog: Sendable {
    /// Entries kept; Identify Controller ELPE + 1.
    static let capacity = 64
    private(set) var entries: [ErrorLogEntry] = []
    private(set) var count: UInt64 = 0

    mutating func record(
        queueID: UInt16, commandID: UInt16, status: Status, lba: UInt64, nsid: UInt32
    ) {
        count += 1
        var entry = ErrorLogEntry()
        entry.errorCount = count
        entry.submissionQueueID = queueID
        entry.commandID = commandID
        entry.status = status
        entry.lba = lba
        entry.nsid = nsid
        entry.transport = 1
        entries.insert(entry, at: 0)
        if entries.count > ErrorLog.capacity { entries.removeLast() }
    }
}
