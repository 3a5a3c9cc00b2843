import CLibNVMe
import NVMeSpec
import Testing

@Suite("Controller properties")
struct PropertyTests {
    @Test("Offsets and sizes are libnvme's")
    func offsets() {
        let offsets: [(Property, nvme_register_offsets)] = [
            (.capabilities, NVME_REG_CAP), (.version, NVME_REG_VS), (.configuration, NVME_REG_CC),
            (.status, NVME_REG_CSTS), (.subsystemReset, NVME_REG_NSSR), (.readyTimeouts, NVME_REG_CRTO),
        ]
        #expect(Set(offsets.map(\.0)) == Set(Property.allCases))
        for (property, offset) in offsets {
            #expect(property.rawValue == offset.rawValue)
            #expect(property.byteCount == (nvme_is_64bit_reg(offset.rawValue) ? 8 : 4))
        }
    }

    /// Bits of a field, with libnvme's shift and mask.
    private func field(_ value: UInt64, _ shift: UInt32, _ mask: UInt32) -> UInt64 {
        value >> UInt64(shift) & UInt64(mask)
    }

    @Test("CAP")
    func capabilities() {
        var capabilities = ControllerCapabilities(queueEntries: 128, timeoutMilliseconds: 7_501)
        capabilities.supportsSubsystemReset = true
        capabilities.arbitrationMechanisms = 2
        capabilities.memoryPageSizeMax = 4
        let raw = capabilities.rawValue
        #expect(field(raw, NVME_CAP_MQES_SHIFT.rawValue, NVME_CAP_MQES_MASK.rawValue) == 127)
        #expect(field(raw, NVME_CAP_CQR_SHIFT.rawValue, NVME_CAP_CQR_MASK.rawValue) == 1)
        #expect(field(raw, NVME_CAP_AMS_SHIFT.rawValue, NVME_CAP_AMS_MASK.rawValue) == UInt64(NVME_CAP_AMS_VS.rawValue))
        #expect(field(raw, NVME_CAP_TO_SHIFT.rawValue, NVME_CAP_TO_MASK.rawValue) == 16)
        #expect(field(raw, NVME_CAP_DSTRD_SHIFT.rawValue, NVME_CAP_DSTRD_MASK.rawValue) == 0)
        #expect(field(raw, NVME_CAP_NSSRC_SHIFT.rawValue, NVME_CAP_NSSRC_MASK.rawValue) == 1)
        #expect(
            field(raw, NVME_CAP_CSS_SHIFT.rawValue, NVME_CAP_CSS_MASK.rawValue)
                == UInt64(NVME_CAP_CSS_NVM.rawValue | NVME_CAP_CSS_CSI.rawValue))
        #expect(field(raw, NVME_CAP_MPSMIN_SHIFT.rawValue, NVME_CAP_MPSMIN_MASK.rawValue) == 0)
        #expect(field(raw, NVME_CAP_MPSMAX_SHIFT.rawValue, NVME_CAP_MPSMAX_MASK.rawValue) == 4)
        #expect(
            field(raw, NVME_CAP_CRMS_SHIFT.rawValue, NVME_CAP_CRMS_MASK.rawValue) == UInt64(NVME_CAP_CRWMS.rawValue))
        #expect(capabilities.maxQueueEntries == 127 && capabilities.timeout == 16)
        #expect(ControllerCapabilities(queueEntries: 2, timeoutMilliseconds: 1_000_000).timeout == 255)
    }

    @Test("VS and CRTO")
    func version() {
        let version = SpecificationVersion(major: 2, minor: 1, tertiary: 3)
        let raw = UInt64(version.rawValue)
        #expect(field(raw, NVME_VS_MJR_SHIFT.rawValue, NVME_VS_MJR_MASK.rawValue) == 2)
        #expect(field(raw, NVME_VS_MNR_SHIFT.rawValue, NVME_VS_MNR_MASK.rawValue) == 1)
        #expect(field(raw, NVME_VS_TER_SHIFT.rawValue, NVME_VS_TER_MASK.rawValue) == 3)
        #expect(version.major == 2 && version.minor == 1 && version.tertiary == 3)
        #expect(version.description == "2.1.3")
        let timeouts = ControllerReadyTimeouts(withMedia: 0x1234, independentOfMedia: 0x5678)
        // libnvme's masks of CRTO are not shifted down like its others.
        #expect(timeouts.rawValue & NVME_CRTO_CRWMT_MASK.rawValue == 0x1234)
        #expect(timeouts.rawValue & NVME_CRTO_CRIMT_MASK.rawValue == 0x5678 << NVME_CRTO_CRIMT_SHIFT.rawValue)
        #expect(timeouts.withMedia == 0x1234 && timeouts.independentOfMedia == 0x5678)
    }

    @Test("CC")
    func configuration() {
        // As Linux sets it: EN, IOSQES 6, IOCQES 4, the rest 0.
        #expect(ControllerConfiguration.enabled.rawValue == 0x0046_0001)
        var configuration = ControllerConfiguration(rawValue: 0)
        let shifts: [(WritableKeyPath<ControllerConfiguration, UInt8>, UInt32, UInt32)] = [
            (\.commandSet, NVME_CC_CSS_SHIFT.rawValue, NVME_CC_CSS_MASK.rawValue),
            (\.memoryPageSize, NVME_CC_MPS_SHIFT.rawValue, NVME_CC_MPS_MASK.rawValue),
            (\.arbitrationMechanism, NVME_CC_AMS_SHIFT.rawValue, NVME_CC_AMS_MASK.rawValue),
            (\.ioSubmissionEntrySize, NVME_CC_IOSQES_SHIFT.rawValue, NVME_CC_IOSQES_MASK.rawValue),
            (\.ioCompletionEntrySize, NVME_CC_IOCQES_SHIFT.rawValue, NVME_CC_IOCQES_MASK.rawValue),
        ]
        for (path, shift, mask) in shifts {
            configuration.rawValue = 0
            configuration[keyPath: path] = UInt8(mask)
            #expect(configuration.rawValue == mask << shift)
            #expect(configuration[keyPath: path] == UInt8(mask))
            configuration.rawValue = ~(mask << shift)
            #expect(configuration[keyPath: path] == 0)
        }
        configuration.rawValue = 0
        configuration.shutdownNotification = .abrupt
        #expect(configuration.rawValue == NVME_CC_SHN_ABRUPT.rawValue << NVME_CC_SHN_SHIFT.rawValue)
        configuration.shutdownNotification = .normal
        #expect(configuration.rawValue == NVME_CC_SHN_NORMAL.rawValue << NVME_CC_SHN_SHIFT.rawValue)
        configuration.rawValue = 0
        configuration.isReadyIndependentOfMedia = true
        #expect(configuration.rawValue == NVME_CC_CRIME_MASK.rawValue << NVME_CC_CRIME_SHIFT.rawValue)
        configuration.rawValue = 0
        configuration.isEnabled = true
        #expect(configuration.rawValue == NVME_CC_EN_MASK.rawValue << NVME_CC_EN_SHIFT.rawValue)
    }

    @Test("CSTS")
    func status() {
        var status = ControllerStatus(rawValue: 0)
        status.isReady = true
        #expect(status.rawValue == NVME_CSTS_RDY_MASK.rawValue << NVME_CSTS_RDY_SHIFT.rawValue)
        status.rawValue = 0
        status.isFatal = true
        #expect(status.rawValue == NVME_CSTS_CFS_MASK.rawValue << NVME_CSTS_CFS_SHIFT.rawValue)
        status.rawValue = 0
        status.shutdownStatus = .complete
        #expect(status.rawValue == NVME_CSTS_SHST_CMPLT.rawValue << NVME_CSTS_SHST_SHIFT.rawValue)
        status.shutdownStatus = .occurring
        #expect(status.rawValue == NVME_CSTS_SHST_OCCUR.rawValue << NVME_CSTS_SHST_SHIFT.rawValue)
        status.rawValue = 0
        status.subsystemResetOccurred = true
        #expect(status.rawValue == NVME_CSTS_NSSRO_MASK.rawValue << NVME_CSTS_NSSRO_SHIFT.rawValue)
        status.rawValue = 0
        status.isProcessingPaused = true
        #expect(status.rawValue == NVME_CSTS_PP_MASK.rawValue << NVME_CSTS_PP_SHIFT.rawValue)
    }
}
