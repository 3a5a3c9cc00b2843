import NVMeSpec
import TargetInterface

extension TargetOptions {
    /// Namespaces that a subsystem may have; Identify Controller MNAN. Linux's host reads the ANA log with one command, and
    /// does without ANA where it would be longer than a transfer may be.
    var maxNamespaceCount: Int {
        let room = maxTransferSize - ANALog.headerByteCount - Limits.anaGroups * ANALog.Group.headerByteCount
        return min(maxNamespaces, max(256, room / 4))
    }
}

/// Numbers that are not worth a knob.
enum Limits {
    /// ANA groups have identifiers from 1 to this.
    static let anaGroups = 128
    /// Asynchronous Event Requests of one controller; Identify Controller AERL + 1.
    static let asyncEventRequests = 4
    /// Abort commands of one controller; Identify Controller ACL + 1.
    static let abortCommands = 4
    /// Completions of a block device taken in one poll.
    static let completionBatch = 64
    /// Events of a port taken in one poll, and orders given before they are carried out.
    static let eventBatch = 192
    static let orderBatch = 256
    /// Namespaces that a reactor looks at in one round, and of those the ones that it opens: that may be a system call, which takes
    /// as long as all the rest.
    static let namespacesPerRound = 16
    static let openingsPerRound = 1
    /// Bytes of an answer that are written in one round.
    static let pageBytesPerRound = 16 << 10
    /// Hosts that are registered with one namespace.
    static let registrants = 4096
    /// Hosts that are told of something in one round, and registrants that are looked at, or given up, in one.
    static let hostsPerRound = 16
    static let registrantsPerRound = 128
    /// Reservation commands that wait for others on one namespace; more are told to try again.
    static let waitingReservations = 4096
    /// One request in so many is for commands of other than I/O queues alone.
    static let requestReserve = 16
    /// Bytes that a Compare and Write may cover at the most: the largest block there is.
    static let compareAndWriteBytes: UInt32 = 65536
    /// How long the first half of a fused operation waits for the second, in milliseconds.
    static let fusedMilliseconds: UInt64 = 10_000
    /// Operations of one reactor at one block device.
    static let blockDepth = 512
    /// How long a connection is kept that no Connect command has come for, in milliseconds.
    static let connectMilliseconds: UInt64 = 30_000
    /// How long each step may take by which a host shows who it is, in milliseconds; and how long the queue of one that has failed stays, so that it
    /// hears why.
    static let authenticationMilliseconds: UInt64 = 30_000
    static let authenticationFailureMilliseconds: UInt64 = 1_000
    /// How long a Connect or a Quiesce waits for commands of the same host's ended associations, in milliseconds; less than
    /// hosts wait for a Connect (Linux: 60 s). And after how long a Connect is reported; less than a volume waits for a
    /// member.
    static let heldMilliseconds: UInt64 = 20_000
    static let heldReportMilliseconds: UInt64 = 500
    /// How long a host may take for a read's data while a write of the same place waits, in milliseconds.
    static let loanMilliseconds: UInt64 = 2_000
    /// How long reads are copied after memory could not be registered, in milliseconds.
    static let lendingPauseMilliseconds: UInt64 = 1_000
    /// How often a busy reactor asks for connection events, in nanoseconds.
    static let eventCheckNanoseconds: UInt64 = 2_000_000
    /// How long a reactor sleeps at most while another one has what a command of its own waits for, in nanoseconds.
    static let blockedRetryNanoseconds: UInt64 = 1_000_000
}
