import Testing

@testable import NodeAgent

/// Tables of mounts as kernels write them (proc(5), "/proc/pid/mountinfo").
@Suite struct MountTableTests {
    private let table = MountTable(
        """
        22 27 0:21 / /proc rw,nosuid,nodev,noexec,relatime shared:12 - proc proc rw
        27 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro
        81 27 7:0 / /var/lib/kubelet/plugins/a\\040b/globalmount rw,noatime shared:3 master:4 - ext4 /dev/loop0 rw
        82 27 7:0 / /pods/one ro,relatime - ext4 /dev/loop0 rw
        83 27 0:5 /nbd3 /pods/block rw,nosuid - devtmpfs udev rw,size=10k
        84 27 7:1 / /pods/one rw,relatime - xfs /dev/loop1 rw
        85 27 7:2
        86 27 x:y / /broken rw - ext4 /dev/x rw
        """)

    @Test func linesAreReadAndOthersLeftOut() { #expect(table.mounts.count == 6) }

    @Test func pathsAreWrittenWithOctalDigits() throws {
        let mount = try #require(table.mount(at: "/var/lib/kubelet/plugins/a b/globalmount"))
        #expect(mount.device == DeviceNumber(major: 7, minor: 0))
        #expect(mount.type == "ext4")
        #expect(mount.source == "/dev/loop0")
        #expect(!mount.isReadOnly)
    }

    @Test func theLastMountOverAPathCounts() { #expect(table.mount(at: "/pods/one")?.type == "xfs") }

    @Test func allMountsOfADevice() {
        let mounts = table.mounts(of: DeviceNumber(major: 7, minor: 0))
        #expect(mounts.map(\.path) == ["/var/lib/kubelet/plugins/a b/globalmount", "/pods/one"])
        #expect(mounts.map(\.isReadOnly) == [false, true])
    }

    @Test func aNodeIsMountedFromItsFileSystem() { #expect(table.mount(at: "/pods/block")?.root == "/nbd3") }
}
