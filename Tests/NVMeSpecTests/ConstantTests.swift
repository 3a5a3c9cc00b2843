import CLibNVMe
import NVMeSpec
import Testing

/// A value of ours and the constant of libnvme's headers that it has to equal.
struct ConstantPair: Sendable, CustomTestStringConvertible {
    let name: String
    let ours: UInt32
    let theirs: UInt32

    init(_ name: String, _ ours: some FixedWidthInteger, _ theirs: some FixedWidthInteger) {
        self.name = name
        self.ours = UInt32(truncatingIfNeeded: ours)
        self.theirs = UInt32(truncatingIfNeeded: theirs)
    }

    var testDescription: String { name }
}

@Suite("Constants are libnvme's")
struct ConstantTests {
    private func expectEqual(_ pairs: [ConstantPair]) {
        for pair in pairs { #expect(pair.ours == pair.theirs, "\(pair.name)") }
    }

    @Test("Opcodes")
    func opcodes() {
        let admin: [(AdminOpcode, nvme_admin_opcode)] = [
            (.getLogPage, nvme_admin_get_log_page), (.identify, nvme_admin_identify), (.abort, nvme_admin_abort_cmd),
            (.setFeatures, nvme_admin_set_features), (.getFeatures, nvme_admin_get_features),
            (.asynchronousEventRequest, nvme_admin_async_event), (.namespaceManagement, nvme_admin_ns_mgmt),
            (.firmwareCommit, nvme_admin_fw_commit), (.firmwareImageDownload, nvme_admin_fw_download),
            (.deviceSelfTest, nvme_admin_dev_self_test), (.namespaceAttachment, nvme_admin_ns_attach),
            (.keepAlive, nvme_admin_keep_alive), (.directiveSend, nvme_admin_directive_send),
            (.directiveReceive, nvme_admin_directive_recv), (.formatNVM, nvme_admin_format_nvm),
            (.securitySend, nvme_admin_security_send), (.securityReceive, nvme_admin_security_recv),
            (.sanitize, nvme_admin_sanitize_nvm),
        ]
        #expect(Set(admin.map(\.0)) == Set(AdminOpcode.allCases))
        expectEqual(admin.map { ConstantPair("\($0)", $0.rawValue, $1.rawValue) })
        let io: [(NVMOpcode, nvme_io_opcode)] = [
            (.flush, nvme_cmd_flush), (.write, nvme_cmd_write), (.read, nvme_cmd_read),
            (.writeUncorrectable, nvme_cmd_write_uncor), (.compare, nvme_cmd_compare),
            (.writeZeroes, nvme_cmd_write_zeroes), (.datasetManagement, nvme_cmd_dsm), (.verify, nvme_cmd_verify),
            (.reservationRegister, nvme_cmd_resv_register), (.reservationReport, nvme_cmd_resv_report),
            (.reservationAcquire, nvme_cmd_resv_acquire), (.reservationRelease, nvme_cmd_resv_release),
            (.copy, nvme_cmd_copy),
        ]
        #expect(Set(io.map(\.0)) == Set(NVMOpcode.allCases))
        expectEqual(io.map { ConstantPair("\($0)", $0.rawValue, $1.rawValue) })
        let fabrics: [(FabricsCommandType, nvme_fctype)] = [
            (.propertySet, nvme_fabrics_type_property_set), (.connect, nvme_fabrics_type_connect),
            (.propertyGet, nvme_fabrics_type_property_get), (.authenticationSend, nvme_fabrics_type_auth_send),
            (.authenticationReceive, nvme_fabrics_type_auth_receive), (.disconnect, nvme_fabrics_type_disconnect),
        ]
        #expect(Set(fabrics.map(\.0)) == Set(FabricsCommandType.allCases))
        expectEqual(fabrics.map { ConstantPair("\($0)", $0.rawValue, $1.rawValue) })
        #expect(UInt32(FabricsCommandType.opcode) == nvme_admin_fabrics.rawValue)
    }

    @Test("Features and log pages")
    func featuresAndLogPages() {
        let features: [(FeatureID, nvme_features_id)] = [
            (.arbitration, NVME_FEAT_FID_ARBITRATION), (.powerManagement, NVME_FEAT_FID_POWER_MGMT),
            (.temperatureThreshold, NVME_FEAT_FID_TEMP_THRESH), (.errorRecovery, NVME_FEAT_FID_ERR_RECOVERY),
            (.volatileWriteCache, NVME_FEAT_FID_VOLATILE_WC), (.numberOfQueues, NVME_FEAT_FID_NUM_QUEUES),
            (.interruptCoalescing, NVME_FEAT_FID_IRQ_COALESCE),
            (.interruptVectorConfiguration, NVME_FEAT_FID_IRQ_CONFIG),
            (.writeAtomicity, NVME_FEAT_FID_WRITE_ATOMIC), (.asyncEventConfiguration, NVME_FEAT_FID_ASYNC_EVENT),
            (.keepAliveTimer, NVME_FEAT_FID_KATO), (.hostBehaviorSupport, NVME_FEAT_FID_HOST_BEHAVIOR),
            (.hostIdentifier, NVME_FEAT_FID_HOST_ID), (.reservationNotificationMask, NVME_FEAT_FID_RESV_MASK),
            (.reservationPersistence, NVME_FEAT_FID_RESV_PERSIST),
            (.namespaceWriteProtection, NVME_FEAT_FID_WRITE_PROTECT),
        ]
        expectEqual(features.map { ConstantPair("\($0)", $0.rawValue, $1.rawValue) })
        let pages: [(LogPageID, nvme_cmd_get_log_lid)] = [
            (.supportedLogPages, NVME_LOG_LID_SUPPORTED_LOG_PAGES), (.errorInformation, NVME_LOG_LID_ERROR),
            (.smart, NVME_LOG_LID_SMART), (.firmwareSlot, NVME_LOG_LID_FW_SLOT),
            (.changedNamespaces, NVME_LOG_LID_CHANGED_NS), (.commandsSupportedAndEffects, NVME_LOG_LID_CMD_EFFECTS),
            (.ana, NVME_LOG_LID_ANA), (.featureIdentifiersSupportedAndEffects, NVME_LOG_LID_FID_SUPPORTED_EFFECTS),
            (.discovery, NVME_LOG_LID_DISCOVER), (.reservationNotification, NVME_LOG_LID_RESERVATION),
        ]
        expectEqual(pages.map { ConstantPair("\($0)", $0.rawValue, $1.rawValue) })
        var submission: UInt16 = 0
        var completion: UInt16 = 0
        nvme_feature_decode_number_of_queues(
            NumberOfQueues(submission: 5, completion: 9).rawValue, &submission, &completion)
        #expect(submission == 4 && completion == 8)
        #expect(NumberOfQueues(rawValue: .max).submission == 65536)
        expectEqual([
            ConstantPair(
                "EXHID", HostIdentifierFeature.extended.rawValue,
                NVME_FEAT_HOSTID_EXHID_MASK.rawValue << NVME_FEAT_HOSTID_EXHID_SHIFT.rawValue),
            ConstantPair(
                "REGPRE", ReservationNotificationMask.registrationPreempted.rawValue,
                NVME_FEAT_RESV_NOTIFY_REGPRE.rawValue),
            ConstantPair(
                "RESREL", ReservationNotificationMask.reservationReleased.rawValue,
                NVME_FEAT_RESV_NOTIFY_RESREL.rawValue
            ),
            ConstantPair(
                "RESPRE", ReservationNotificationMask.reservationPreempted.rawValue,
                NVME_FEAT_RESV_NOTIFY_RESPRE.rawValue),
        ])
    }

    @Test("Host Behavior Support is nvme_feat_host_behavior")
    func hostBehaviorSupport() throws {
        try expectLayout(
            nvme_feat_host_behavior.self, HostBehaviorSupport.self,
            [FieldPair("acre", \.acre, \.advancedCommandRetry)])
    }

    @Test("Reservation notifications")
    func reservationNotifications() {
        let kinds: [(ReservationNotificationKind, nvme_resv_notify_rnlpt, ReservationNotificationMask)] = [
            (
                .registrationPreempted, NVME_RESV_NOTIFY_RNLPT_REGISTRATION_PREEMPTED,
                .registrationPreempted
            ),
            (.reservationReleased, NVME_RESV_NOTIFY_RNLPT_RESERVATION_RELEASED, .reservationReleased),
            (.reservationPreempted, NVME_RESV_NOTIFY_RNLPT_RESERVATION_PREEMPTED, .reservationPreempted),
        ]
        for (kind, theirs, mask) in kinds {
            #expect(UInt32(kind.rawValue) == theirs.rawValue)
            #expect(kind.mask == mask)
        }
        #expect(UInt32(ReservationNotificationKind.empty.rawValue) == NVME_RESV_NOTIFY_RNLPT_EMPTY.rawValue)
    }

    @Test("Asynchronous events: dword 0, and the bit of the configuration that enables each")
    func asyncEvents() {
        let events: [(AsyncEvent, nvme_ae_type, UInt32, nvme_cmd_get_log_lid, UInt32?)] = [
            (
                .namespaceAttributeChanged, NVME_AER_NOTICE, NVME_AER_NOTICE_NS_CHANGED.rawValue,
                NVME_LOG_LID_CHANGED_NS,
                UInt32(truncatingIfNeeded: NVME_FEATURE_AENCFG_NOTICE_NAMESPACE_ATTRIBUTES.rawValue)
            ),
            (
                .anaChange, NVME_AER_NOTICE, NVME_AER_NOTICE_ANA.rawValue, NVME_LOG_LID_ANA,
                UInt32(truncatingIfNeeded: NVME_FEATURE_AENCFG_NOTICE_ANA_CHANGE.rawValue)
            ),
            (
                .discoveryLogChanged, NVME_AER_NOTICE, NVME_AER_NOTICE_DISC_CHANGED.rawValue, NVME_LOG_LID_DISCOVER,
                UInt32(truncatingIfNeeded: NVME_FEATURE_AENCFG_NOTICE_DISCOVERY_CHANGE.rawValue)
            ),
            (
                .reservationLogAvailable, NVME_AER_CSS, NVME_AER_CSS_NVM_RESERVATION.rawValue,
                NVME_LOG_LID_RESERVATION, nil
            ),
            (
                .persistentInternalError, NVME_AER_ERROR, NVME_AER_ERROR_PERSISTENT_INTERNAL_ERROR.rawValue,
                NVME_LOG_LID_ERROR, nil
            ),
            (
                .transientInternalError, NVME_AER_ERROR, NVME_AER_ERROR_TRANSIENT_INTERNAL_ERROR.rawValue,
                NVME_LOG_LID_ERROR, nil
            ),
            (
                .reliability, NVME_AER_SMART, NVME_AER_SMART_SUBSYSTEM_RELIABILITY.rawValue, NVME_LOG_LID_SMART,
                UInt32(truncatingIfNeeded: NVME_FEATURE_AENCFG_SMART_CRIT_DEGRADED.rawValue)
            ),
            (
                .temperature, NVME_AER_SMART, NVME_AER_SMART_TEMPERATURE_THRESHOLD.rawValue, NVME_LOG_LID_SMART,
                UInt32(truncatingIfNeeded: NVME_FEATURE_AENCFG_SMART_CRIT_TEMPERATURE.rawValue)
            ),
            (
                .spareBelowThreshold, NVME_AER_SMART, NVME_AER_SMART_SPARE_THRESHOLD.rawValue, NVME_LOG_LID_SMART,
                UInt32(truncatingIfNeeded: NVME_FEATURE_AENCFG_SMART_CRIT_SPARE.rawValue)
            ),
        ]
        for (event, type, information, page, bit) in events {
            #expect(event.dword0 == type.rawValue | information << 8 | page.rawValue << 16)
            #expect(AsyncEvent(dword0: event.dword0) == event)
            guard let bit else {
                #expect(event.isEnabled(by: []))
                continue
            }
            #expect(event.isEnabled(by: AsyncEventConfiguration(rawValue: bit)))
            #expect(!event.isEnabled(by: AsyncEventConfiguration(rawValue: ~bit & ~0x1C)))
        }
        expectEqual([
            ConstantPair("NA", AsyncEventConfiguration.namespaceAttribute.rawValue, NVME_CTRL_OAES_NA.rawValue),
            ConstantPair("FA", AsyncEventConfiguration.firmwareActivation.rawValue, NVME_CTRL_OAES_FA.rawValue),
            ConstantPair("ANA", AsyncEventConfiguration.anaChange.rawValue, NVME_CTRL_OAES_ANA.rawValue),
            ConstantPair("PLEA", AsyncEventConfiguration.predictableLatency.rawValue, NVME_CTRL_OAES_PLEA.rawValue),
            ConstantPair("LBAS", AsyncEventConfiguration.lbaStatus.rawValue, NVME_CTRL_OAES_LBAS.rawValue),
            ConstantPair("EGE", AsyncEventConfiguration.enduranceGroup.rawValue, NVME_CTRL_OAES_EGE.rawValue),
            ConstantPair(
                "telemetry", AsyncEventConfiguration.telemetryLog.rawValue,
                NVME_FEATURE_AENCFG_NOTICE_TELEMETRY_LOG.rawValue),
            ConstantPair("DL", AsyncEventConfiguration.discoveryLog.rawValue, NVME_CTRL_OAES_DL.rawValue),
        ])
    }
}
