import Base
import Testing

@testable import KernelNBD

/// Messages against those that nbd-client 3.24 (libnl 3.7) sends and Linux 6.1 answers, caught by strace on a machine of the lab.
@Suite struct NetlinkTests {
    private func bytes(_ text: String) -> [UInt8] {
        let digits = Array(text.filter { !$0.isWhitespace })
        return stride(from: 0, to: digits.count, by: 2).compactMap { UInt8(String(digits[$0...$0 + 1]), radix: 16) }
    }

    /// CTRL_CMD_GETFAMILY for "nbd". The sender's port, the last word of the header, is the kernel's to fill in.
    @Test func theFamilyIsAskedForAsNBDClientDoes() {
        var attributes = NetlinkAttributes()
        attributes.add(2, "nbd")
        let message = NetlinkMessage(
            type: 16, flags: 5, sequence: 0x6b0b_c17e, command: 3, version: 1, attributes: attributes)
        #expect(message.bytes == bytes("1c000000 1000 0500 7ec10b6b 00000000 03010000 08000200 6e626400"))
    }

    /// NBD_CMD_CONNECT of nbd-client for 64 MiB, of 512 bytes a block, with descriptor 3: those of its attributes that ours has too,
    /// in ours' order.
    @Test func aDeviceIsConnectedAsNBDClientDoes() {
        let attributes = KernelNBD.attributes(
            3, .init(size: 64 << 20, blockSize: 512, flags: 0x0d6d, backend: "b"), index: nil)
        let theirs = [
            "0c000200 0000000400000000", "0c000300 0002000000000000", "0c000500 6d0d000000000000",
            "10000780 0c000180 08000100 03000000",
        ]
        for attribute in theirs {
            let wanted = bytes(attribute)
            let isThere = stride(from: 0, through: attributes.bytes.count - wanted.count, by: 4).contains {
                Array(attributes.bytes[$0..<$0 + wanted.count]) == wanted
            }
            #expect(isThere, "\(attribute)")
        }
        #expect(attributes.all.map(\.type) == [2, 3, 4, 8, 5, 10, 7])
    }

    /// The answer of Linux to NBD_CMD_STATUS for a device that is connected.
    @Test func theStatusIsRead() throws {
        let answer = bytes("2c0000002000000008000000d100000005010000180009001400010008000100000000000500020001000000")
        guard case .message(let message) = try #require(NetlinkMessage.decode(answer).first) else {
            Issue.record("no message")
            return
        }
        #expect(message.type == 32)
        #expect(message.sequence == 8)
        #expect(KernelNBD.connectedDevices([message]) == [0])
        var other = message
        other.attributes.bytes[20] = 0
        #expect(KernelNBD.connectedDevices([other]) == [])
    }

    /// The answer of Linux where it has no such family: NLMSG_ERROR with -ENOENT.
    @Test func errorsAreRead() {
        let answer = bytes(
            "30000000 02000000 7ec10b6b e047c0ff feffffff 1c000000 10000500 7ec10b6b e047c0ff 03010000 08000200 6e626400"
        )
        #expect(NetlinkMessage.decode(answer) == [.acknowledgement(sequence: 0x6b0b_c17e, status: -2)])
    }

    /// Nothing of what is cut off, or says a wrong length, is read.
    @Test func cutMessagesAreLeftOut() {
        let whole = bytes("2c0000002000000008000000d100000005010000180009001400010008000100000000000500020001000000")
        for count in 0..<whole.count { #expect(NetlinkMessage.decode(Array(whole[..<count])) == []) }
        for position in 0..<whole.count {
            for value in [0, 1, 3, 0xff] as [UInt8] {
                var changed = whole
                changed[position] = value
                for case .message(let message) in NetlinkMessage.decode(changed) {
                    _ = KernelNBD.connectedDevices([message])
                }
            }
        }
    }

    /// This machine's own kernel: it has the family, or says that it has not.
    @Test func aKernelWithoutTheModuleIsNamed() {
        do throws(TercetError) {
            _ = try KernelNBD()
        } catch {
            #expect(error.code == .unsupported)
            #expect(error.message.contains("modprobe nbd"))
        }
    }
}
