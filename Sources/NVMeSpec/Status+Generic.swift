/// Generic Command Status (SCT 0; NVMe Base, "Generic Command Status Definition").
extension Status {
    /// Successful Completion: 00h.
    @inlinable public static var success: Status { Status(.generic, 0x00) }

    /// Invalid Command Opcode: 01h.
    @inlinable public static var invalidOpcode: Status { Status(.generic, 0x01) }

    /// Invalid Field in Command: 02h.
    @inlinable public static var invalidField: Status { Status(.generic, 0x02) }

    /// Command ID Conflict: 03h.
    @inlinable public static var commandIDConflict: Status { Status(.generic, 0x03) }

    /// Data Transfer Error: 04h.
    @inlinable public static var dataTransferError: Status { Status(.generic, 0x04) }

    /// Commands Aborted due to Power Loss Notification: 05h.
    @inlinable public static var abortedPowerLoss: Status { Status(.generic, 0x05) }

    /// Internal Error: 06h.
    @inlinable public static var internalError: Status { Status(.generic, 0x06) }

    /// Command Abort Requested: 07h.
    @inlinable public static var commandAbortRequested: Status { Status(.generic, 0x07) }

    /// Command Aborted due to SQ Deletion: 08h.
    @inlinable public static var abortedSQDeletion: Status { Status(.generic, 0x08) }

    /// Command Aborted due to Failed Fused Command: 09h.
    @inlinable public static var abortedFailedFused: Status { Status(.generic, 0x09) }

    /// Command Aborted due to Missing Fused Command: 0Ah.
    @inlinable public static var abortedMissingFused: Status { Status(.generic, 0x0A) }

    /// Invalid Namespace or Format: 0Bh.
    @inlinable public static var invalidNamespaceOrFormat: Status { Status(.generic, 0x0B) }

    /// Command Sequence Error: 0Ch.
    @inlinable public static var commandSequenceError: Status { Status(.generic, 0x0C) }

    /// Invalid SGL Segment Descriptor: 0Dh.
    @inlinable public static var invalidSGLSegmentDescriptor: Status { Status(.generic, 0x0D) }

    /// Invalid Number of SGL Descriptors: 0Eh.
    @inlinable public static var invalidNumberOfSGLDescriptors: Status { Status(.generic, 0x0E) }

    /// Data SGL Length Invalid: 0Fh.
    @inlinable public static var dataSGLLengthInvalid: Status { Status(.generic, 0x0F) }

    /// Metadata SGL Length Invalid: 10h.
    @inlinable public static var metadataSGLLengthInvalid: Status { Status(.generic, 0x10) }

    /// SGL Descriptor Type Invalid: 11h.
    @inlinable public static var sglDescriptorTypeInvalid: Status { Status(.generic, 0x11) }

    /// Invalid Use of Controller Memory Buffer: 12h.
    @inlinable public static var invalidUseOfControllerMemoryBuffer: Status { Status(.generic, 0x12) }

    /// PRP Offset Invalid: 13h.
    @inlinable public static var prpOffsetInvalid: Status { Status(.generic, 0x13) }

    /// Atomic Write Unit Exceeded: 14h.
    @inlinable public static var atomicWriteUnitExceeded: Status { Status(.generic, 0x14) }

    /// Operation Denied: 15h.
    @inlinable public static var operationDenied: Status { Status(.generic, 0x15) }

    /// SGL Offset Invalid: 16h.
    @inlinable public static var sglOffsetInvalid: Status { Status(.generic, 0x16) }

    /// Host Identifier Inconsistent Format: 18h.
    @inlinable public static var hostIdentifierInconsistentFormat: Status { Status(.generic, 0x18) }

    /// Keep Alive Timer Expired: 19h.
    @inlinable public static var keepAliveTimerExpired: Status { Status(.generic, 0x19) }

    /// Keep Alive Timeout Invalid: 1Ah.
    @inlinable public static var keepAliveTimeoutInvalid: Status { Status(.generic, 0x1A) }

    /// Command Aborted due to Preempt and Abort: 1Bh.
    @inlinable public static var abortedPreemptAndAbort: Status { Status(.generic, 0x1B) }

    /// Sanitize Failed: 1Ch.
    @inlinable public static var sanitizeFailed: Status { Status(.generic, 0x1C) }

    /// Sanitize In Progress: 1Dh.
    @inlinable public static var sanitizeInProgress: Status { Status(.generic, 0x1D) }

    /// SGL Data Block Granularity Invalid: 1Eh.
    @inlinable public static var sglDataBlockGranularityInvalid: Status { Status(.generic, 0x1E) }

    /// Command Not Supported for Queue in CMB: 1Fh.
    @inlinable public static var commandNotSupportedForQueueInCMB: Status { Status(.generic, 0x1F) }

    /// Namespace is Write Protected: 20h.
    @inlinable public static var namespaceIsWriteProtected: Status { Status(.generic, 0x20) }

    /// Command Interrupted: 21h.
    @inlinable public static var commandInterrupted: Status { Status(.generic, 0x21) }

    /// Transient Transport Error: 22h.
    @inlinable public static var transientTransportError: Status { Status(.generic, 0x22) }

    /// Command Prohibited by Command and Feature Lockdown: 23h.
    @inlinable public static var commandProhibitedByLockdown: Status { Status(.generic, 0x23) }

    /// Admin Command Media Not Ready: 24h.
    @inlinable public static var adminCommandMediaNotReady: Status { Status(.generic, 0x24) }

    /// LBA Out of Range: 80h.
    @inlinable public static var lbaOutOfRange: Status { Status(.generic, 0x80) }

    /// Capacity Exceeded: 81h.
    @inlinable public static var capacityExceeded: Status { Status(.generic, 0x81) }

    /// Namespace Not Ready: 82h.
    @inlinable public static var namespaceNotReady: Status { Status(.generic, 0x82) }

    /// Reservation Conflict: 83h.
    @inlinable public static var reservationConflict: Status { Status(.generic, 0x83) }

    /// Format In Progress: 84h.
    @inlinable public static var formatInProgress: Status { Status(.generic, 0x84) }
}
