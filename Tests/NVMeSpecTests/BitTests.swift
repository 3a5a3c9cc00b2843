import CLibNVMe
import NVMeSpec
import Testing

/// Bits of Identify and discovery fields.
@Suite("Bits are libnvme's")
struct BitTests {
    private func expectEqual(_ pairs: [ConstantPair]) {
        for pair in pairs { #expect(pair.ours == pair.theirs, "\(pair.name)") }
    }

    @Test("Identify Controller")
    func controller() {
        expectEqual([
            ConstantPair(
                "multi port", MultiPathCapabilities.multiplePorts.rawValue, NVME_CTRL_CMIC_MULTI_PORT.rawValue),
            ConstantPair(
                "multi ctrl", MultiPathCapabilities.multipleControllers.rawValue, NVME_CTRL_CMIC_MULTI_CTRL.rawValue),
            ConstantPair(
                "ana", MultiPathCapabilities.anaReporting.rawValue, NVME_CTRL_CMIC_MULTI_ANA_REPORTING.rawValue),
            ConstantPair(
                "128 bit", ControllerAttributes.extendedHostIdentifier.rawValue, NVME_CTRL_CTRATT_128_ID.rawValue),
            ConstantPair("TBKAS", ControllerAttributes.trafficBasedKeepAlive.rawValue, NVME_CTRL_CTRATT_TBKAS.rawValue),
            ConstantPair("io", ControllerType.io.rawValue, NVME_CTRL_CNTRLTYPE_IO.rawValue),
            ConstantPair("discovery", ControllerType.discovery.rawValue, NVME_CTRL_CNTRLTYPE_DISCOVERY.rawValue),
            ConstantPair("admin", ControllerType.administrative.rawValue, NVME_CTRL_CNTRLTYPE_ADMIN.rawValue),
            ConstantPair("security", OptionalAdminCommands.security.rawValue, NVME_CTRL_OACS_SECURITY.rawValue),
            ConstantPair("format", OptionalAdminCommands.formatNVM.rawValue, NVME_CTRL_OACS_FORMAT.rawValue),
            ConstantPair("firmware", OptionalAdminCommands.firmware.rawValue, NVME_CTRL_OACS_FW.rawValue),
            ConstantPair(
                "ns mgmt", OptionalAdminCommands.namespaceManagement.rawValue, NVME_CTRL_OACS_NS_MGMT.rawValue),
            ConstantPair("self test", OptionalAdminCommands.deviceSelfTest.rawValue, NVME_CTRL_OACS_SELF_TEST.rawValue),
            ConstantPair("directives", OptionalAdminCommands.directives.rawValue, NVME_CTRL_OACS_DIRECTIVES.rawValue),
            ConstantPair(
                "smart per ns", LogPageAttributes.smartPerNamespace.rawValue, NVME_CTRL_LPA_SMART_PER_NS.rawValue),
            ConstantPair("effects", LogPageAttributes.commandEffects.rawValue, NVME_CTRL_LPA_CMD_EFFECTS.rawValue),
            ConstantPair("extended", LogPageAttributes.extendedData.rawValue, NVME_CTRL_LPA_EXTENDED.rawValue),
            ConstantPair("ana opt", ANACapabilities.optimized.rawValue, NVME_CTRL_ANACAP_OPT.rawValue),
            ConstantPair("ana non opt", ANACapabilities.nonOptimized.rawValue, NVME_CTRL_ANACAP_NON_OPT.rawValue),
            ConstantPair("ana inacc", ANACapabilities.inaccessible.rawValue, NVME_CTRL_ANACAP_INACCESSIBLE.rawValue),
            ConstantPair(
                "ana loss", ANACapabilities.persistentLoss.rawValue, NVME_CTRL_ANACAP_PERSISTENT_LOSS.rawValue),
            ConstantPair("ana change", ANACapabilities.change.rawValue, NVME_CTRL_ANACAP_CHANGE.rawValue),
            ConstantPair("ana fixed", ANACapabilities.fixedGroupID.rawValue, NVME_CTRL_ANACAP_GRPID_NO_CHG.rawValue),
            ConstantPair("compare", OptionalNVMCommands.compare.rawValue, NVME_CTRL_ONCS_COMPARE.rawValue),
            ConstantPair(
                "uncor", OptionalNVMCommands.writeUncorrectable.rawValue, NVME_CTRL_ONCS_WRITE_UNCORRECTABLE.rawValue),
            ConstantPair("dsm", OptionalNVMCommands.datasetManagement.rawValue, NVME_CTRL_ONCS_DSM.rawValue),
            ConstantPair("zeroes", OptionalNVMCommands.writeZeroes.rawValue, NVME_CTRL_ONCS_WRITE_ZEROES.rawValue),
            ConstantPair("save", OptionalNVMCommands.saveFeatures.rawValue, NVME_CTRL_ONCS_SAVE_FEATURES.rawValue),
            ConstantPair("resv", OptionalNVMCommands.reservations.rawValue, NVME_CTRL_ONCS_RESERVATIONS.rawValue),
            ConstantPair("timestamp", OptionalNVMCommands.timestamp.rawValue, NVME_CTRL_ONCS_TIMESTAMP.rawValue),
            ConstantPair("verify", OptionalNVMCommands.verify.rawValue, NVME_CTRL_ONCS_VERIFY.rawValue),
            ConstantPair("copy", OptionalNVMCommands.copy.rawValue, NVME_CTRL_ONCS_COPY.rawValue),
            ConstantPair("vwc", VolatileWriteCacheAttributes.present.rawValue, NVME_CTRL_VWC_PRESENT.rawValue),
            ConstantPair(
                "flush all", VolatileWriteCacheAttributes.flushAllSupported.rawValue, NVME_CTRL_VWC_FLUSH.rawValue),
            ConstantPair("keyed", SGLSupport.keyed.rawValue, NVME_CTRL_SGLS_KEYED.rawValue),
            ConstantPair("bit bucket", SGLSupport.bitBucket.rawValue, NVME_CTRL_SGLS_BIT_BUCKET.rawValue),
            ConstantPair("oversize", SGLSupport.oversize.rawValue, NVME_CTRL_SGLS_OVERSIZE.rawValue),
            ConstantPair("offset", SGLSupport.offset.rawValue, NVME_CTRL_SGLS_OFFSET.rawValue),
        ])
        #expect(SGLSupport.supported.rawValue & UInt32(NVME_CTRL_SGLS_SUPPORTED.rawValue) == 1)
    }

    @Test("Identify Namespace")
    func namespace() {
        expectEqual([
            ConstantPair("thin", NamespaceFeatures.thinProvisioning.rawValue, NVME_NS_FEAT_THIN.rawValue),
            ConstantPair("atomic", NamespaceFeatures.atomicWriteUnits.rawValue, NVME_NS_FEAT_NATOMIC.rawValue),
            ConstantPair("dulbe", NamespaceFeatures.deallocatedError.rawValue, NVME_NS_FEAT_DULBE.rawValue),
            ConstantPair("reuse", NamespaceFeatures.uniqueIdentifiers.rawValue, NVME_NS_FEAT_ID_REUSE.rawValue),
            ConstantPair("opt", NamespaceFeatures.optimalPerformance.rawValue, NVME_NS_FEAT_IO_OPT.rawValue),
            ConstantPair("shared", NamespaceSharing.shared.rawValue, NVME_NS_NMIC_SHARED.rawValue),
            ConstantPair(
                "ptpl", ReservationCapabilities.persistThroughPowerLoss.rawValue, NVME_NS_RESCAP_PTPL.rawValue),
            ConstantPair("we", ReservationCapabilities.writeExclusive.rawValue, NVME_NS_RESCAP_WE.rawValue),
            ConstantPair("ea", ReservationCapabilities.exclusiveAccess.rawValue, NVME_NS_RESCAP_EA.rawValue),
            ConstantPair(
                "wero", ReservationCapabilities.writeExclusiveRegistrantsOnly.rawValue, NVME_NS_RESCAP_WERO.rawValue),
            ConstantPair(
                "earo", ReservationCapabilities.exclusiveAccessRegistrantsOnly.rawValue, NVME_NS_RESCAP_EARO.rawValue),
            ConstantPair(
                "wear", ReservationCapabilities.writeExclusiveAllRegistrants.rawValue, NVME_NS_RESCAP_WEAR.rawValue),
            ConstantPair(
                "eaar", ReservationCapabilities.exclusiveAccessAllRegistrants.rawValue, NVME_NS_RESCAP_EAAR.rawValue),
            ConstantPair("iek", ReservationCapabilities.ignoreExistingKey13.rawValue, NVME_NS_RESCAP_IEK_13.rawValue),
            ConstantPair("zeroes", DeallocateFeatures.readsZeroes.rawValue, NVME_NS_DLFEAT_RB_ALL_0S.rawValue),
            ConstantPair(
                "deac", DeallocateFeatures.writeZeroesDeallocates.rawValue, NVME_NS_DLFEAT_WRITE_ZEROES.rawValue),
            ConstantPair(
                "protected", NamespaceAttributes.writeProtected.rawValue, NVME_NS_NSATTR_WRITE_PROTECTED.rawValue),
            ConstantPair("formats", IdentifyNamespace.maxFormats, 64),
        ])
    }

    @Test("SMART and ANA")
    func smartAndANA() {
        expectEqual([
            ConstantPair("spare", CriticalWarning.spare.rawValue, NVME_SMART_CRIT_SPARE.rawValue),
            ConstantPair("temperature", CriticalWarning.temperature.rawValue, NVME_SMART_CRIT_TEMPERATURE.rawValue),
            ConstantPair("degraded", CriticalWarning.degraded.rawValue, NVME_SMART_CRIT_DEGRADED.rawValue),
            ConstantPair("media", CriticalWarning.readOnly.rawValue, NVME_SMART_CRIT_MEDIA.rawValue),
            ConstantPair("backup", CriticalWarning.volatileBackup.rawValue, NVME_SMART_CRIT_VOLATILE_MEMORY.rawValue),
            ConstantPair("optimized", ANAState.optimized.rawValue, NVME_ANA_STATE_OPTIMIZED.rawValue),
            ConstantPair("non optimized", ANAState.nonOptimized.rawValue, NVME_ANA_STATE_NONOPTIMIZED.rawValue),
            ConstantPair("inaccessible", ANAState.inaccessible.rawValue, NVME_ANA_STATE_INACCESSIBLE.rawValue),
            ConstantPair("loss", ANAState.persistentLoss.rawValue, NVME_ANA_STATE_PERSISTENT_LOSS.rawValue),
            ConstantPair("change", ANAState.change.rawValue, NVME_ANA_STATE_CHANGE.rawValue),
        ])
    }

    @Test("Discovery")
    func discovery() {
        expectEqual([
            ConstantPair("rdma", DiscoveryTransport.rdma.rawValue, NVMF_TRTYPE_RDMA.rawValue),
            ConstantPair("fc", DiscoveryTransport.fibreChannel.rawValue, NVMF_TRTYPE_FC.rawValue),
            ConstantPair("tcp", DiscoveryTransport.tcp.rawValue, NVMF_TRTYPE_TCP.rawValue),
            ConstantPair("loop", DiscoveryTransport.loop.rawValue, NVMF_TRTYPE_LOOP.rawValue),
            ConstantPair("ipv4", AddressFamily.ipv4.rawValue, NVMF_ADDR_FAMILY_IP4.rawValue),
            ConstantPair("ipv6", AddressFamily.ipv6.rawValue, NVMF_ADDR_FAMILY_IP6.rawValue),
            ConstantPair("ib", AddressFamily.infiniBand.rawValue, NVMF_ADDR_FAMILY_IB.rawValue),
            ConstantPair("fc address", AddressFamily.fibreChannel.rawValue, NVMF_ADDR_FAMILY_FC.rawValue),
            ConstantPair("referral", SubsystemType.referral.rawValue, NVME_NQN_DISC.rawValue),
            ConstantPair("nvm", SubsystemType.nvm.rawValue, NVME_NQN_NVME.rawValue),
            ConstantPair("current", SubsystemType.currentDiscovery.rawValue, NVME_NQN_CURR.rawValue),
            ConstantPair(
                "secure", TransportRequirements.secureChannelRequired.rawValue, NVMF_TREQ_REQUIRED.rawValue),
            ConstantPair(
                "not secure", TransportRequirements.secureChannelNotRequired.rawValue, NVMF_TREQ_NOT_REQUIRED.rawValue),
            ConstantPair(
                "sq flow", TransportRequirements.disableSQFlowControl.rawValue, NVMF_TREQ_DISABLE_SQFLOW.rawValue),
            ConstantPair(
                "dup", DiscoveryEntryFlags.duplicateReturnedInformation.rawValue, NVMF_DISC_EFLAGS_DUPRETINFO.rawValue),
            ConstantPair("epcsd", DiscoveryEntryFlags.persistentConnection.rawValue, NVMF_DISC_EFLAGS_EPCSD.rawValue),
            ConstantPair("none", RDMAProvider.notSpecified.rawValue, NVMF_RDMA_PRTYPE_NOT_SPECIFIED.rawValue),
            ConstantPair("ib provider", RDMAProvider.infiniBand.rawValue, NVMF_RDMA_PRTYPE_IB.rawValue),
            ConstantPair("roce", RDMAProvider.roce.rawValue, NVMF_RDMA_PRTYPE_ROCE.rawValue),
            ConstantPair("rocev2", RDMAProvider.roceV2.rawValue, NVMF_RDMA_PRTYPE_ROCEV2.rawValue),
            ConstantPair("iwarp", RDMAProvider.iwarp.rawValue, NVMF_RDMA_PRTYPE_IWARP.rawValue),
            ConstantPair("qptype", DiscoveryLogEntry().queuePairType, NVMF_RDMA_QPTYPE_CONNECTED.rawValue),
            ConstantPair("cms", DiscoveryLogEntry().connectionManagement, NVMF_RDMA_CMS_RDMA_CM.rawValue),
        ])
        #expect(NQN.discovery == NVME_DISC_SUBSYS_NAME)
        #expect(NQN.maxByteCount == NVMF_NQN_SIZE)
        #expect(NQN.fieldByteCount == Int(NVME_NQN_LENGTH.rawValue))
    }
}
