import ArgumentParser
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
        let attached = try await VolumeSession(volume, takeOver, session: session)
        let blockSize = Int(await attached.volume.geometry().blockSize)
        let piece = volumePieceBytes
        guard let buffer = await attached.volume.allocate(piece) else { throw CommandFailure("no memory for the data") }
        var block = startBlock
        let space = UnsafeMutableRawBufferPointer(start: buffer.pointer, count: piece)
        while case let bytes = try file.read(into: space), bytes > 0 {
            let count = (bytes + blockSize - 1) / blockSize
            (buffer.pointer + bytes).initializeMemory(as: UInt8.self, repeating: 0, count: count * blockSize - bytes)
            let status = await attached.attachment.calls.perform(
                .write, offset: block * UInt64(blockSize), length: UInt64(count * blockSize), buffer: buffer.pointer)
            guard status == .success else {
                throw CommandFailure("write of \(count) blocks at \(block): \(status.explanation)")
            }
            block += UInt64(count)
        }
        let status = await attached.attachment.calls.perform(.flush)
        guard status == .success else { throw CommandFailure("flush: \(status.explanation)") }
        try await attached.detach()
        print("\(block - startBlock) blocks written")
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
        let attached = try await VolumeSession(volume, takeOver, session: session)
        let blockSize = UInt64(await attached.volume.geometry().blockSize)
        let piece = UInt64(volumePieceBytes) / blockSize
        guard let buffer = await attached.volume.allocate(volumePieceBytes) else {
            throw CommandFailure("no memory for the data")
        }
        var done: UInt64 = 0
        while done < blockCount {
            let count = min(piece, blockCount - done)
            let status = await attached.attachment.calls.perform(
                .read, offset: (startBlock + done) * blockSize, length: count * blockSize, buffer: buffer.pointer)
            guard status == .success else {
                throw CommandFailure("read of \(count) blocks at \(startBlock + done): \(status.explanation)")
            }
            if done == 0 { try file.begin(blocks: blockCount, blockSize: Int(blockSize)) }
            try file.write(UnsafeRawBufferPointer(start: buffer.pointer, count: Int(count * blockSize)))
            done += count
        }
        try file.finish()
        try await attached.detach()
    }
}
