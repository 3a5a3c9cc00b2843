import CLinux
import Foundation
import SystemPackage
import Terminal

/// Brings a volume's members up to date after a run, and compares them byte for byte.
struct MemberCheck {
    let tercet: String
    let members: [Member]
    let substrate: Substrate
    let folder: String
    let signals: Signals

    /// The state of the members by their superblocks.
    private struct Status: Decodable {
        struct Member: Decodable {
            var blocks: Int?
            var block_size: Int?
            var clean: Bool?
            var members: [String]?
            var error: String?
        }
        var members: [Member]
    }

    struct Result {
        var bytes: Int
        /// Copied to members that had fallen behind.
        var healing: String
        var seconds: Double
    }

    /// A member as `tercet volume` counts it, and where it is.
    private func name(_ index: Int) -> String { "member \(index) (\(members[index].description))" }

    private var memberArguments: [String] { members.flatMap { ["--member", $0.description] } }

    /// - Returns: how much was compared, and equal. Throws where members differ or do not come together again.
    func run() throws(Failure) -> Result {
        let start = now()
        let healing = try output(["volume", "heal"] + memberArguments, name: "heal", seconds: 120)
        let seconds = now() - start
        let text = try output(["volume", "status", "--json"] + memberArguments, name: "status", seconds: 30)
        guard let status = try? JSONDecoder().decode(Status.self, from: Data(text.utf8)), status.members.count == 3
        else {
            throw Failure("cannot read what the members say: \(text)", exitStatus: 3)
        }
        for (index, member) in status.members.enumerated() {
            let name = name(index)
            guard let blocks = member.blocks, let size = member.block_size, member.error == nil else {
                throw Failure("\(name): \(member.error ?? "no volume there")", exitStatus: 3)
            }
            guard member.clean == true, member.members == Array(repeating: "in sync", count: 3),
                blocks == status.members[0].blocks, size == status.members[0].block_size
            else {
                throw Failure("\(name) is not clean and in sync: \(text)", exitStatus: 3)
            }
        }
        let blocks = status.members[0].blocks ?? 0
        let bytes = blocks * (status.members[0].block_size ?? 0)
        try compare(blocks: blocks, bytes: bytes)
        return Result(bytes: bytes, healing: healing.trimmingCharacters(in: .whitespacesAndNewlines), seconds: seconds)
    }

    /// Runs `tercet` to its end; its standard output.
    private func output(_ arguments: [String], name: String, seconds: Double) throws(Failure) -> String {
        let path = "\(folder)/\(name).out"
        let file: FileDescriptor
        do {
            file = try .open(
                FilePath(path), .writeOnly, options: [.create, .truncate, .closeOnExec], permissions: .ownerReadWrite)
        } catch { throw Failure("\(path): \(error)") }
        defer { try? file.close() }
        let log = "\(folder)/\(name).log"
        let process = try ChildProcess(
            tercet, arguments, environment: substrate.environment, log: log, output: file.rawValue)
        defer { process.send(SIGKILL) }
        try signals.wait(seconds: seconds, for: "tercet \(name) did not end") { !process.isRunning }
        guard process.exitStatus == 0 else {
            let said = (readFile(log) ?? "").trimmingCharacters(in: .whitespacesAndNewlines)
            throw Failure("tercet \(arguments[0]) \(arguments[1]): \(said)", exitStatus: 3)
        }
        return readFile(path) ?? ""
    }

    /// Reads all members at once, as any host would, and compares.
    private func compare(blocks: Int, bytes: Int) throws(Failure) {
        var readers: [(process: ChildProcess, pipe: FileDescriptor)] = []
        defer {
            for reader in readers {
                reader.process.send(SIGKILL)
                try? reader.pipe.close()
            }
        }
        for (index, member) in members.enumerated() {
            let ends: (readEnd: FileDescriptor, writeEnd: FileDescriptor)
            do { ends = try FileDescriptor.pipe(options: .closeOnExec) } catch { throw Failure("a pipe: \(error)") }
            defer { try? ends.writeEnd.close() }
            let process = try ChildProcess(
                tercet,
                [
                    "read", "-a", member.address, "-s", "\(member.port)", "-n", member.nqn, "--nsid", "\(member.nsid)",
                    "--block-count", "\(blocks)", "--output", "-",
                ], environment: substrate.environment, log: "\(folder)/read\(index).log", output: ends.writeEnd.rawValue
            )
            readers.append((process, ends.readEnd))
        }
        let piece = 1 << 20
        var buffers = readers.map { _ in [UInt8](repeating: 0, count: piece) }
        var done = 0
        while done < bytes {
            let want = min(piece, bytes - done)
            for index in readers.indices {
                guard fill(&buffers[index], want, from: readers[index].pipe) else {
                    throw Failure(
                        "\(name(index)) cannot be read: "
                            + (readFile("\(folder)/read\(index).log") ?? "").trimmingCharacters(in: .newlines),
                        exitStatus: 3)
                }
            }
            for index in readers.indices.dropFirst() where buffers[index] != buffers[0] {
                let place =
                    zip(buffers[0], buffers[index]).enumerated().first { $0.element.0 != $0.element.1 }?.offset ?? 0
                throw Failure("\(name(0)) and \(name(index)) differ at byte \(done + place)", exitStatus: 3)
            }
            done += want
            if let number = signals.wait(milliseconds: 0) { throw Failure("interrupted", exitStatus: 128 + number) }
        }
    }

    private func fill(_ buffer: inout [UInt8], _ count: Int, from pipe: FileDescriptor) -> Bool {
        var done = 0
        while done < count {
            let got = buffer.withUnsafeMutableBytes {
                try? pipe.read(into: UnsafeMutableRawBufferPointer(rebasing: $0[done..<count]))
            }
            guard let got, got > 0 else { return false }
            done += got
        }
        return true
    }
}
