import CLibNVMe
import LibNVMeCapture
import NVMeSpec
import Testing

extension CommandTests {
    @Test("Namespace Management, with the data of a namespace that is made")
    func namespaceManagement() {
        var wanted = NamespaceCreationData(blockCount: 0x0102_0304_0506_0708)
        wanted.formattedLBASize = 3
        expectAdmin(
            .namespaceManagement(NamespaceManagementCommand(.create, commandSet: .zonedNamespace)),
            data: Array(wanted.encoded.prefix(64))
        ) {
            var page = zeroed(nvme_id_ns.self)
            page.nsze = 0x0102_0304_0506_0708
            page.ncap = 0x0102_0304_0506_0708
            page.flbas = 3
            var nsid: UInt32 = 0
            nvme_ns_mgmt_create(libnvme_capture_fd, &page, &nsid, 0, UInt8(NVME_CSI_ZNS.rawValue))
        }
        for nsid in [7, NamespaceManagementCommand.allNamespaces] {
            expectAdmin(.namespaceManagement(NamespaceManagementCommand(.delete)), nsid: nsid) {
                nvme_ns_mgmt_delete(libnvme_capture_fd, nsid)
            }
        }
        #expect(NamespaceManagementCommand.allNamespaces == UInt32(NVME_NSID_ALL.rawValue))
    }

    @Test("Namespace Attachment, with its list of controllers")
    func namespaceAttachment() {
        var list = zeroed(nvme_ctrl_list.self)
        list.num = 2
        withUnsafeMutableBytes(of: &list.identifier) { $0.copyBytes(from: [1, 0, 0x34, 0x12]) }
        let data = Array(ControllerList([1, 0x1234]).encoded.prefix(64))
        expectAdmin(.namespaceAttachment(NamespaceAttachmentCommand(.attach)), nsid: 7, data: data) {
            nvme_ns_attach_ctrls(libnvme_capture_fd, 7, &list)
        }
        expectAdmin(.namespaceAttachment(NamespaceAttachmentCommand(.detach)), nsid: 7, data: data) {
            nvme_ns_detach_ctrls(libnvme_capture_fd, 7, &list)
        }
    }

    @Test("What they are to do is known, or the command is refused", arguments: [0x0D, 0x15] as [UInt8])
    func reservedActions(_ opcode: UInt8) {
        for action in 2...15 as ClosedRange<UInt32> {
            var entry = SubmissionEntry()
            entry.opcode = opcode
            entry.cdw10 = action
            #expect(AdminCommand(entry) == .invalid(.invalidField))
        }
    }

    @Test("The data of a namespace that is made has the offsets of nvme_id_ns")
    func creationData() throws {
        try expectLayout(
            nvme_id_ns.self, NamespaceCreationData.self,
            [
                FieldPair("nsze", \.nsze, \.size), FieldPair("ncap", \.ncap, \.capacity),
                FieldPair("flbas", \.flbas, \.formattedLBASize), FieldPair("dps", \.dps, \.protection),
                FieldPair("nmic", \.nmic, \.sharing), FieldPair("anagrpid", \.anagrpid, \.anaGroup),
                FieldPair("nvmsetid", \.nvmsetid, \.nvmSet), FieldPair("endgid", \.endgid, \.enduranceGroup),
            ])
    }
}
