import ArgumentParser
import Base
import Foundation
import LoadGenerator
import NVMeInitiator
import Reactor
import Replication
import VolumeDriver

struct VolumeExerciseCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "exercise",
        abstract: "Check a volume across crashes of its targets and of this command. WRITES DESTROY DATA.",
        discussion: """
            Reads all blocks of the range and compares them with the record, then loads a part of the range with \
            overlapping writes, zeroes, trims, flushes and reads, waits until all members are in sync, and detaches. The \
            record says for each block which write was acknowledged last and which are under way, so that after a crash \
            the next run, with the same record, knows what must be there. Without a record the range has to read as zeroes.

            With --check, compares a member's file or device with the record instead; nothing is attached.

            \(TakeOver.discussion)
            """)

    @Argument(help: "The volume's name in the registry, in the place of its members.")
    var name: String?
    @Option(
        name: [.customShort("m"), .customLong("member")],
        help: ArgumentHelp("A member; three times, in order.", valueName: "ADDRESS:PORT/SUBNQN/NSID"),
        transform: FabricsFile.member)
    var members: [MemberAddress] = []
    @OptionGroup var registry: RegistryArguments
    @OptionGroup var takeOver: TakeOver
    @Option(name: [.customShort("q"), .customLong("hostnqn")], help: hostNQNHelp)
    var hostNQN: String?
    @Option(name: .customLong("old-size"), help: VolumeArguments.oldSizeHelp)
    var oldSize: ByteCount?
    @OptionGroup var patience: Patience
    @Option(help: ArgumentHelp("File of the record; made where it is not there.", valueName: "file")) var record: String
    @Option(help: ArgumentHelp("File or device with a member's data, to be compared.", valueName: "file"))
    var check: [String] = []
    @Option(name: .customLong("block-size"), help: ByteCount.help("Size of the volume's blocks.")) var blockSize =
        ByteCount(512)
    @Option(name: .customLong("start-block"), help: "First logical block of the range.") var startBlock: UInt64 = 0
    @Option(help: ByteCount.help("Size of the range.")) var size = ByteCount(16 << 20)
    @Option(help: ByteCount.help("Size of the part of the range that is loaded; its place depends on the seed."))
    var window: ByteCount?
    @Option(name: .customLong("runtime"), help: "Seconds of load; 0 for a check alone.") var seconds: Double = 2
    @Option(name: .customLong("iodepth"), help: "I/Os under way.") var depth = 16
    @Option(help: "What is done depends on this number only.") var seed: UInt64 = 1

    func validate() throws {
        guard (1...256).contains(depth) else { throw ValidationError("--iodepth is between 1 and 256") }
        guard blockSize.value >= 512, blockSize.value & (blockSize.value - 1) == 0 else {
            throw ValidationError("--block-size is a power of two from 512")
        }
        guard size.value / blockSize.value >= 1024 else { throw ValidationError("--size is at least 1024 blocks") }
        guard check.isEmpty == (members.count == memberCount || name != nil) else {
            throw ValidationError("either --check or three members, or a name, are given")
        }
    }

    func run() async throws {
        let record = try ExerciseRecord(
            path: record, blockSize: blockSize.value, startBlock: startBlock,
            blockCount: UInt64(size.value / blockSize.value))
        if !check.isEmpty {
            for path in check {
                let file = try InputFile(path)
                try file.seek(to: record.startBlock * UInt64(record.blockSize))
                if let problem = try record.compare(path: path, read: file.read(into:)) {
                    throw TercetError(.damaged, problem)
                }
            }
            return
        }
        let session = try Session()
        defer { session.end() }
        var arguments = VolumeArguments()
        arguments.name = name
        arguments.members = members
        arguments.registry = registry
        arguments.hostNQN = hostNQN
        arguments.oldSize = oldSize
        arguments.patience = patience
        try arguments.validate()
        let attached = try await VolumeSession(
            try await arguments.chosen(), takeOver, depth: max(depth, 64), session: session)
        let line = try await attached.use { try await exercise(attached, record, session) }
        print(line)
    }

    /// Loads the attached volume and checks it; returns what is to be said of that.
    private func exercise(
        _ attached: VolumeSession, _ record: ExerciseRecord, _ session: Session
    ) async throws -> String {
        let geometry = await attached.volume.geometry()
        guard Int(geometry.blockSize) == blockSize.value else {
            throw TercetError(.invalid, "the volume has blocks of \(geometry.blockSize) bytes")
        }
        guard startBlock + record.blockCount <= geometry.dataBlocks else {
            throw TercetError(.invalid, "the range is beyond the volume's end")
        }
        let length = min(UInt64((window?.value ?? size.value) / blockSize.value), record.blockCount)
        var random = BenchRandom(seed: seed)
        let start = random.next(below: record.blockCount - length + 1)
        let plan = VolumeExerciser.Plan(
            window: start..<start + length, depth: depth, blocksMax: min(64, length), seed: seed)
        guard
            let memory = await attached.volume.allocate(
                VolumeExerciser.byteCount(plan, blockSize: blockSize.value))
        else { throw TercetError(.exhausted, "no memory for --iodepth") }
        let volume = attached.volume
        let exerciser = await session.groups[0].run {
            VolumeExerciser(plan, record: record, volume: volume, memory: memory.pointer)
        }
        let (reactor, group) = (session.reactors[0], session.groups[0])
        let milliseconds = UInt64(seconds * 1000)
        try await attached.watching {
            await withCheckedContinuation { continuation in
                group.send {
                    reactor.add(exerciser)
                    exerciser.run(milliseconds: milliseconds, continuation)
                }
            }
        }
        let (problem, failure, operations) = await group.run {
            (exerciser.problem, exerciser.failure, exerciser.operations)
        }
        if let failure { throw TercetError(.failed, failure) }
        if let problem { throw TercetError(.damaged, "verification failed: \(problem)") }
        try await attached.bringIntoSync()
        let counts = await attached.volume.statistics()
        let regions = geometry.regions(start: startBlock + start, count: length)
        return "verified: \(operations) I/Os in \(regions.count) regions; members lost: \(counts.memberLosses); "
            + "copied: \(counts.regionsCopied) regions, \(counts.bytesCopied) bytes"
    }
}
