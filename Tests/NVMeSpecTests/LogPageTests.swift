import Base
import CLibNVMe
import NVMeSpec
import Testing

@Suite("Log pages")
struct LogPageTests {
    @Test("An Error Information entry is nvme_error_log_page")
    func errorInformation() throws {
        try expectLayout(
            nvme_error_log_page.self, ErrorLogEntry.self,
            [
                FieldPair("error_count", \.error_count, \.errorCount),
                FieldPair("sqid", \.sqid, \.submissionQueueID),
                FieldPair("cmdid", \.cmdid, \.commandID),
                FieldPair(
                    "status_field",
                    { $0.status_field = UInt16(NVME_SC_DNR.rawValue | NVME_SC_LBA_RANGE.rawValue) << 1 },
                    { $0.status = .lbaOutOfRange.doNotRetry }),
                FieldPair("parm_error_location", \.parm_error_location, \.parameterErrorLocation),
                FieldPair("lba", \.lba, \.lba),
                FieldPair("nsid", \.nsid, \.nsid),
                FieldPair("trtype", \.trtype, \.transport),
                FieldPair("cs", \.cs, \.commandSpecific),
            ])
    }

    @Test("The SMART log is nvme_smart_log")
    func smart() throws {
        let number: [UInt8] = [1, 2, 3, 4, 5, 6, 7, 8]
        try expectLayout(
            nvme_smart_log.self, SMARTLog.self,
            [
                FieldPair("critical_warning", \.critical_warning, \.criticalWarning),
                FieldPair("temperature", { set(&$0.temperature, [0x2A, 0x01]) }, { $0.temperature = 298 }),
                FieldPair("avail_spare", \.avail_spare, \.availableSpare),
                FieldPair("spare_thresh", \.spare_thresh, \.availableSpareThreshold),
                FieldPair("percent_used", \.percent_used, \.percentageUsed),
                FieldPair("data_units_read", { set(&$0.data_units_read, number) }, { $0.dataUnitsRead = littleEndian }),
                FieldPair(
                    "data_units_written", { set(&$0.data_units_written, number) },
                    { $0.dataUnitsWritten = littleEndian }),
                FieldPair("host_reads", { set(&$0.host_reads, number) }, { $0.hostReadCommands = littleEndian }),
                FieldPair("host_writes", { set(&$0.host_writes, number) }, { $0.hostWriteCommands = littleEndian }),
                FieldPair(
                    "ctrl_busy_time", { set(&$0.ctrl_busy_time, number) }, { $0.controllerBusyMinutes = littleEndian }),
                FieldPair("power_cycles", { set(&$0.power_cycles, number) }, { $0.powerCycles = littleEndian }),
                FieldPair("power_on_hours", { set(&$0.power_on_hours, number) }, { $0.powerOnHours = littleEndian }),
                FieldPair(
                    "unsafe_shutdowns", { set(&$0.unsafe_shutdowns, number) }, { $0.unsafeShutdowns = littleEndian }),
                FieldPair("media_errors", { set(&$0.media_errors, number) }, { $0.mediaErrors = littleEndian }),
                FieldPair(
                    "num_err_log_entries", { set(&$0.num_err_log_entries, number) },
                    { $0.errorLogEntries = littleEndian }),
            ])
    }

    private let littleEndian: UInt64 = 0x0807_0605_0403_0201

    @Test("Data units are thousands of 512 bytes, rounded up")
    func dataUnits() {
        #expect(SMARTLog.dataUnits(ofBytes: 0) == 0)
        #expect(SMARTLog.dataUnits(ofBytes: 1) == 1)
        #expect(SMARTLog.dataUnits(ofBytes: 512_000) == 1)
        #expect(SMARTLog.dataUnits(ofBytes: 512_001) == 2)
        #expect(SMARTLog.dataUnits(ofBytes: .max) == 36_028_797_018_964)
    }

    @Test("The Firmware Slot log is nvme_firmware_slot")
    func firmwareSlot() throws {
        try expectLayout(
            nvme_firmware_slot.self, FirmwareSlotLog.self,
            [
                FieldPair("afi", \.afi, \.activeFirmware),
                FieldPair("frs[0]", { set(&$0.frs.0, "1.0", padding: 0x20) }, { $0.revisions[0] = "1.0" }),
                FieldPair("frs[6]", { set(&$0.frs.6, "12345678") }, { $0.revisions[6] = "12345678" }),
            ])
    }

    @Test("The Commands Supported and Effects log is nvme_cmd_effects_log")
    func commandEffects() throws {
        try expectLayout(
            nvme_cmd_effects_log.self, CommandEffectsLog.self,
            [
                FieldPair(
                    "acs[identify]", { $0.acs.6 = NVME_CMD_EFFECTS_CSUPP.rawValue }, { $0[.identify] = .supported }),
                FieldPair(
                    "acs[fabrics]", { $0.acs.127 = NVME_CMD_EFFECTS_CSUPP.rawValue }, { $0.fabrics = .supported }),
                FieldPair(
                    "iocs[write]", { $0.iocs.1 = NVME_CMD_EFFECTS_CSUPP.rawValue | NVME_CMD_EFFECTS_LBCC.rawValue },
                    { $0[NVMOpcode.write] = [.supported, .changesContent] }),
            ])
        #expect(CommandEffects.changesNamespaceCapability.rawValue == NVME_CMD_EFFECTS_NCC.rawValue)
        #expect(CommandEffects.changesNamespaceInventory.rawValue == NVME_CMD_EFFECTS_NIC.rawValue)
        #expect(CommandEffects.changesControllerCapability.rawValue == NVME_CMD_EFFECTS_CCC.rawValue)
    }

    @Test("The Supported Log Pages log is nvme_supported_log_pages")
    func supportedLogPages() throws {
        var c = zeroed(nvme_supported_log_pages.self)
        c.lid_support.2 = 1
        c.lid_support.112 = 1
        let pages = SupportedLogPages([.smart, .discovery])
        #expect(pages.encoded == bytes(of: c))
        let decoded = try SupportedLogPages(decoding: bytes(of: c))
        #expect(decoded.contains(.smart) && decoded.contains(.discovery) && !decoded.contains(.ana))
    }

    @Test("The Reservation Notification log is nvme_resv_notification_log")
    func reservationNotification() throws {
        try expectLayout(
            nvme_resv_notification_log.self, ReservationNotificationLog.self,
            [
                FieldPair("lpc", \.lpc, \.count),
                FieldPair("rnlpt", \.rnlpt, \.kind),
                FieldPair("nalp", \.nalp, \.available),
                FieldPair("nsid", \.nsid, \.nsid),
            ])
    }

    @Test("The ANA log is nvme_ana_log and nvme_ana_group_desc")
    func ana() throws {
        let log = ANALog(
            changeCount: 0x1122_3344_5566_7788,
            groups: [
                .init(id: 1, changeCount: 7, state: .optimized, namespaces: [1, 5]),
                .init(id: 0x0A0B_0C0D, changeCount: 8, state: .change, namespaces: []),
            ])
        var header = zeroed(nvme_ana_log.self)
        header.chgcnt = 0x1122_3344_5566_7788
        header.ngrps = 2
        var first = zeroed(nvme_ana_group_desc.self)
        first.grpid = 1
        first.nnsids = 2
        first.chgcnt = 7
        first.state = UInt8(NVME_ANA_STATE_OPTIMIZED.rawValue)
        var second = zeroed(nvme_ana_group_desc.self)
        second.grpid = 0x0A0B_0C0D
        second.chgcnt = 8
        second.state = UInt8(NVME_ANA_STATE_CHANGE.rawValue)
        let expected = bytes(of: header) + bytes(of: first) + [1, 0, 0, 0, 5, 0, 0, 0] + bytes(of: second)
        #expect(log.encoded() == expected)
        #expect(try expected.withUnsafeBytes { try ANALog(decoding: $0) } == log)
        first.nnsids = 0
        #expect(log.encoded(groupsOnly: true) == bytes(of: header) + bytes(of: first) + bytes(of: second))
        for end in 0..<expected.count {
            #expect(throws: MalformedStructure.self) {
                try expected[..<end].withUnsafeBytes { try ANALog(decoding: $0) }
            }
        }
        #expect(ANALog.returnGroupsOnly == NVME_LOG_ANA_LSP_RGO_GROUPS_ONLY.rawValue)
    }

    @Test("A Reservation Status is nvme_resv_status", arguments: [false, true])
    func reservationStatus(isExtended: Bool) throws {
        let host = try #require(UUIDBytes(bytes: isExtended ? Array(1...16) : Array(1...8) + [0, 0, 0, 0, 0, 0, 0, 0]))
        let status = ReservationStatus(
            generation: 0x0102_0304, type: .writeExclusiveRegistrantsOnly, persistsThroughPowerLoss: true,
            registrants: [
                .init(controllerID: 0xFFFF, holdsReservation: false, hostID: host, key: 1),
                .init(controllerID: 3, holdsReservation: true, hostID: host, key: 0x1122_3344_5566_7788),
            ])
        var header = zeroed(nvme_resv_status.self)
        header.gen = 0x0102_0304
        header.rtype = UInt8(NVME_RESERVATION_RTYPE_WERO.rawValue)
        set(&header.regctl, [2, 0])
        header.ptpls = 1
        let start = isExtended ? tercet_nvme_resv_status_regctl_eds : tercet_nvme_resv_status_regctl_ds
        #expect(ReservationStatus.headerByteCount(isExtended: isExtended) == start)
        var expected = Array(bytes(of: header).prefix(start))
        expected += [UInt8](repeating: 0, count: start - expected.count)
        for (controllerID, isHolder, key) in [(0xFFFF, false, 1), (3, true, 0x1122_3344_5566_7788)] {
            if isExtended {
                var c = zeroed(nvme_registered_ctrl_ext.self)
                c.cntlid = UInt16(controllerID)
                c.rcsts = isHolder ? 1 : 0
                c.rkey = UInt64(key)
                set(&c.hostid, Array(1...16))
                expected += bytes(of: c)
            } else {
                var c = zeroed(nvme_registered_ctrl.self)
                c.cntlid = UInt16(controllerID)
                c.rcsts = isHolder ? 1 : 0
                c.rkey = UInt64(key)
                set(&c.hostid, Array(1...8))
                expected += bytes(of: c)
            }
        }
        #expect(status.encoded(isExtended: isExtended) == expected)
        let decoded = try expected.withUnsafeBytes { try ReservationStatus(decoding: $0, isExtended: isExtended) }
        #expect(decoded == status)

        // Read in part: the registrants that are there.
        let part = try expected.dropLast().withUnsafeBytes { bytes throws in
            try ReservationStatus(decoding: bytes, isExtended: isExtended)
        }
        #expect(part.registrantCount == 2)
        #expect(part.registrants == [status.registrants[0]])
        #expect(throws: MalformedStructure.self) {
            try expected.prefix(start - 1).withUnsafeBytes {
                try ReservationStatus(decoding: $0, isExtended: isExtended)
            }
        }
        expected[4] = 7
        #expect(throws: MalformedStructure.self) {
            try expected.withUnsafeBytes { try ReservationStatus(decoding: $0, isExtended: isExtended) }
        }
    }
}
