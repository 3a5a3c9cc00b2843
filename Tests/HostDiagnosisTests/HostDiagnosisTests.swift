import Base
import HostDiagnosis
import Testing

/// A host that is right, and what is said of it with one thing wrong.
@Suite struct HostDiagnosisTests {
    private static func address(_ text: String) -> SocketAddress { SocketAddress(text, defaultPort: 4420)! }

    private static let unit = """
        [Service]
        ExecStart=/usr/local/bin/tercetd --config /etc/tercet/tercetd.json
        LimitMEMLOCK=infinity
        """

    private static var right: HostFacts {
        var facts = HostFacts()
        facts.devices = [
            HostFacts.Device(
                name: "mlx5_0",
                ports: [HostFacts.Port(interface: "eth1", gidTypes: ["IB/RoCE v1", "RoCE v2"])], node: 0)
        ]
        facts.hasConnectionManager = true
        facts.lockedMemoryLimit = .max
        facts.descriptorLimit = 1 << 20
        facts.clockSource = "tsc"
        facts.hugePageBytes = 0
        facts.transparentHugePages = "madvise"
        facts.kernel = "6.1.0-28-amd64"
        facts.addresses = [("127.0.0.1", "lo"), ("10.0.0.1", "eth0"), ("192.0.2.1", "eth1")]
        facts.needs = HostFacts.Needs(
            lockedBytes: 256 << 20, descriptors: 400, reactors: 4, sharedReceiveEntries: 2048, queuePairs: 4096,
            listeners: [address("192.0.2.1"), address("0.0.0.0")], nodes: [0], processors: 8)
        facts.targets = [HostFacts.Target(address: address("192.0.2.7"), interface: "eth1", roundTripSeconds: 30e-6)]
        facts.units = [HostFacts.Unit(path: "/etc/systemd/system/tercetd.service", text: unit)]
        return facts
    }

    @Test func nothingIsSaidOfAHostThatIsRight() { #expect(Self.right.findings == []) }

    /// A user's limits bind the user's commands: it is said whose they are, and that the daemons have their own.
    @Test func aUsersLimitsAreNotTheDaemons() throws {
        var facts = Self.right
        facts.user = "ann"
        facts.lockedMemoryLimit = 64 << 10
        let finding = try #require(facts.findings.first)
        #expect(finding.subject == "limit of locked memory of the user ann")
        #expect(finding.consequence.contains("the daemons have the limits of their units"))
    }

    @Test func nothingIsSaidOfWhatIsNotKnown() {
        var facts = HostFacts()
        facts.devices = [HostFacts.Device(name: "softverbs0", ports: [HostFacts.Port()])]
        #expect(facts.findings == [])
    }

    struct Wrong: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let severity: Finding.Severity
        /// Parts of the problem and of the remedy.
        let problem: String
        let remedy: String
        let change: @Sendable (inout HostFacts) -> Void

        init(
            _ name: String, _ severity: Finding.Severity, _ problem: String, _ remedy: String,
            _ change: @escaping @Sendable (inout HostFacts) -> Void
        ) {
            testDescription = name
            self.severity = severity
            self.problem = problem
            self.remedy = remedy
            self.change = change
        }
    }

    private static let cases: [Wrong] = [
        Wrong("no device", .error, "there is no RDMA device", "rdma link add rxe0 type rxe") { $0.devices = [] },
        Wrong("no connection manager", .error, "/dev/infiniband/rdma_cm", "modprobe rdma_ucm") {
            $0.hasConnectionManager = false
        },
        Wrong("RDMA cannot be used", .error, "no descriptors", "load the driver") { $0.rdmaProblem = "no descriptors" },
        Wrong("port down", .error, "it is down", "ip link set eth1 up") {
            $0.devices[0].ports[0].isActive = false
            $0.devices[0].ports[0].state = "down"
        },
        Wrong("MTU of Ethernet as it comes", .warning, "carry 1024 bytes of 4096", "ip link set eth1 mtu 4200") {
            $0.devices[0].ports[0].activeMTU = 1024
        },
        Wrong("no GID of RoCE v2", .error, "no GID of RoCE v2", "cma_roce_mode -d mlx5_0 -p 1 -m 2") {
            $0.devices[0].ports[0].gidTypes = ["IB/RoCE v1"]
        },
        Wrong("one READ at a time", .warning, "1 RDMA READs", "spread hosts over more I/O queues") {
            $0.devices[0].readDepth = 1
        },
        Wrong("too few memory regions", .error, "3 memory regions, and the configuration needs 16", "fewer reactors") {
            $0.devices[0].maxMemoryRegions = 3
        },
        Wrong("too few queue pairs", .error, "128 queue pairs, and the configuration needs 4096", "maxIOQueues") {
            $0.devices[0].maxQueuePairs = 128
        },
        Wrong("a short shared receive queue", .error, "1024 entries", "set sharedReceiveEntries to at most 1024") {
            $0.devices[0].sharedReceiveEntries = 1024
        },
        Wrong("reactors far from the device", .warning, "at NUMA node 0, and the reactors run at 1", "node0/cpulist") {
            $0.needs?.nodes = [1, 1]
        },
        Wrong("locked memory", .error, "it is 8M, and 256M are registered", "LimitMEMLOCK=infinity") {
            $0.units = []
            $0.lockedMemoryLimit = 8 << 20
        },
        Wrong("descriptors", .error, "it is 256, and 400 are needed", "LimitNOFILE=800") {
            $0.units = []
            $0.descriptorLimit = 256
        },
        // Of a user whose commands alone have them: the daemon has those of its unit.
        Wrong("locked memory of a user", .warning, "it is 8M, and 64M are registered", "ulimit -l unlimited") {
            $0.lockedMemoryLimit = 8 << 20
        },
        Wrong("descriptors of a user", .warning, "it is 128, and 256 are needed", "ulimit -n 512") {
            $0.descriptorLimit = 128
        },
        Wrong("a unit without its limit", .error, "LimitMEMLOCK is not set", "systemctl edit tercetd.service") {
            $0.units[0].text = "[Service]\nExecStart=/usr/local/bin/tercetd\n"
        },
        Wrong("a unit with a low limit", .error, "LimitMEMLOCK is 64M", "LimitMEMLOCK=infinity") {
            $0.units[0].text = "[Service]\nLimitMEMLOCK=64M\n"
        },
        Wrong("a unit with few descriptors", .error, "LimitNOFILE is 256:1024, and 400 are needed", "LimitNOFILE=800") {
            $0.units[0].text += "\nLimitNOFILE=256:1024"
        },
        Wrong("a unit without descriptors", .error, "not set, so that it is 1024, and 1500 are", "LimitNOFILE=3000") {
            $0.needs?.descriptors = 1500
        },
        Wrong("no huge pages", .warning, "transparent ones are off (never)", "echo madvise") {
            $0.transparentHugePages = "never"
        },
        Wrong("too few huge pages", .warning, "1G are set aside, and the configuration populates 3G", "=1536 ") {
            $0.hugePageBytes = 1 << 30
            $0.needs?.populatedBytes = 3 << 30
        },
        Wrong("a slow clock", .warning, "it is hpet", "current_clocksource") { $0.clockSource = "hpet" },
        Wrong("an old kernel", .warning, "older than 5.10", "maintained kernel") { $0.kernel = "4.19.0-27-amd64" },
        Wrong("more reactors than processors", .error, "there are 16, on 8 processors", "at most 8") {
            $0.needs?.reactors = 16
        },
        Wrong("a listener elsewhere", .error, "none of this host", "ip address add 192.0.2.9/PREFIX") {
            $0.needs?.listeners = [address("192.0.2.9")]
        },
        Wrong("a listener without RDMA", .error, "its interface eth0 has no RDMA device; these have: eth1", "listen at")
        {
            $0.needs?.listeners = [address("10.0.0.1")]
        },
        Wrong("a target without a route", .error, "there is no route", "ip route get 192.0.2.7") {
            $0.targets[0].interface = nil
            $0.targets[0].problem = "Network is unreachable"
        },
        Wrong("a target by the wrong interface", .error, "by eth0, which has no RDMA device", "ip route get 192.0.2.7")
        {
            $0.targets[0].interface = "eth0"
        },
        Wrong("a target that does not answer", .error, "it is not reached: refused", "tercet target show") {
            $0.targets[0].problem = "refused"
        },
        Wrong("a slow path", .warning, "took 20000 us", "ethtool -S") { $0.targets[0].roundTripSeconds = 0.02 },
    ]

    @Test(arguments: cases)
    func oneThingIsWrong(wrong: Wrong) {
        var facts = Self.right
        wrong.change(&facts)
        let findings = facts.findings
        #expect(findings.count == 1)
        #expect(findings.first?.severity == wrong.severity)
        #expect(findings.first?.problem.contains(wrong.problem) == true)
        #expect(findings.first?.remedy.contains(wrong.remedy) == true)
        #expect(findings.first?.consequence.isEmpty == false)
    }
}
