import Base

/// Limits of the user who looks and of the daemons' units, and the machine itself.
extension HostFacts {
    /// Memory that a command registers, at the least, and descriptors that it opens.
    private static let (commandMemory, commandDescriptors): (UInt64, UInt64) = (64 << 20, 256)

    /// A daemon that a unit starts has the unit's limits: those of the user who looks are for commands then, and for nothing else.
    var limitFindings: [Finding] {
        let isForCommands = !units.isEmpty
        let severity: Finding.Severity = isForCommands ? .warning : .error
        var findings: [Finding] = []
        let locked = isForCommands ? Self.commandMemory : needs?.lockedBytes ?? Self.commandMemory
        if lockedMemoryLimit < locked {
            findings.append(
                Finding(
                    severity, "limit of locked memory of the user \(user)",
                    "it is \(ByteSize.format(lockedMemoryLimit)), and \(ByteSize.format(locked)) are registered with a device",
                    why: isForCommands
                        ? "commands of this user cannot register memory; the daemons have the limits of their units"
                        : "memory cannot be registered: hosts are refused, volumes do not attach",
                    remedy:
                        "ulimit -l unlimited (\(user) - memlock unlimited in /etc/security/limits.conf), or in a unit "
                        + "LimitMEMLOCK=infinity"))
        }
        let descriptors = isForCommands ? Self.commandDescriptors : needs?.descriptors ?? Self.commandDescriptors
        if descriptorLimit < descriptors {
            findings.append(
                Finding(
                    severity, "limit of file descriptors of the user \(user)",
                    "it is \(descriptorLimit), and \(descriptors) are needed",
                    why: isForCommands
                        ? "commands of this user fail with many queues; the daemons have the limits of their units"
                        : "devices do not open, and hosts are refused",
                    remedy: "ulimit -n \(descriptors * 2), or in a unit LimitNOFILE=\(descriptors * 2)"))
        }
        return findings
    }

    var unitFindings: [Finding] {
        units.flatMap { unit -> [Finding] in
            let name = unit.path.split(separator: "/").last ?? ""
            var findings: [Finding] = []
            let locked = unit.limit("LimitMEMLOCK")
            if locked.map(Self.bytes) ?? Self.defaultLockedMemory < needs?.lockedBytes ?? Self.commandMemory {
                findings.append(
                    Finding(
                        .error, unit.path,
                        locked.map { "LimitMEMLOCK is \($0)" }
                            ?? "LimitMEMLOCK is not set, so that it is \(ByteSize.format(Self.defaultLockedMemory))",
                        why: "the daemon cannot register its memory with the RDMA device",
                        remedy: "systemctl edit \(name): [Service] LimitMEMLOCK=infinity"))
            }
            // The needs are a target's.
            guard name == "tercetd.service", let descriptors = needs?.descriptors else { return findings }
            let files = unit.limit("LimitNOFILE")
            if files.map(Self.bytes) ?? Self.defaultDescriptors < descriptors {
                findings.append(
                    Finding(
                        .error, unit.path,
                        (files.map { "LimitNOFILE is \($0)" }
                            ?? "LimitNOFILE is not set, so that it is \(Self.defaultDescriptors)")
                            + ", and \(descriptors) are needed",
                        why: "devices do not open, and hosts are refused",
                        remedy: "systemctl edit \(name): [Service] LimitNOFILE=\(descriptors * 2)"))
            }
            return findings
        }
    }

    /// systemd's DefaultLimitMEMLOCK, and the soft part of its DefaultLimitNOFILE (systemd-system.conf(5)).
    private static let (defaultLockedMemory, defaultDescriptors): (UInt64, UInt64) = (8 << 20, 1024)

    /// A limit as systemd.exec(5) has it: `SOFT:HARD`, or one for both; what is none, systemd ignores.
    private static func bytes(_ text: Substring) -> UInt64 {
        let soft = text.prefix { $0 != ":" }
        return soft == "infinity" ? .max : ByteSize.parse(soft) ?? .max
    }

    var machineFindings: [Finding] {
        var findings: [Finding] = []
        if let clockSource, ["hpet", "acpi_pm", "jiffies", "refined-jiffies"].contains(clockSource) {
            findings.append(
                Finding(
                    .warning, "clock source", "it is \(clockSource)",
                    why: "reading the clock is a slow call into the kernel, and reactors read it often",
                    remedy:
                        "echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource, or tsc=reliable at boot"
                ))
        }
        if let kernel, let version = Self.version(kernel), version < (5, 10) {
            findings.append(
                Finding(
                    .warning, "kernel \(kernel)", "it is older than 5.10, the oldest that is maintained",
                    why: "holes and data losses of its RDMA and NVMe drivers that were found since are not mended",
                    remedy: "boot a maintained kernel"))
        }
        findings += hugePageFindings
        if let needs, needs.reactors > needs.processors {
            findings.append(
                Finding(
                    .error, "reactors", "there are \(needs.reactors), on \(needs.processors) processors",
                    why: "two reactors on one processor wait for each other",
                    remedy: "set \"reactors\" to at most \(needs.processors)"))
        }
        return findings
    }

    private var hugePageFindings: [Finding] {
        guard let hugePageBytes else { return [] }
        let wanted = needs?.populatedBytes ?? 0
        if hugePageBytes > 0, hugePageBytes < wanted {
            let (have, want) = (ByteSize.format(hugePageBytes), ByteSize.format(wanted))
            return [
                Finding(
                    .warning, "huge pages", "\(have) are set aside, and the configuration populates \(want)",
                    why: "a namespace that does not fit is made of small pages: its I/O is slower",
                    remedy: "sysctl vm.nr_hugepages=\((wanted + (2 << 20) - 1) >> 21) (pages of 2M), before the start")
            ]
        }
        guard hugePageBytes == 0, transparentHugePages == "never" else { return [] }
        return [
            Finding(
                .warning, "huge pages", "transparent ones are off (never), and none are set aside",
                why: "memory for I/O is made of small pages: processor and device translate more addresses",
                remedy: "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled")
        ]
    }

    /// The first two numbers of a release.
    private static func version(_ release: String) -> (Int, Int)? {
        let numbers = release.split { !$0.isNumber }.prefix(2).compactMap { Int($0) }
        return numbers.count == 2 ? (numbers[0], numbers[1]) : nil
    }
}
