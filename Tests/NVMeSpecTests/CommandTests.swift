import CLibNVMe
import LibNVMeCapture
import NVMeSpec
import Testing

/// Our commands beside those that libnvme hands to the kernel for the same request.
@Suite("Commands as libnvme builds them")
struct CommandTests {
    /// Expects that `build` made libnvme send what `entry` says, and that the entry decodes to what it came from.
    func expectCaptured(
        _ entry: SubmissionEntry, isAdmin: Bool, data: [UInt8] = [], _ comment: Comment, build: () -> Void
    ) {
        build()
        let captured = libnvme_capture_last()
        #expect(captured.is_admin == isAdmin, comment)
        #expect(entry.opcode == captured.opcode, comment)
        #expect(entry.nsid == captured.nsid, comment)
        #expect(entry.cdw2 == captured.cdw2 && entry.cdw3 == captured.cdw3, comment)
        let ours = [entry.cdw10, entry.cdw11, entry.cdw12, entry.cdw13, entry.cdw14, entry.cdw15]
        let theirs = [
            captured.cdw10, captured.cdw11, captured.cdw12, captured.cdw13, captured.cdw14, captured.cdw15,
        ]
        #expect(ours == theirs, comment)
        let sent = withUnsafeBytes(of: captured.data) { Array($0.prefix(data.count)) }
        #expect(sent == data, comment)
        #expect(entry.usesSGL && !entry.isFused)
    }

    func expectAdmin(_ command: AdminCommand, nsid: UInt32 = 0, data: [UInt8] = [], build: () -> Void) {
        let entry = SubmissionEntry(command, nsid: nsid, commandID: 1)
        expectCaptured(entry, isAdmin: true, data: data, "\(command)", build: build)
        #expect(AdminCommand(entry) == command)
    }

    private func expectIO(_ command: IOCommand, nsid: UInt32, data: [UInt8] = [], build: () -> Void) {
        let entry = SubmissionEntry(command, nsid: nsid, commandID: 1)
        expectCaptured(entry, isAdmin: false, data: data, "\(command)", build: build)
        #expect(IOCommand(entry) == command)
    }

    @Test("Identify")
    func identify() {
        var page = [UInt8](repeating: 0, count: 4096)
        for (structure, cns) in [
            (IdentifyStructure.namespace, NVME_IDENTIFY_CNS_NS),
            (.controller, NVME_IDENTIFY_CNS_CTRL),
            (.activeNamespaces, NVME_IDENTIFY_CNS_NS_ACTIVE_LIST),
            (.namespaceDescriptors, NVME_IDENTIFY_CNS_NS_DESC_LIST),
            (.commandSetNamespace, NVME_IDENTIFY_CNS_CSI_NS),
            (.commandSetController, NVME_IDENTIFY_CNS_CSI_CTRL),
            (.commandSetActiveNamespaces, NVME_IDENTIFY_CNS_CSI_NS_ACTIVE_LIST),
            (.independentNamespace, NVME_IDENTIFY_CNS_CSI_INDEPENDENT_ID_NS),
            (.allocatedNamespaces, NVME_IDENTIFY_CNS_ALLOCATED_NS_LIST),
            (.allocatedNamespace, NVME_IDENTIFY_CNS_ALLOCATED_NS),
            (.namespaceControllers, NVME_IDENTIFY_CNS_NS_CTRL_LIST),
            (.controllers, NVME_IDENTIFY_CNS_CTRL_LIST),
            (.commandSets, NVME_IDENTIFY_CNS_COMMAND_SET_STRUCTURE),
        ] {
            var command = IdentifyCommand(structure, controllerID: 0x1234, commandSet: .zonedNamespace)
            command.specificIdentifier = 0x5678
            command.uuidIndex = 0x55
            expectAdmin(.identify(command), nsid: 0xFFFF_FFFE) {
                var arguments = nvme_identify_args()
                arguments.args_size = Int32(MemoryLayout<nvme_identify_args>.size)
                arguments.fd = libnvme_capture_fd
                page.withUnsafeMutableBytes { arguments.data = $0.baseAddress }
                arguments.cns = cns
                arguments.csi = NVME_CSI_ZNS
                arguments.nsid = 0xFFFF_FFFE
                arguments.cntid = 0x1234
                arguments.cns_specific_id = 0x5678
                arguments.uuidx = 0x55
                nvme_identify(&arguments)
            }
        }
    }

    @Test("Get Log Page, up to 4 GiB and offsets of 64 bits")
    func getLogPage() {
        for byteCount in [4, 512, 0x4_0000, 0x4_0004, 0xFFFF_FFFC] as [UInt32] {
            var command = GetLogPageCommand(
                .ana, byteCount: UInt64(byteCount), offset: 0x0102_0304_0506_0708, retainsEvent: true)
            command.specificParameter = 0x15
            command.specificIdentifier = 0xABCD
            command.uuidIndex = 0x2A
            command.offsetIsIndex = true
            command.commandSet = .zonedNamespace
            expectAdmin(.getLogPage(command), nsid: 7) {
                var arguments = nvme_get_log_args()
                arguments.args_size = Int32(MemoryLayout<nvme_get_log_args>.size)
                arguments.fd = libnvme_capture_fd
                arguments.lid = NVME_LOG_LID_ANA
                arguments.len = byteCount
                arguments.lpo = 0x0102_0304_0506_0708
                arguments.nsid = 7
                arguments.lsp = 0x15
                arguments.lsi = 0xABCD
                arguments.uuidx = 0x2A
                arguments.rae = true
                arguments.ot = true
                arguments.csi = NVME_CSI_ZNS
                nvme_get_log(&arguments)
            }
        }
    }

    @Test("Set Features and Get Features")
    func features() {
        var command = SetFeaturesCommand(.numberOfQueues, value: 0x0003_0007, saves: true)
        command.cdw12 = 0x12
        command.cdw13 = 0x13
        command.cdw15 = 0x15
        command.uuidIndex = 0x33
        expectAdmin(.setFeatures(command), nsid: 3) {
            var arguments = nvme_set_features_args()
            arguments.args_size = Int32(MemoryLayout<nvme_set_features_args>.size)
            arguments.fd = libnvme_capture_fd
            arguments.fid = UInt8(NVME_FEAT_FID_NUM_QUEUES.rawValue)
            arguments.nsid = 3
            arguments.cdw11 = 0x0003_0007
            arguments.cdw12 = 0x12
            arguments.cdw13 = 0x13
            arguments.cdw15 = 0x15
            arguments.save = true
            arguments.uuidx = 0x33
            nvme_set_features(&arguments)
        }
        for (select, expected) in [
            (FeatureSelect.current, NVME_GET_FEATURES_SEL_CURRENT), (.default, NVME_GET_FEATURES_SEL_DEFAULT),
            (.saved, NVME_GET_FEATURES_SEL_SAVED), (.supportedCapabilities, NVME_GET_FEATURES_SEL_SUPPORTED),
        ] {
            var command = GetFeaturesCommand(.hostIdentifier, select: select, value: 1)
            command.uuidIndex = 0x33
            expectAdmin(.getFeatures(command), nsid: 3) {
                var arguments = nvme_get_features_args()
                arguments.args_size = Int32(MemoryLayout<nvme_get_features_args>.size)
                arguments.fd = libnvme_capture_fd
                arguments.fid = UInt8(NVME_FEAT_FID_HOST_ID.rawValue)
                arguments.nsid = 3
                arguments.sel = expected
                arguments.cdw11 = 1
                arguments.uuidx = 0x33
                nvme_get_features(&arguments)
            }
        }
    }

    @Test("Features with a value of their own")
    func featureValues() {
        expectAdmin(
            .setFeatures(
                SetFeaturesCommand(.volatileWriteCache, value: VolatileWriteCacheFeature.enabled.rawValue, saves: true))
        ) { nvme_set_features_volatile_wc(libnvme_capture_fd, true, true, nil) }
        let events: AsyncEventConfiguration = [.namespaceAttribute, .anaChange, .discoveryLog]
        expectAdmin(.setFeatures(SetFeaturesCommand(.asyncEventConfiguration, value: events.rawValue))) {
            nvme_set_features_async_event(libnvme_capture_fd, events.rawValue, false, nil)
        }
        let mask: ReservationNotificationMask = [.registrationPreempted, .reservationPreempted]
        expectAdmin(.setFeatures(SetFeaturesCommand(.reservationNotificationMask, value: mask.rawValue))) {
            nvme_set_features_resv_mask(libnvme_capture_fd, mask.rawValue, false, nil)
        }
        let persistence = ReservationPersistence.persistThroughPowerLoss
        expectAdmin(.setFeatures(SetFeaturesCommand(.reservationPersistence, value: persistence.rawValue))) {
            nvme_set_features_resv_persist(libnvme_capture_fd, true, false, nil)
        }
    }

    @Test("Property Get and Set")
    func properties() {
        let read = FabricsCommand.propertyGet(PropertyGetCommand(.capabilities))
        var entry = SubmissionEntry(read, commandID: 1)
        expectCaptured(entry, isAdmin: true, "Property Get, 8 bytes") {
            var value: UInt64 = 0
            withUnsafeMutablePointer(to: &value) { pointer in
                var arguments = nvme_get_property_args()
                arguments.args_size = Int32(MemoryLayout<nvme_get_property_args>.size)
                arguments.fd = libnvme_capture_fd
                arguments.offset = Int32(NVME_REG_CAP.rawValue)
                arguments.value = pointer
                nvme_get_property(&arguments)
            }
        }
        #expect(FabricsCommand(entry) == read)
        let write = FabricsCommand.propertySet(PropertySetCommand(.configuration, value: 0x0046_0001))
        entry = SubmissionEntry(write, commandID: 1)
        expectCaptured(entry, isAdmin: true, "Property Set, 4 bytes") {
            var arguments = nvme_set_property_args()
            arguments.args_size = Int32(MemoryLayout<nvme_set_property_args>.size)
            arguments.fd = libnvme_capture_fd
            arguments.offset = Int32(NVME_REG_CC.rawValue)
            arguments.value = 0x0046_0001
            nvme_set_property(&arguments)
        }
        #expect(FabricsCommand(entry) == write)
    }

    @Test("Read, Write, Compare, Verify, Write Zeroes and Flush")
    func blockCommands() {
        let blocks = BlockCommand(
            startingLBA: 0x0102_0304_0506_0708, blockCount: 65536,
            flags: [.forceUnitAccess, .limitedRetry, .deallocate])
        var arguments = nvme_io_args()
        arguments.args_size = Int32(MemoryLayout<nvme_io_args>.size)
        arguments.fd = libnvme_capture_fd
        arguments.nsid = 9
        arguments.slba = 0x0102_0304_0506_0708
        arguments.nlb = 65535
        arguments.control = UInt16(NVME_IO_FUA.rawValue | NVME_IO_LR.rawValue | NVME_IO_DEAC.rawValue)
        expectIO(.read(blocks), nsid: 9) { nvme_read(&arguments) }
        expectIO(.write(blocks), nsid: 9) { nvme_write(&arguments) }
        expectIO(.compare(blocks), nsid: 9) { nvme_compare(&arguments) }
        expectIO(.verify(blocks), nsid: 9) { nvme_verify(&arguments) }
        expectIO(.writeZeroes(blocks), nsid: 9) { nvme_write_zeros(&arguments) }
        expectIO(.flush, nsid: 9) { nvme_flush(libnvme_capture_fd, 9) }
        let entry = SubmissionEntry(.write(blocks), nsid: 9, commandID: 1)
        #expect(entry.startingLBA == 0x0102_0304_0506_0708 && entry.blockCount == 65536)
        #expect(entry.isForceUnitAccess && entry.mayDeallocate && entry.protectionInformation == 0)
    }

    @Test("Flags of block commands are libnvme's")
    func blockCommandFlags() {
        #expect(BlockCommandFlags.storageTagCheck.rawValue == UInt16(NVME_IO_STC.rawValue))
        #expect(BlockCommandFlags.checkReferenceTag.rawValue == UInt16(NVME_IO_PRINFO_PRCHK_REF.rawValue))
        #expect(BlockCommandFlags.checkApplicationTag.rawValue == UInt16(NVME_IO_PRINFO_PRCHK_APP.rawValue))
        #expect(BlockCommandFlags.checkGuard.rawValue == UInt16(NVME_IO_PRINFO_PRCHK_GUARD.rawValue))
        #expect(BlockCommandFlags.protectionAction.rawValue == UInt16(NVME_IO_PRINFO_PRACT.rawValue))
        var entry = SubmissionEntry()
        entry.cdw12 = UInt32(NVME_IO_PRINFO_PRACT.rawValue) << 16
        #expect(entry.protectionInformation == 8)
    }

    @Test("Dataset Management and its ranges")
    func datasetManagement() {
        var range = nvme_dsm_range()
        range.cattr = 0x0102_0304
        range.nlb = 0x0506_0708
        range.slba = 0x1122_3344_5566_7788
        let ours = DatasetManagementRange(
            startingLBA: 0x1122_3344_5566_7788, blockCount: 0x0506_0708, contextAttributes: 0x0102_0304)
        #expect(DatasetManagementRange.byteCount == MemoryLayout<nvme_dsm_range>.size)
        #expect(withUnsafeBytes(of: range) { $0.baseAddress.map(DatasetManagementRange.init(from:)) } == ours)
        var stored = nvme_dsm_range()
        withUnsafeMutableBytes(of: &stored) { bytes in
            if let base = bytes.baseAddress { ours.store(to: base) }
        }
        #expect(bytes(of: stored) == bytes(of: range))

        var ranges = [nvme_dsm_range](repeating: range, count: DatasetManagementRange.maxCount)
        #expect(ranges.count == Int(NVME_DSM_MAX_RANGES.rawValue))
        let command = DatasetManagementCommand(rangeCount: 256, attributes: [.deallocate, .integralWrite])
        expectIO(.datasetManagement(command), nsid: 2, data: Array(bytes(of: range) + bytes(of: range))) {
            ranges.withUnsafeMutableBufferPointer { buffer in
                var arguments = nvme_dsm_args()
                arguments.args_size = Int32(MemoryLayout<nvme_dsm_args>.size)
                arguments.fd = libnvme_capture_fd
                arguments.nsid = 2
                arguments.attrs = NVME_DSMGMT_AD.rawValue | NVME_DSMGMT_IDW.rawValue
                arguments.nr_ranges = 256
                arguments.dsm = buffer.baseAddress
                nvme_dsm(&arguments)
            }
        }
        #expect(DatasetManagementAttributes.integralRead.rawValue == UInt8(NVME_DSMGMT_IDR.rawValue))
    }

    @Test("Reservation Register, with its data")
    func reservationRegister() {
        for (action, rrega) in [
            (ReservationRegisterAction.register, NVME_RESERVATION_RREGA_REGISTER_KEY),
            (.unregister, NVME_RESERVATION_RREGA_UNREGISTER_KEY), (.replace, NVME_RESERVATION_RREGA_REPLACE_KEY),
        ] {
            for (change, cptpl) in [
                (PowerLossPersistenceChange.noChange, NVME_RESERVATION_CPTPL_NO_CHANGE),
                (.clear, NVME_RESERVATION_CPTPL_CLEAR), (.persist, NVME_RESERVATION_CPTPL_PERSIST),
            ] {
                let command = ReservationRegisterCommand(
                    action, ignoresExistingKey: true, powerLossPersistence: change)
                let data = ReservationRegisterData(currentKey: 0x0102_0304_0506_0708, newKey: 0x1112_1314_1516_1718)
                expectIO(.reservationRegister(command), nsid: 4, data: data.encoded) {
                    var arguments = nvme_resv_register_args()
                    arguments.args_size = Int32(MemoryLayout<nvme_resv_register_args>.size)
                    arguments.fd = libnvme_capture_fd
                    arguments.nsid = 4
                    arguments.crkey = 0x0102_0304_0506_0708
                    arguments.nrkey = 0x1112_1314_1516_1718
                    arguments.rrega = rrega
                    arguments.cptpl = cptpl
                    arguments.iekey = true
                    nvme_resv_register(&arguments)
                }
            }
        }
    }

    private let types: [(ReservationType, nvme_resv_rtype)] = [
        (.writeExclusive, NVME_RESERVATION_RTYPE_WE), (.exclusiveAccess, NVME_RESERVATION_RTYPE_EA),
        (.writeExclusiveRegistrantsOnly, NVME_RESERVATION_RTYPE_WERO),
        (.exclusiveAccessRegistrantsOnly, NVME_RESERVATION_RTYPE_EARO),
        (.writeExclusiveAllRegistrants, NVME_RESERVATION_RTYPE_WEAR),
        (.exclusiveAccessAllRegistrants, NVME_RESERVATION_RTYPE_EAAR),
    ]

    @Test("Reservation Acquire and Release, with their data")
    func reservationAcquireAndRelease() {
        for (type, rtype) in types {
            for (action, racqa) in [
                (ReservationAcquireAction.acquire, NVME_RESERVATION_RACQA_ACQUIRE),
                (.preempt, NVME_RESERVATION_RACQA_PREEMPT),
                (.preemptAndAbort, NVME_RESERVATION_RACQA_PREEMPT_AND_ABORT),
            ] {
                let data = ReservationAcquireData(currentKey: 0x0102_0304_0506_0708, preemptKey: 0x1112)
                expectIO(
                    .reservationAcquire(ReservationAcquireCommand(action, type: type)), nsid: 4, data: data.encoded
                ) {
                    var arguments = nvme_resv_acquire_args()
                    arguments.args_size = Int32(MemoryLayout<nvme_resv_acquire_args>.size)
                    arguments.fd = libnvme_capture_fd
                    arguments.nsid = 4
                    arguments.crkey = 0x0102_0304_0506_0708
                    arguments.nrkey = 0x1112
                    arguments.racqa = racqa
                    arguments.rtype = rtype
                    nvme_resv_acquire(&arguments)
                }
            }
            for (action, rrela) in [
                (ReservationReleaseAction.release, NVME_RESERVATION_RRELA_RELEASE),
                (.clear, NVME_RESERVATION_RRELA_CLEAR),
            ] {
                let data = ReservationReleaseData(currentKey: 0x0102_0304_0506_0708)
                let command = ReservationReleaseCommand(action, type: type, ignoresExistingKey: true)
                expectIO(.reservationRelease(command), nsid: 4, data: data.encoded) {
                    var arguments = nvme_resv_release_args()
                    arguments.args_size = Int32(MemoryLayout<nvme_resv_release_args>.size)
                    arguments.fd = libnvme_capture_fd
                    arguments.nsid = 4
                    arguments.crkey = 0x0102_0304_0506_0708
                    arguments.rrela = rrela
                    arguments.rtype = rtype
                    arguments.iekey = true
                    nvme_resv_release(&arguments)
                }
            }
        }
    }

    @Test("Reservation Report", arguments: [false, true])
    func reservationReport(isExtended: Bool) {
        expectIO(.reservationReport(ReservationReportCommand(byteCount: 4096, isExtended: isExtended)), nsid: 4) {
            var arguments = nvme_resv_report_args()
            arguments.args_size = Int32(MemoryLayout<nvme_resv_report_args>.size)
            arguments.fd = libnvme_capture_fd
            arguments.nsid = 4
            arguments.len = 4096
            arguments.eds = isExtended
            nvme_resv_report(&arguments)
        }
    }
}
