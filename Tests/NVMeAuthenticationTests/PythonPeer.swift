import Foundation
import NVMeAuthentication

/// The other side of an exchange, in Python: `Tests/Native/authentication/peer.py`.
final class PythonPeer {
    private let process = Process()
    private let (input, output) = (Pipe(), Pipe())
    private var unread: [UInt8] = []

    static let host = "nqn.2014-08.org.nvmexpress:uuid:6ba7b810-9dad-11d1-80b4-00c04fd430c8"
    static let subsystem = "nqn.2026-11.io.example:disk"

    init(
        _ role: String, _ keys: AuthenticationKeys, _ hash: AuthenticationHash, _ group: AuthenticationGroup
    ) throws {
        let script = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appending(path: "../Native/authentication/peer.py").path
        process.executableURL = URL(fileURLWithPath: "/usr/bin/python3")
        process.arguments = [
            script, role, keys.host.exposedText, keys.controller?.exposedText ?? "-", Self.host, Self.subsystem,
            "\(hash.rawValue)", "\(group.rawValue)",
        ]
        process.standardInput = input
        process.standardOutput = output
        try process.run()
    }

    deinit {
        try? input.fileHandleForWriting.close()
        process.waitUntilExit()
    }

    func send(_ bytes: [UInt8]) throws {
        let line = bytes.map { String(format: "%02x", $0) }.joined() + "\n"
        try input.fileHandleForWriting.write(contentsOf: Data(line.utf8))
    }

    /// The next line that it writes; empty at its end.
    func line() throws -> String {
        while !unread.contains(UInt8(ascii: "\n")) {
            let data = output.fileHandleForReading.availableData
            if data.isEmpty { return "" }
            unread += data
        }
        let end = unread.firstIndex(of: UInt8(ascii: "\n"))!
        defer { unread.removeFirst(end + 1) }
        return String(decoding: unread[..<end], as: UTF8.self)
    }

    func message() throws -> [UInt8] { Self.bytes(ofHexadecimal: try line()) }

    static func bytes(ofHexadecimal text: String) -> [UInt8] {
        let digits = text.compactMap(\.hexDigitValue)
        return stride(from: 0, to: digits.count - 1, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
    }
}
