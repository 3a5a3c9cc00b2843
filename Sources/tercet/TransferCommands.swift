import ArgumentParser
import Base
import Foundation
import InitiatorTransport
import LoadGenerator
import NVMeInitiator
import NVMeSpec

/// Which blocks.
struct RangeArguments: ParsableArguments {
    @OptionGroup var subsystem: SubsystemArguments

    @Option(help: "Namespace; needed where there are several.") var nsid: UInt32?

    @Option(name: .customLong("start-block"), help: "First logical block.") var startBlock: UInt64 = 0

    /// Bytes that are moved at once.
    static let pieceBytes = 1 << 20
}

struct ReadCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "read", abstract: "Read blocks of a namespace to a file or to the standard output.")

    @OptionGroup var range: RangeArguments

    @Option(name: .customLong("block-count"), help: "Logical blocks to read.") var blockCount: UInt64 = 1

    @Option(name: [.customShort("o"), .customLong("output")], help: OutputFile.help)
    var output = "-"

    func validate() throws {
        guard blockCount > 0 else { throw ValidationError("--block-count is at least 1") }
    }

    func run() async throws {
        let session = try Session()
        defer { session.end() }
        let controller = try await session.connect(try range.subsystem.options())
        let namespace = try controller.namespace(range.nsid)
        let file = try OutputFile(output)
        let piece = max(RangeArguments.pieceBytes / namespace.blockSize, 1)
        let memory = try await DataMemory(controller.queues[0], bytes: piece * namespace.blockSize, for: .reading)
        var done: UInt64 = 0
        while done < blockCount {
            let blocks = min(blockCount - done, UInt64(piece))
            let completion = await controller.queues[0].perform(
                IOOperation(
                    .read, namespace: namespace.index, startingLBA: range.startBlock &+ done, blockCount: blocks,
                    data: memory.part(0, Int(blocks) * namespace.blockSize)))
            if let problem = completion.problem {
                throw TercetError(.failed, "read of \(blocks) blocks at \(range.startBlock &+ done): \(problem)")
            }
            if done == 0 { try file.begin(blocks: blockCount, blockSize: namespace.blockSize) }
            try file.write(
                UnsafeRawBufferPointer(start: memory.segment.address, count: Int(blocks) * namespace.blockSize))
            done += blocks
        }
        try file.finish()
        await controller.close()
    }
}

struct WriteCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "write", abstract: "Write a file or the standard input to blocks of a namespace.",
        discussion: "The last block is filled up with zeroes.")

    @OptionGroup var range: RangeArguments

    @Option(name: [.customShort("f"), .customLong("input")], help: "File to read from; - for the standard input.")
    var input = "-"

    @Flag(name: .customLong("force-unit-access"), help: "Each write is on stable media when it completes.")
    var forceUnitAccess = false

    @Flag(help: "Flush at the end.") var flush = false

    func run() async throws {
        let session = try Session()
        defer { session.end() }
        let file = try InputFile(input)
        let controller = try await session.connect(try range.subsystem.options())
        let namespace = try controller.namespace(range.nsid)
        let queue = controller.queues[0]
        let memory = try await DataMemory(queue, bytes: RangeArguments.pieceBytes, for: .writing)
        var lba = range.startBlock
        let space = UnsafeMutableRawBufferPointer(start: memory.segment.address, count: RangeArguments.pieceBytes)
        while case let count = try file.read(into: space), count > 0 {
            let blocks = (count + namespace.blockSize - 1) / namespace.blockSize
            let bytes = blocks * namespace.blockSize
            (space.baseAddress! + count).initializeMemory(as: UInt8.self, repeating: 0, count: bytes - count)
            let completion = await queue.perform(
                IOOperation(
                    .write, namespace: namespace.index, startingLBA: lba, blockCount: UInt64(blocks),
                    data: memory.part(0, bytes), flags: forceUnitAccess ? .forceUnitAccess : []))
            if let problem = completion.problem {
                throw TercetError(.failed, "write of \(blocks) blocks at \(lba): \(problem)")
            }
            lba += UInt64(blocks)
        }
        if flush {
            let completion = await queue.perform(IOOperation(.flush, namespace: namespace.index))
            if let problem = completion.problem { throw TercetError(.failed, "flush: \(problem)") }
        }
        await controller.close()
    }
}
