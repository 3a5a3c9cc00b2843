import Base
import Foundation
import Glibc
import SQLiteRegistry
import VolumeDriver
import VolumeRegistry

/// Kills a program that writes to a registry in a file, again and again, and looks whether what it was told is there.
///
/// Usage: `registry-writer FOLDER KILLS SEED`. Each writer counts in an entry, and tells each number when it has been written.
@main
enum RegistryWriter {
    static func main() async {
        let arguments = CommandLine.arguments
        do {
            if arguments.count == 3, arguments[1] == "write" {
                try await write(arguments[2])
            } else if arguments.count == 4, let kills = Int(arguments[2]), let seed = UInt64(arguments[3]) {
                try await kill(kills, in: arguments[1], seed: seed)
            } else {
                throw RegistryError(.invalid, "usage: registry-writer FOLDER KILLS SEED")
            }
        } catch {
            print("failed: \(error)")
            exit(1)
        }
    }

    /// Counts without end.
    private static func write(_ path: String) async throws {
        let registry = try SQLiteRegistry(path: path, makes: true)
        while true {
            var present = try await registry.get("count") ?? RegisteredVolume(first, Revision(0))
            let number = (Int(present.entry.labels["number"] ?? "0") ?? 0) + 1
            present.entry.labels["number"] = String(number)
            let expected = present.revision.number == 0 ? nil : present.revision
            _ = try await registry.put(present.entry, expecting: expected)
            let line = Array("\(number)\n".utf8)
            guard Glibc.write(STDOUT_FILENO, line, line.count) == line.count else { return }
        }
    }

    private static var first: VolumeEntry {
        let members = (1...3).compactMap { MemberAddress("192.0.2.\($0):4420/nqn.2026-11.io.example:a/1") }
        return VolumeEntry(
            name: "count", uuid: .random(), state: .ready, members: members.map { VolumeEntry.Member($0) },
            regionSize: 1 << 20)
    }

    private static func kill(_ kills: Int, in folder: String, seed: UInt64) async throws {
        var random = SeededRandom(seed: seed)
        var (told, unborn) = (0, 0)
        var path = ""
        for round in 0..<kills {
            // Each tenth writer also makes the file.
            let isNew = round % 10 == 0
            if isNew {
                path = "\(folder)/registry.\(round)"
                told = 0
            }
            let heard = try run(path, microseconds: useconds_t(random.next() % (isNew ? 20_000 : 60_000)))
            told = max(told, heard)
            let registry = try SQLiteRegistry(path: path, makes: true)
            let found = try await registry.get("count")
            let number = Int(found?.entry.labels["number"] ?? "0") ?? 0
            // One change more may be there, of which nobody was told.
            guard number == told || number == told + 1 else {
                throw RegistryError(.damaged, "round \(round): \(number) is there, and \(told) was told")
            }
            let listing = try await registry.list()
            guard listing.revision.number == Int64(number), listing.unreadable.isEmpty else {
                throw RegistryError(.damaged, "round \(round): revision \(listing.revision) after \(number) changes")
            }
            if number == 0 { unborn += 1 }
            told = number
        }
        print(
            "\(kills) writers killed, \(unborn) before their first change; nothing that was told is lost; \(told) changes last"
        )
    }

    /// Starts a writer, kills it after some time, and returns the last number that it told; 0 for none.
    private static func run(_ path: String, microseconds: useconds_t) throws -> Int {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
        process.arguments = ["write", path]
        let pipe = Pipe()
        process.standardOutput = pipe
        try process.run()
        usleep(microseconds)
        Glibc.kill(process.processIdentifier, SIGKILL)
        let told = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        let lines = String(decoding: told, as: UTF8.self).split(separator: "\n")
        return lines.last.flatMap { Int($0) } ?? 0
    }
}
