/// Command Specific Status (SCT 1; NVMe Base, "Command Specific Status Definition").
extension Status {
    /// Completion Queue Invalid: 00h.
    @inlinable public static var completionQueueInvalid: Status { Status(.commandSpecific, 0x00) }

    /// Invalid Queue Identifier: 01h.
    @inlinable public static var invalidQueueIdentifier: Status { Status(.commandSpecific, 0x01) }

    /// Invalid Queue Size: 02h.
    @inlinable public static var invalidQueueSize: Status { Status(.commandSpecific, 0x02) }

    /// Abort Command Limit Exceeded: 03h.
    @inlinable public static var abortCommandLimitExceeded: Status { Status(.commandSpecific, 0x03) }

    /// Asynchronous Event Request Limit Exceeded: 05h.
    @inlinable public static var asynchronousEventRequestLimitExceeded: Status { Status(.commandSpecific, 0x05) }

    /// Invalid Firmware Slot: 06h.
    @inlinable public static var invalidFirmwareSlot: Status { Status(.commandSpecific, 0x06) }

    /// Invalid Firmware Image: 07h.
    @inlinable public static var invalidFirmwareImage: Status { Status(.commandSpecific, 0x07) }

    /// Invalid Interrupt Vector: 08h.
    @inlinable public static var invalidInterruptVector: Status { Status(.commandSpecific, 0x08) }

    /// Invalid Log Page: 09h.
    @inlinable public static var invalidLogPage: Status { Status(.commandSpecific, 0x09) }

    /// Invalid Format: 0Ah.
    @inlinable public static var invalidFormat: Status { Status(.commandSpecific, 0x0A) }

    /// Firmware Activation Requires Conventional Reset: 0Bh.
    @inlinable public static var firmwareActivationRequiresConventionalReset: Status { Status(.commandSpecific, 0x0B) }

    /// Invalid Queue Deletion: 0Ch.
    @inlinable public static var invalidQueueDeletion: Status { Status(.commandSpecific, 0x0C) }

    /// Feature Identifier Not Saveable: 0Dh.
    @inlinable public static var featureIdentifierNotSaveable: Status { Status(.commandSpecific, 0x0D) }

    /// Feature Not Changeable: 0Eh.
    @inlinable public static var featureNotChangeable: Status { Status(.commandSpecific, 0x0E) }

    /// Feature Not Namespace Specific: 0Fh.
    @inlinable public static var featureNotNamespaceSpecific: Status { Status(.commandSpecific, 0x0F) }

    /// Firmware Activation Requires NVM Subsystem Reset: 10h.
    @inlinable public static var firmwareActivationRequiresSubsystemReset: Status { Status(.commandSpecific, 0x10) }

    /// Firmware Activation Requires Controller Level Reset: 11h.
    @inlinable public static var firmwareActivationRequiresReset: Status { Status(.commandSpecific, 0x11) }

    /// Firmware Activation Requires Maximum Time Violation: 12h.
    @inlinable public static var firmwareActivationRequiresMaximumTime: Status { Status(.commandSpecific, 0x12) }

    /// Firmware Activation Prohibited: 13h.
    @inlinable public static var firmwareActivationProhibited: Status { Status(.commandSpecific, 0x13) }

    /// Overlapping Range: 14h.
    @inlinable public static var overlappingRange: Status { Status(.commandSpecific, 0x14) }

    /// Namespace Insufficient Capacity: 15h.
    @inlinable public static var namespaceInsufficientCapacity: Status { Status(.commandSpecific, 0x15) }

    /// Namespace Identifier Unavailable: 16h.
    @inlinable public static var namespaceIdentifierUnavailable: Status { Status(.commandSpecific, 0x16) }

    /// Namespace Already Attached: 18h.
    @inlinable public static var namespaceAlreadyAttached: Status { Status(.commandSpecific, 0x18) }

    /// Namespace Is Private: 19h.
    @inlinable public static var namespaceIsPrivate: Status { Status(.commandSpecific, 0x19) }

    /// Namespace Not Attached: 1Ah.
    @inlinable public static var namespaceNotAttached: Status { Status(.commandSpecific, 0x1A) }

    /// Thin Provisioning Not Supported: 1Bh.
    @inlinable public static var thinProvisioningNotSupported: Status { Status(.commandSpecific, 0x1B) }

    /// Controller List Invalid: 1Ch.
    @inlinable public static var controllerListInvalid: Status { Status(.commandSpecific, 0x1C) }

    /// Device Self-test In Progress: 1Dh.
    @inlinable public static var deviceSelfTestInProgress: Status { Status(.commandSpecific, 0x1D) }

    /// Boot Partition Write Prohibited: 1Eh.
    @inlinable public static var bootPartitionWriteProhibited: Status { Status(.commandSpecific, 0x1E) }

    /// Invalid Controller Identifier: 1Fh.
    @inlinable public static var invalidControllerIdentifier: Status { Status(.commandSpecific, 0x1F) }

    /// Invalid Secondary Controller State: 20h.
    @inlinable public static var invalidSecondaryControllerState: Status { Status(.commandSpecific, 0x20) }

    /// Invalid Number of Controller Resources: 21h.
    @inlinable public static var invalidNumberOfControllerResources: Status { Status(.commandSpecific, 0x21) }

    /// Invalid Resource Identifier: 22h.
    @inlinable public static var invalidResourceIdentifier: Status { Status(.commandSpecific, 0x22) }

    /// Sanitize Prohibited While Persistent Memory Region is Enabled: 23h.
    @inlinable public static var sanitizeProhibitedWhilePMREnabled: Status { Status(.commandSpecific, 0x23) }

    /// ANA Group Identifier Invalid: 24h.
    @inlinable public static var anaGroupIdentifierInvalid: Status { Status(.commandSpecific, 0x24) }

    /// ANA Attach Failed: 25h.
    @inlinable public static var anaAttachFailed: Status { Status(.commandSpecific, 0x25) }

    /// Insufficient Capacity: 26h.
    @inlinable public static var insufficientCapacity: Status { Status(.commandSpecific, 0x26) }

    /// Namespace Attachment Limit Exceeded: 27h.
    @inlinable public static var namespaceAttachmentLimitExceeded: Status { Status(.commandSpecific, 0x27) }

    /// Prohibition of Command Execution Not Supported: 28h.
    @inlinable public static var prohibitionNotSupported: Status { Status(.commandSpecific, 0x28) }

    /// I/O Command Set Not Supported: 29h.
    @inlinable public static var ioCommandSetNotSupported: Status { Status(.commandSpecific, 0x29) }

    /// I/O Command Set Not Enabled: 2Ah.
    @inlinable public static var ioCommandSetNotEnabled: Status { Status(.commandSpecific, 0x2A) }

    /// I/O Command Set Combination Rejected: 2Bh.
    @inlinable public static var ioCommandSetCombinationRejected: Status { Status(.commandSpecific, 0x2B) }

    /// Invalid I/O Command Set: 2Ch.
    @inlinable public static var invalidIOCommandSet: Status { Status(.commandSpecific, 0x2C) }

    /// Identifier Unavailable: 2Dh.
    @inlinable public static var identifierUnavailable: Status { Status(.commandSpecific, 0x2D) }
}

/// Command Specific Status of NVM commands (SCT 1; NVM Command Set, "I/O Command Set Specific Status").
extension Status {
    /// Conflicting Attributes: 80h.
    @inlinable public static var conflictingAttributes: Status { Status(.commandSpecific, 0x80) }

    /// Invalid Protection Information: 81h.
    @inlinable public static var invalidProtectionInformation: Status { Status(.commandSpecific, 0x81) }

    /// Attempted Write to Read Only Range: 82h.
    @inlinable public static var attemptedWriteToReadOnlyRange: Status { Status(.commandSpecific, 0x82) }

    /// Command Size Limit Exceeded: 83h.
    @inlinable public static var commandSizeLimitExceeded: Status { Status(.commandSpecific, 0x83) }
}

/// Command Specific Status of Fabrics commands (SCT 1; NVMe Base, "Fabrics Command Specific Status"). The values
/// overlap those of NVM commands: which is meant depends on the command.
extension Status {
    /// Connect Incompatible Format: 80h.
    @inlinable public static var connectIncompatibleFormat: Status { Status(.commandSpecific, 0x80) }

    /// Connect Controller Busy: 81h.
    @inlinable public static var connectControllerBusy: Status { Status(.commandSpecific, 0x81) }

    /// Connect Invalid Parameters: 82h.
    @inlinable public static var connectInvalidParameters: Status { Status(.commandSpecific, 0x82) }

    /// Connect Restart Discovery: 83h.
    @inlinable public static var connectRestartDiscovery: Status { Status(.commandSpecific, 0x83) }

    /// Connect Invalid Host: 84h.
    @inlinable public static var connectInvalidHost: Status { Status(.commandSpecific, 0x84) }

    /// Invalid Queue Type: 85h.
    @inlinable public static var invalidQueueType: Status { Status(.commandSpecific, 0x85) }

    /// Discover Restart: 90h.
    @inlinable public static var discoverRestart: Status { Status(.commandSpecific, 0x90) }

    /// Authentication Required: 91h.
    @inlinable public static var authenticationRequired: Status { Status(.commandSpecific, 0x91) }
}
