import Glibc

/// A file of a test's own, deleted at the end.
final class TemporaryFile {
    let path: String

    init(byteCount: Int, folder: String = "/var/tmp") throws {
        var template = Array("\(folder)/tercet-block-XXXXXX".utf8CString)
        let descriptor = mkstemp(&template)
        guard descriptor >= 0 else { throw TestError("mkstemp in \(folder): \(String(cString: strerror(errno)))") }
        close(descriptor)
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        try resize(byteCount)
    }

    deinit { unlink(path) }

    func resize(_ byteCount: Int) throws {
        guard truncate(path, byteCount) == 0 else { throw TestError("truncate: \(String(cString: strerror(errno)))") }
    }
}

/// A loop device over a temporary file, through the `losetup` program.
final class LoopDevice {
    let path: String
    let file: TemporaryFile

    /// Whether this process may make loop devices.
    static let isPossible = geteuid() == 0 && access("/dev/loop-control", R_OK | W_OK) == 0

    init(byteCount: Int, blockSize: Int) throws {
        file = try TemporaryFile(byteCount: byteCount)
        path = try Self.losetup("--find --show --direct-io=on --sector-size \(blockSize) \(file.path)")
    }

    deinit { _ = try? Self.losetup("--detach \(path)") }

    /// Lets the device take the size that its file has now.
    func takeNewSize() throws { _ = try Self.losetup("--set-capacity \(path)") }

    private static func losetup(_ arguments: String) throws -> String {
        guard let pipe = popen("losetup \(arguments) 2>&1", "r") else { throw TestError("popen failed") }
        var output = ""
        while let byte = Optional(fgetc(pipe)), byte != EOF { output.append(Character(UnicodeScalar(UInt8(byte)))) }
        guard pclose(pipe) == 0 else { throw TestError("losetup \(arguments): \(output)") }
        return output.split(separator: "\n").first.map { String($0) } ?? ""
    }
}

struct TestError: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}
