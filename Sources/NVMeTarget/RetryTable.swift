import NVMeSpec

/// Whether a host may succeed that sends a refused command once more: the Do Not Retry bit of each status (NVMe Base,
/// "Completion Queue Entry: Status Field").
///
/// The bit is said only where the command itself is wrong. A reload, a restart, a drain or a shortage brings about what looks
/// like a wrong command: a subsystem or a namespace that is away for a moment, a controller that has ended. Linux (6.12)
/// takes the bit in an answer to a reconnect as a reason to remove the controller, and the block device below a mounted file
/// system with it.
enum RetryTable {
    enum Verdict: UInt8 {
        /// The same command ends in the same way again.
        case never
        /// Time, or somebody else, can change the answer.
        case mayHelp
        /// The status has causes of both kinds: who refuses says which it is.
        case byCause
    }

    struct Row {
        let status: Status
        let verdict: Verdict
        let reason: String

        init(_ status: Status, _ verdict: Verdict, _ reason: String) {
            self.status = status
            self.verdict = verdict
            self.reason = reason
        }
    }

    /// The statuses that the target refuses commands with.
    static let rows: [Row] = [
        // Generic.
        Row(.invalidOpcode, .never, "the target has no such command"),
        Row(.invalidField, .never, "the command contradicts the specification, or asks for what is not offered"),
        Row(.dataTransferError, .mayHelp, "the data was lost on its way"),
        Row(.internalError, .mayHelp, "a shortage or a fault of the moment; memory, or a store that cannot be written"),
        Row(.commandAbortRequested, .mayHelp, "the host has withdrawn the command itself"),
        Row(.abortedFailedFused, .mayHelp, "the answer to the other half says why"),
        Row(.abortedMissingFused, .mayHelp, "the other half has not come in time"),
        Row(.invalidNamespaceOrFormat, .byCause, "no namespace can have the identifier, or a reload has taken it away"),
        Row(
            .commandSequenceError, .mayHelp, "the controller is not enabled, being reset, or has a queue that is ending"
        ),
        Row(.invalidSGLSegmentDescriptor, .never, "the descriptors are wrong"),
        Row(.invalidNumberOfSGLDescriptors, .never, "the descriptors are wrong"),
        Row(.dataSGLLengthInvalid, .never, "the descriptors are wrong"),
        Row(.sglDescriptorTypeInvalid, .never, "the descriptors are wrong"),
        Row(.sglOffsetInvalid, .never, "the descriptors are wrong"),
        Row(.hostIdentifierInconsistentFormat, .never, "host identifiers have 128 bits over fabrics"),
        Row(.keepAliveTimeoutInvalid, .never, "the target grants no timeout that long"),
        Row(.abortedPreemptAndAbort, .never, "the host has been fenced"),
        Row(.namespaceIsWriteProtected, .never, "it is exported read only"),
        Row(.commandInterrupted, .mayHelp, "others' commands were in the way"),
        Row(.lbaOutOfRange, .never, "there are no such blocks"),
        Row(.capacityExceeded, .mayHelp, "what holds the namespace is full; room may be made"),
        Row(.namespaceNotReady, .mayHelp, "the device is away; it may come back, and is then opened anew"),
        Row(.operationDenied, .mayHelp, "the host does not manage the pool; a reload may let it"),
        Row(.reservationConflict, .never, "another host has the reservation; this one has to do something about it"),
        // Command specific.
        Row(.asynchronousEventRequestLimitExceeded, .mayHelp, "an event answers one of those that are there"),
        Row(.invalidLogPage, .never, "there is no such log page"),
        Row(.featureIdentifierNotSaveable, .never, "nothing is saved"),
        Row(.featureNotChangeable, .never, "the feature cannot be changed"),
        Row(.invalidFormat, .never, "a pool has one format"),
        Row(.namespaceInsufficientCapacity, .mayHelp, "a namespace that is deleted makes room"),
        Row(.namespaceIdentifierUnavailable, .mayHelp, "the same"),
        Row(.namespaceAlreadyAttached, .mayHelp, "somebody may detach it"),
        Row(.namespaceNotAttached, .mayHelp, "somebody may attach it"),
        Row(.identifierUnavailable, .mayHelp, "the namespace that has the UUID may be deleted"),
        Row(.thinProvisioningNotSupported, .never, "a namespace has the capacity of its size"),
        Row(.controllerListInvalid, .mayHelp, "a controller comes when its host connects"),
        Row(.anaGroupIdentifierInvalid, .never, "a pool's namespaces are in one group"),
        Row(.ioCommandSetNotSupported, .never, "there is one command set"),
        Row(.insufficientCapacity, .mayHelp, "as many hosts are registered as can be; one may go"),
        // Fabrics; 81h is Invalid Protection Information in the answer to I/O, and that is for good.
        Row(.connectIncompatibleFormat, .never, "there is one record format"),
        Row(.connectControllerBusy, .byCause, "commands of earlier associations are not over, or there is no room"),
        Row(.connectInvalidParameters, .byCause, "the host contradicts itself, or names what is away for a moment"),
        Row(.connectInvalidHost, .mayHelp, "a reload may name the host again"),
        Row(.authenticationRequired, .never, "the host has to show who it is first"),
        Row(.invalidQueueType, .never, "only I/O queues are disconnected"),
        // Media.
        Row(.writeFault, .mayHelp, "a fault of the device"),
        Row(.unrecoveredReadError, .mayHelp, "a fault of the device"),
        Row(.compareFailure, .never, "what is there is not what was expected"),
        // Path.
        Row(.asymmetricAccessInaccessible, .mayHelp, "another path, or this one later"),
        Row(.asymmetricAccessPersistentLoss, .mayHelp, "another path"),
        Row(.asymmetricAccessTransition, .mayHelp, "the state is changing"),
    ]

    /// By type and code of the status. One that is not in the table may help: a wrong "never" costs a device.
    private static let verdicts: [Verdict] = {
        var verdicts = [Verdict](repeating: .mayHelp, count: 0x800)
        for row in rows { verdicts[Int(row.status.code)] = row.verdict }
        return verdicts
    }()

    /// A status with the Do Not Retry bit that it is to have.
    static func judged(_ status: Status) -> Status {
        switch verdicts[Int(status.code)] {
        case .never: status.doNotRetry
        case .mayHelp: Status(rawValue: status.rawValue & ~Status.success.doNotRetry.rawValue)
        case .byCause: status
        }
    }
}

extension ConnectFailure {
    /// The host would fail again with the same command.
    var forGood: ConnectFailure { ConnectFailure(status: status.doNotRetry, result: result) }
}
