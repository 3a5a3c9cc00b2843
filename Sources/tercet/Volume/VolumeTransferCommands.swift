import ArgumentParser
import Base
import BlockInterface
import Foundation
import Replication
import VolumeDriver

/// Bytes that are read or written at once: several members' commands, so that they overlap.
private let volumePieceBytes = 4 << 20

struct VolumeWriteCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "write", abstract: "Write a file or the standard input to the volume, and flush.",
        discussion: """
            The last block is filled up with zeroes.

            \(TakeOver.discussion)
            """)

    @OptionGroup var volume: VolumeArguments
    @OptionGroup var takeOver: TakeOver
    @Option(name: .customLong("start-block"), help: "First logical block.") var startBlock: UInt64 = 0
    @Option(name: [.customShort("f"), .customLong("input")], help: "File to read from; - for the standard input.")
    var input = "-"

    func run() async throws {
        let session = try Session()
        defer { session.end() }
        let file = try InputFile(input)
        let attached = try await VolumeSession(try await volume.chosen(), takeOver, session: session)
        let end = try await attached.use { try await write(file, attached) }
        print("\(end - startBlock) blocks written")
    }

    /// Writes all of a file; returns the block behind it.
    private func write(_ file: InputFile, _ attached: VolumeSession) async throws -> UInt64 {
        let blockSize = Int(await attached.volume.geometry().blockSize)
        let piece = volumePieceBytes
        guard let buffer = await attached.volume.allocate(piece) else {
            throw TercetError(.exhausted, "no memory for the data")
        }
        var block = startBlock
        let space = UnsafeMutableRawBufferPointer(start: buffer.pointer, count: piece)
        while case let bytes = try file.read(into: space), bytes > 0 {
            let count = (bytes + blockSize - 1) / blockSize
            (buffer.pointer + bytes).initializeMemory(as: UInt8.self, repeating: 0, count: count * blockSize - bytes)
            try await attached.perform(.write, start: block, count: UInt64(count), blockSize, buffer)
            block += UInt64(count)
        }
        try await attached.perform(.flush)
        return block
    }
}

struct VolumeReadCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "read", abstract: "Read blocks of the volume to a file or to the standard output.",
        discussion: TakeOver.discussion)

    @OptionGroup var volume: VolumeArguments
    @OptionGroup var takeOver: TakeOver
    @Option(name: .customLong("start-block"), help: "First logical block.") var startBlock: UInt64 = 0
    @Option(name: .customLong("block-count"), help: "Logical blocks to read.") var blockCount: UInt64 = 1
    @Option(name: [.customShort("o"), .customLong("output")], help: OutputFile.help)
    var output = "-"

    func run() async throws {
        let session = try Session()
        defer { session.end() }
        let file = try OutputFile(output)
        let attached = try await VolumeSession(try await volume.chosen(), takeOver, session: session)
        try await attached.use { try await read(attached, to: file) }
    }

    private func read(_ attached: VolumeSession, to file: OutputFile) async throws {
        let blockSize = UInt64(await attached.volume.geometry().blockSize)
        let piece = UInt64(volumePieceBytes) / blockSize
        guard let buffer = await attached.volume.allocate(volumePieceBytes) else {
            throw TercetError(.exhausted, "no memory for the data")
        }
        var done: UInt64 = 0
        while done < blockCount {
            let count = min(piece, blockCount - done)
            try await attached.perform(.read, start: startBlock + done, count: count, Int(blockSize), buffer)
            if done == 0 { try file.begin(blocks: blockCount, blockSize: Int(blockSize)) }
            try file.write(UnsafeRawBufferPointer(start: buffer.pointer, count: Int(count * blockSize)))
            done += count
        }
        try file.finish()
    }
}

extension VolumeSession {
    /// Does one I/O on whole blocks; throws where it fails, or comes no further for too long.
    fileprivate func perform(
        _ operation: BlockInterface.BlockOperation, start: UInt64 = 0, count: UInt64 = 0, _ blockSize: Int = 0,
        _ buffer: VolumeBuffer? = nil
    ) async throws {
        let calls = attachment.calls
        let status = try await watching {
            await calls.perform(
                operation, offset: start * UInt64(blockSize), length: count * UInt64(blockSize),
                buffer: buffer?.pointer)
        }
        guard status == .success else {
            let place = count > 0 ? " of \(count) blocks at block \(start)" : ""
            throw TercetError(.failed, "the \(operation.text)\(place) failed: \(status.explanation)")
        }
    }
}
