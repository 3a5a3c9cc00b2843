import Base
import CLibNVMe
import NVMeSpec
import Testing

@Suite("Identify structures")
struct IdentifyTests {
    @Test("Identify Controller is nvme_id_ctrl")
    func controller() throws {
        let spaces = { (c: inout nvme_id_ctrl) in
            set(&c.sn, "", padding: 0x20)
            set(&c.mn, "", padding: 0x20)
            set(&c.fr, "", padding: 0x20)
        }
        try expectLayout(
            nvme_id_ctrl.self, IdentifyController.self, prepare: spaces,
            [
                FieldPair("vid", \.vid, \.vendorID),
                FieldPair("ssvid", \.ssvid, \.subsystemVendorID),
                FieldPair("sn", { set(&$0.sn, "serial", padding: 0x20) }, { $0.serialNumber = "serial" }),
                FieldPair("mn", { set(&$0.mn, "model", padding: 0x20) }, { $0.modelNumber = "model" }),
                FieldPair("fr", { set(&$0.fr, "1.2", padding: 0x20) }, { $0.firmwareRevision = "1.2" }),
                FieldPair("rab", \.rab, \.recommendedArbitrationBurst),
                FieldPair("ieee", { set(&$0.ieee, [0x01, 0x02, 0x03]) }, { $0.ieeeOUI = 0x030201 }),
                FieldPair("cmic", \.cmic, \.multiPath),
                FieldPair("mdts", \.mdts, \.maxDataTransferSize),
                FieldPair("cntlid", \.cntlid, \.controllerID),
                FieldPair("ver", \.ver, \.version),
                FieldPair("rtd3e", \.rtd3e, \.rtd3EntryLatency),
                FieldPair("oaes", \.oaes, \.asyncEvents),
                FieldPair("ctratt", \.ctratt, \.attributes),
                FieldPair("cntrltype", \.cntrltype, \.controllerType),
                FieldPair("crdt1", \.crdt1, \.commandRetryDelay1),
                FieldPair("crdt2", \.crdt2, \.commandRetryDelay2),
                FieldPair("crdt3", \.crdt3, \.commandRetryDelay3),
                FieldPair("oacs", \.oacs, \.adminCommands),
                FieldPair("acl", \.acl, \.abortCommandLimit),
                FieldPair("aerl", \.aerl, \.asyncEventRequestLimit),
                FieldPair("frmw", \.frmw, \.firmwareUpdates),
                FieldPair("lpa", \.lpa, \.logPageAttributes),
                FieldPair("elpe", \.elpe, \.errorLogPageEntries),
                FieldPair("npss", \.npss, \.powerStates),
                FieldPair("wctemp", \.wctemp, \.warningTemperature),
                FieldPair("cctemp", \.cctemp, \.criticalTemperature),
                FieldPair("tnvmcap", { set(&$0.tnvmcap, [1, 2, 3]) }, { $0.totalCapacity = 0x030201 }),
                FieldPair("unvmcap", { set(&$0.unvmcap, [1, 2, 3]) }, { $0.unallocatedCapacity = 0x030201 }),
                FieldPair("kas", \.kas, \.keepAliveGranularity),
                FieldPair("anatt", \.anatt, \.anaTransitionTime),
                FieldPair("anacap", \.anacap, \.anaCapabilities),
                FieldPair("anagrpmax", \.anagrpmax, \.anaGroupIDMax),
                FieldPair("nanagrpid", \.nanagrpid, \.anaGroupCount),
                FieldPair("sqes", \.sqes, \.submissionEntrySizes),
                FieldPair("cqes", \.cqes, \.completionEntrySizes),
                FieldPair("maxcmd", \.maxcmd, \.maxOutstandingCommands),
                FieldPair("nn", \.nn, \.namespaceCount),
                FieldPair("oncs", \.oncs, \.nvmCommands),
                FieldPair("fuses", \.fuses, \.fusedOperations),
                FieldPair("vwc", \.vwc, \.volatileWriteCache),
                FieldPair("awun", \.awun, \.atomicWriteUnit),
                FieldPair("awupf", \.awupf, \.atomicWriteUnitPowerFail),
                FieldPair("nwpc", \.nwpc, \.writeProtectionCapabilities),
                FieldPair("acwu", \.acwu, \.atomicCompareAndWriteUnit),
                FieldPair("sgls", \.sgls, \.sglSupport),
                FieldPair("mnan", \.mnan, \.maxAllowedNamespaces),
                FieldPair("subnqn", { set(&$0.subnqn, "nqn.a") }, { $0.subsystemNQN = "nqn.a" }),
                FieldPair("ioccsz", \.ioccsz, \.ioCommandCapsuleSize),
                FieldPair("iorcsz", \.iorcsz, \.ioResponseCapsuleSize),
                FieldPair("icdoff", \.icdoff, \.inCapsuleDataOffset),
                FieldPair("fcatt", \.fcatt, \.fabricsAttributes),
                FieldPair("msdbd", \.msdbd, \.maxSGLDescriptors),
                FieldPair("ofcs", \.ofcs, \.fabricsCommands),
                FieldPair("dctype", \.dctype, \.discoveryControllerType),
                FieldPair("psd[0].mp", { $0.psd.0.mp = 0x1234 }, { $0.maxPower = 0x1234 }),
            ])
    }

    @Test("Identify Namespace is nvme_id_ns")
    func namespace() throws {
        let formatted = { (c: inout nvme_id_ns) in c.lbaf.0.ds = 12 }
        try expectLayout(
            nvme_id_ns.self, IdentifyNamespace.self, prepare: formatted,
            [
                FieldPair("nsze", { $0.nsze = 0x123456 }, { $0.size = 0x123456 }),
                FieldPair("ncap", \.ncap, \.capacity),
                FieldPair("nuse", \.nuse, \.utilization),
                FieldPair("nsfeat", \.nsfeat, \.features),
                FieldPair("flbas", \.flbas, \.formattedLBASize),
                FieldPair("dps", \.dps, \.protection),
                FieldPair("nmic", \.nmic, \.sharing),
                FieldPair("rescap", \.rescap, \.reservations),
                FieldPair("dlfeat", \.dlfeat, \.deallocation),
                FieldPair("nawun", \.nawun, \.atomicWriteUnit),
                FieldPair("nawupf", \.nawupf, \.atomicWriteUnitPowerFail),
                FieldPair("nacwu", \.nacwu, \.atomicCompareAndWriteUnit),
                FieldPair("noiob", \.noiob, \.optimalIOBoundary),
                FieldPair("nvmcap", { set(&$0.nvmcap, [1, 2, 3]) }, { $0.totalCapacity = 0x030201 }),
                FieldPair("npwg", \.npwg, \.preferredWriteGranularity),
                FieldPair("npwa", \.npwa, \.preferredWriteAlignment),
                FieldPair("npdg", \.npdg, \.preferredDeallocateGranularity),
                FieldPair("npda", \.npda, \.preferredDeallocateAlignment),
                FieldPair("nows", \.nows, \.optimalWriteSize),
                FieldPair("anagrpid", \.anagrpid, \.anaGroup),
                FieldPair("nsattr", \.nsattr, \.attributes),
                FieldPair(
                    "nguid", { set(&$0.nguid, Array(1...16)) },
                    { $0.nguid = UUIDBytes(bytes: Array(1...16)) ?? .init() }),
                FieldPair("eui64", { set(&$0.eui64, Array(1...8)) }, { $0.eui64 = 0x0102_0304_0506_0708 }),
                FieldPair(
                    "nlbaf, lbaf[1]",
                    {
                        $0.nlbaf = 1
                        $0.lbaf.1.ms = 8
                        $0.lbaf.1.ds = 9
                        $0.lbaf.1.rp = 2
                    },
                    { $0.formats.append(LBAFormat(dataSizeShift: 9, metadataSize: 8, relativePerformance: 2)) }),
                FieldPair(
                    "lbaf[63]",
                    {
                        $0.nlbaf = 63
                        $0.lbaf.63.ds = 9
                    },
                    { namespace in
                        namespace.formats += [LBAFormat](repeating: LBAFormat(), count: 62)
                        namespace.formats.append(LBAFormat(dataSizeShift: 9))
                    }),
            ])
    }

    @Test("The format in use is what libnvme takes it for", arguments: UInt8(0)...255)
    func formatIndex(flbas: UInt8) {
        var index: UInt8 = 0
        nvme_id_ns_flbas_to_lbaf_inuse(flbas, &index)
        var namespace = IdentifyNamespace()
        namespace.formattedLBASize = flbas
        #expect(namespace.formatIndex == Int(index))
    }

    @Test("An Identify Namespace that contradicts itself is refused")
    func contradictions() throws {
        var c = zeroed(nvme_id_ns.self)
        c.nsze = 100
        #expect(throws: MalformedStructure.self) { try IdentifyNamespace(decoding: bytes(of: c)) }
        c.lbaf.0.ds = 9
        #expect(try IdentifyNamespace(decoding: bytes(of: c)).blockSize == 512)
        c.flbas = 1
        #expect(throws: MalformedStructure.self) { try IdentifyNamespace(decoding: bytes(of: c)) }
        c.flbas = 0
        c.nsze = UInt64.max / 512
        #expect(try IdentifyNamespace(decoding: bytes(of: c)).size == UInt64.max / 512)
        c.nsze = UInt64.max / 512 + 1
        #expect(throws: MalformedStructure.self) { try IdentifyNamespace(decoding: bytes(of: c)) }
        c.lbaf.0.ds = 64
        #expect(throws: MalformedStructure.self) { try IdentifyNamespace(decoding: bytes(of: c)) }
        #expect(throws: MalformedStructure.self) { try IdentifyNamespace(decoding: [UInt8](repeating: 0, count: 4095)) }
    }

    @Test("CNS 08h is nvme_id_independent_id_ns, CNS 05h nvme_nvm_id_ns, CNS 06h nvme_id_ctrl_nvm")
    func commandSets() throws {
        try expectLayout(
            nvme_id_independent_id_ns.self, IdentifyIndependentNamespace.self,
            [
                FieldPair("nsfeat", \.nsfeat, \.features),
                FieldPair("nmic", \.nmic, \.sharing),
                FieldPair("rescap", \.rescap, \.reservations),
                FieldPair("anagrpid", \.anagrpid, \.anaGroup),
                FieldPair("nsattr", \.nsattr, \.attributes),
                FieldPair("nstat", \.nstat, \.status),
            ])
        try expectLayout(
            nvme_nvm_id_ns.self, IdentifyNVMNamespace.self,
            [
                FieldPair("lbstm", \.lbstm, \.storageTagMask),
                FieldPair("pic", \.pic, \.protectionCapabilities),
            ])
        try expectLayout(
            nvme_id_ctrl_nvm.self, IdentifyNVMController.self,
            [
                FieldPair("vsl", \.vsl, \.verifySizeLimit),
                FieldPair("wzsl", \.wzsl, \.writeZeroesSizeLimit),
                FieldPair("wusl", \.wusl, \.writeUncorrectableSizeLimit),
                FieldPair("dmrl", \.dmrl, \.datasetManagementRangesLimit),
                FieldPair("dmrsl", \.dmrsl, \.datasetManagementRangeSizeLimit),
                FieldPair("dmsl", \.dmsl, \.datasetManagementSizeLimit),
            ])
        #expect(IdentifyCommandSets.byteCount == MemoryLayout<nvme_id_iocs>.size)
        #expect(IdentifyCommandSets().encoded.prefix(9) == [1 << UInt8(NVME_CSI_NVM.rawValue), 0, 0, 0, 0, 0, 0, 0, 0])
    }
}
