import ArgumentParser
import Foundation
import Replication
import VolumeDriver

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
        let file: FileHandle
        if input == "-" {
            file = .standardInput
        } else {
            guard let opened = FileHandle(forReadingAtPath: input) else { throw CommandFailure("cannot read \(input)") }
            file = opened
        }
        let attached = try await VolumeSession(volume, takeOver, session: session)
        let blockSize = Int(await attached.volume.geometry().blockSize)
        let piece = Int(await attached.volume.maximumTransferBlocks()) * blockSize
        guard let buffer = await attached.volume.allocate(piece) else { throw CommandFailure("no memory for the data") }
        var block = startBlock
        while let data = try file.read(upToCount: piece), !data.isEmpty {
            let count = (data.count + blockSize - 1) / blockSize
            buffer.pointer.initializeMemory(as: UInt8.self, repeating: 0, count: count * blockSize)
            data.withUnsafeBytes { buffer.pointer.copyMemory(from: $0.baseAddress!, byteCount: data.count) }
            let status = await attached.volume.perform(
                .write, start: block, count: UInt64(count), buffer: buffer.pointer)
            guard status == .success else { throw CommandFailure("write of \(count) blocks at \(block): \(status)") }
            block += UInt64(count)
        }
        let status = await attached.volume.perform(.flush)
        guard status == .success else { throw CommandFailure("flush: \(status)") }
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
    @Option(name: [.customShort("o"), .customLong("output")], help: "File to write to; - for the standard output.")
    var output = "-"

    func run() async throws {
        let session = try Session()
        defer { session.end() }
        let file: FileHandle
        if output == "-" {
            file = .standardOutput
        } else {
            guard FileManager.default.createFile(atPath: output, contents: nil),
                let opened = FileHandle(forWritingAtPath: output)
            else { throw CommandFailure("cannot write to \(output)") }
            file = opened
        }
        let attached = try await VolumeSession(volume, takeOver, session: session)
        let blockSize = UInt64(await attached.volume.geometry().blockSize)
        let piece = await attached.volume.maximumTransferBlocks()
        guard let buffer = await attached.volume.allocate(Int(piece * blockSize)) else {
            throw CommandFailure("no memory for the data")
        }
        var done: UInt64 = 0
        while done < blockCount {
            let count = min(piece, blockCount - done)
            let status = await attached.volume.perform(
                .read, start: startBlock + done, count: count, buffer: buffer.pointer)
            guard status == .success else {
                throw CommandFailure("read of \(count) blocks at \(startBlock + done): \(status)")
            }
            try file.write(contentsOf: Data(bytes: buffer.pointer, count: Int(count * blockSize)))
            done += count
        }
        try await attached.detach()
    }
}
