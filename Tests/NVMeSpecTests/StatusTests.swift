import CLibNVMe
import NVMeSpec
import Testing

@Suite("Status")
struct StatusTests {
    /// Each named status of a type, and libnvme's status code.
    private func expectCodes(_ type: nvme_status_field, _ codes: [(Status, nvme_status_field)]) {
        for (status, code) in codes {
            let field = type.rawValue << NVME_SCT_SHIFT.rawValue | code.rawValue
            #expect(UInt32(status.rawValue) == field, "\(status)")
            #expect(nvme_status_code_type(status.rawValue) == UInt16(type.rawValue))
            #expect(nvme_status_code(status.rawValue) == UInt16(code.rawValue))
            #expect(status.description(isFabrics: true).contains(" ("), "no name for \(status)")
        }
    }

    @Test("Generic codes are libnvme's")
    func generic() {
        expectCodes(
            NVME_SCT_GENERIC,
            [
                (.success, NVME_SC_SUCCESS),
                (.invalidOpcode, NVME_SC_INVALID_OPCODE),
                (.invalidField, NVME_SC_INVALID_FIELD),
                (.commandIDConflict, NVME_SC_CMDID_CONFLICT),
                (.dataTransferError, NVME_SC_DATA_XFER_ERROR),
                (.abortedPowerLoss, NVME_SC_POWER_LOSS),
                (.internalError, NVME_SC_INTERNAL),
                (.commandAbortRequested, NVME_SC_ABORT_REQ),
                (.abortedSQDeletion, NVME_SC_ABORT_QUEUE),
                (.abortedFailedFused, NVME_SC_FUSED_FAIL),
                (.abortedMissingFused, NVME_SC_FUSED_MISSING),
                (.invalidNamespaceOrFormat, NVME_SC_INVALID_NS),
                (.commandSequenceError, NVME_SC_CMD_SEQ_ERROR),
                (.invalidSGLSegmentDescriptor, NVME_SC_SGL_INVALID_LAST),
                (.invalidNumberOfSGLDescriptors, NVME_SC_SGL_INVALID_COUNT),
                (.dataSGLLengthInvalid, NVME_SC_SGL_INVALID_DATA),
                (.metadataSGLLengthInvalid, NVME_SC_SGL_INVALID_METADATA),
                (.sglDescriptorTypeInvalid, NVME_SC_SGL_INVALID_TYPE),
                (.invalidUseOfControllerMemoryBuffer, NVME_SC_CMB_INVALID_USE),
                (.prpOffsetInvalid, NVME_SC_PRP_INVALID_OFFSET),
                (.atomicWriteUnitExceeded, NVME_SC_AWU_EXCEEDED),
                (.operationDenied, NVME_SC_OP_DENIED),
                (.sglOffsetInvalid, NVME_SC_SGL_INVALID_OFFSET),
                (.hostIdentifierInconsistentFormat, NVME_SC_HOSTID_FORMAT),
                (.keepAliveTimerExpired, NVME_SC_KAT_EXPIRED),
                (.keepAliveTimeoutInvalid, NVME_SC_KAT_INVALID),
                (.abortedPreemptAndAbort, NVME_SC_CMD_ABORTED_PREMEPT),
                (.sanitizeFailed, NVME_SC_SANITIZE_FAILED),
                (.sanitizeInProgress, NVME_SC_SANITIZE_IN_PROGRESS),
                (.sglDataBlockGranularityInvalid, NVME_SC_SGL_INVALID_GRANULARITY),
                (.commandNotSupportedForQueueInCMB, NVME_SC_CMD_IN_CMBQ_NOT_SUPP),
                (.namespaceIsWriteProtected, NVME_SC_NS_WRITE_PROTECTED),
                (.commandInterrupted, NVME_SC_CMD_INTERRUPTED),
                (.transientTransportError, NVME_SC_TRAN_TPORT_ERROR),
                (.commandProhibitedByLockdown, NVME_SC_PROHIBITED_BY_CMD_AND_FEAT),
                (.adminCommandMediaNotReady, NVME_SC_ADMIN_CMD_MEDIA_NOT_READY),
                (.lbaOutOfRange, NVME_SC_LBA_RANGE),
                (.capacityExceeded, NVME_SC_CAP_EXCEEDED),
                (.namespaceNotReady, NVME_SC_NS_NOT_READY),
                (.reservationConflict, NVME_SC_RESERVATION_CONFLICT),
                (.formatInProgress, NVME_SC_FORMAT_IN_PROGRESS),
            ])
    }

    @Test("Command specific codes are libnvme's")
    func commandSpecific() {
        expectCodes(
            NVME_SCT_CMD_SPECIFIC,
            [
                (.completionQueueInvalid, NVME_SC_CQ_INVALID),
                (.invalidQueueIdentifier, NVME_SC_QID_INVALID),
                (.invalidQueueSize, NVME_SC_QUEUE_SIZE),
                (.abortCommandLimitExceeded, NVME_SC_ABORT_LIMIT),
                (.asynchronousEventRequestLimitExceeded, NVME_SC_ASYNC_LIMIT),
                (.invalidFirmwareSlot, NVME_SC_FIRMWARE_SLOT),
                (.invalidFirmwareImage, NVME_SC_FIRMWARE_IMAGE),
                (.invalidInterruptVector, NVME_SC_INVALID_VECTOR),
                (.invalidLogPage, NVME_SC_INVALID_LOG_PAGE),
                (.invalidFormat, NVME_SC_INVALID_FORMAT),
                (.firmwareActivationRequiresConventionalReset, NVME_SC_FW_NEEDS_CONV_RESET),
                (.invalidQueueDeletion, NVME_SC_INVALID_QUEUE),
                (.featureIdentifierNotSaveable, NVME_SC_FEATURE_NOT_SAVEABLE),
                (.featureNotChangeable, NVME_SC_FEATURE_NOT_CHANGEABLE),
                (.featureNotNamespaceSpecific, NVME_SC_FEATURE_NOT_PER_NS),
                (.firmwareActivationRequiresSubsystemReset, NVME_SC_FW_NEEDS_SUBSYS_RESET),
                (.firmwareActivationRequiresReset, NVME_SC_FW_NEEDS_RESET),
                (.firmwareActivationRequiresMaximumTime, NVME_SC_FW_NEEDS_MAX_TIME),
                (.firmwareActivationProhibited, NVME_SC_FW_ACTIVATE_PROHIBITED),
                (.overlappingRange, NVME_SC_OVERLAPPING_RANGE),
                (.namespaceInsufficientCapacity, NVME_SC_NS_INSUFFICIENT_CAP),
                (.namespaceIdentifierUnavailable, NVME_SC_NS_ID_UNAVAILABLE),
                (.namespaceAlreadyAttached, NVME_SC_NS_ALREADY_ATTACHED),
                (.namespaceIsPrivate, NVME_SC_NS_IS_PRIVATE),
                (.namespaceNotAttached, NVME_SC_NS_NOT_ATTACHED),
                (.thinProvisioningNotSupported, NVME_SC_THIN_PROV_NOT_SUPP),
                (.controllerListInvalid, NVME_SC_CTRL_LIST_INVALID),
                (.deviceSelfTestInProgress, NVME_SC_SELF_TEST_IN_PROGRESS),
                (.bootPartitionWriteProhibited, NVME_SC_BP_WRITE_PROHIBITED),
                (.invalidControllerIdentifier, NVME_SC_INVALID_CTRL_ID),
                (.invalidSecondaryControllerState, NVME_SC_INVALID_SEC_CTRL_STATE),
                (.invalidNumberOfControllerResources, NVME_SC_INVALID_CTRL_RESOURCES),
                (.invalidResourceIdentifier, NVME_SC_INVALID_RESOURCE_ID),
                (.sanitizeProhibitedWhilePMREnabled, NVME_SC_PMR_SAN_PROHIBITED),
                (.anaGroupIdentifierInvalid, NVME_SC_ANA_GROUP_ID_INVALID),
                (.anaAttachFailed, NVME_SC_ANA_ATTACH_FAILED),
                (.insufficientCapacity, NVME_SC_INSUFFICIENT_CAP),
                (.namespaceAttachmentLimitExceeded, NVME_SC_NS_ATTACHMENT_LIMIT_EXCEEDED),
                (.prohibitionNotSupported, NVME_SC_PROHIBIT_CMD_EXEC_NOT_SUPPORTED),
                (.ioCommandSetNotSupported, NVME_SC_IOCS_NOT_SUPPORTED),
                (.ioCommandSetNotEnabled, NVME_SC_IOCS_NOT_ENABLED),
                (.ioCommandSetCombinationRejected, NVME_SC_IOCS_COMBINATION_REJECTED),
                (.invalidIOCommandSet, NVME_SC_INVALID_IOCS),
                (.identifierUnavailable, NVME_SC_ID_UNAVAILABLE),
                (.conflictingAttributes, NVME_SC_BAD_ATTRIBUTES),
                (.invalidProtectionInformation, NVME_SC_INVALID_PI),
                (.attemptedWriteToReadOnlyRange, NVME_SC_READ_ONLY),
                (.commandSizeLimitExceeded, NVME_SC_CMD_SIZE_LIMIT_EXCEEDED),
                (.connectIncompatibleFormat, NVME_SC_CONNECT_FORMAT),
                (.connectControllerBusy, NVME_SC_CONNECT_CTRL_BUSY),
                (.connectInvalidParameters, NVME_SC_CONNECT_INVALID_PARAM),
                (.connectRestartDiscovery, NVME_SC_CONNECT_RESTART_DISC),
                (.connectInvalidHost, NVME_SC_CONNECT_INVALID_HOST),
                (.invalidQueueType, NVME_SC_DISCONNECT_INVALID_QTYPE),
                (.discoverRestart, NVME_SC_DISCOVERY_RESTART),
                (.authenticationRequired, NVME_SC_AUTH_REQUIRED),
            ])
    }

    @Test("Media and data integrity codes are libnvme's")
    func mediaAndDataIntegrity() {
        expectCodes(
            NVME_SCT_MEDIA,
            [
                (.writeFault, NVME_SC_WRITE_FAULT),
                (.unrecoveredReadError, NVME_SC_READ_ERROR),
                (.guardCheckError, NVME_SC_GUARD_CHECK),
                (.applicationTagCheckError, NVME_SC_APPTAG_CHECK),
                (.referenceTagCheckError, NVME_SC_REFTAG_CHECK),
                (.compareFailure, NVME_SC_COMPARE_FAILED),
                (.accessDenied, NVME_SC_ACCESS_DENIED),
                (.deallocatedOrUnwrittenBlock, NVME_SC_UNWRITTEN_BLOCK),
                (.storageTagCheckError, NVME_SC_STORAGE_TAG_CHECK),
            ])
    }

    @Test("Path related codes are libnvme's")
    func path() {
        expectCodes(
            NVME_SCT_PATH,
            [
                (.internalPathError, NVME_SC_ANA_INTERNAL_PATH_ERROR),
                (.asymmetricAccessPersistentLoss, NVME_SC_ANA_PERSISTENT_LOSS),
                (.asymmetricAccessInaccessible, NVME_SC_ANA_INACCESSIBLE),
                (.asymmetricAccessTransition, NVME_SC_ANA_TRANSITION),
                (.controllerPathingError, NVME_SC_CTRL_PATH_ERROR),
                (.hostPathingError, NVME_SC_HOST_PATH_ERROR),
                (.commandAbortedByHost, NVME_SC_CMD_ABORTED_BY_HOST),
            ])
    }

    @Test("Retry bits are libnvme's, and do not count in matching")
    func retryBits() {
        let status = Status.lbaOutOfRange.doNotRetry.more.withRetryDelay(3)
        #expect(UInt32(status.rawValue) == 0x80 | NVME_SC_DNR.rawValue | NVME_SC_MORE.rawValue | NVME_SC_CRD.rawValue)
        #expect(status.isDoNotRetry && status.hasMore && status.commandRetryDelay == 3)
        #expect(status.matches(.lbaOutOfRange) && status != .lbaOutOfRange && !status.matches(.capacityExceeded))
        switch status {
        case .lbaOutOfRange: break
        default: Issue.record("a switch compares type and code")
        }
        #expect(Status.success.isSuccess && Status.success.more.isSuccess && !status.isSuccess)
        #expect(Status.hostPathingError.isPathError && !Status.hostPathingError.isMediaError)
        #expect(Status.unrecoveredReadError.isMediaError)
    }

    @Test("In a completion queue entry the status is bits 31:17 of dword 3")
    func completionEntry() {
        let entry = CompletionEntry(
            result: 0x0807_0605_0403_0201, sqHead: 0x0A09, sqID: 0x0C0B, commandID: 0x0E0D,
            status: .invalidField.doNotRetry)
        let bytes = [UInt8](unsafeUninitializedCapacity: 16) { buffer, count in
            if let base = UnsafeMutableRawPointer(buffer.baseAddress) { entry.store(to: base) }
            count = 16
        }
        #expect(bytes == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0x04, 0x80])
        #expect(entry.dword0 == 0x0403_0201)
        // With a phase tag, as from a PCIe controller, it is the same status.
        let phased = bytes.dropLast(2) + [0x05, 0x80]
        #expect(phased.withUnsafeBytes { $0.baseAddress.map(CompletionEntry.init(from:)) } == entry)
    }

    @Test("A status is described by its name, its code and its bits")
    func description() {
        #expect(Status.lbaOutOfRange.doNotRetry.description == "LBA Out of Range (0/80h, do not retry)")
        #expect(Status.connectInvalidHost.description(isFabrics: true) == "Connect Invalid Host (1/84h)")
        #expect(
            Status.connectInvalidParameters.description(isFabrics: true) == "Connect Invalid Parameters (1/82h)")
        #expect(Status.attemptedWriteToReadOnlyRange.description == "Attempted Write to Read Only Range (1/82h)")
        #expect(Status(rawValue: 0x7C1).description == "Status 7/C1h")
        for rawValue in 0...UInt16.max { #expect(!Status(rawValue: rawValue).description.isEmpty) }
    }
}
