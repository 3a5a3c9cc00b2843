import Base
import DurableFiles
import Foundation
import Testing

@Suite struct FileContentsTests {
    /// The table of the kernel's symbols has no size, and comes a page at a time.
    @Test func filesOfTheKernelAreReadToTheirEnd() throws {
        let bytes = try #require(try FileContents.read("/proc/kallsyms"))
        let expected = try #require(try FileHandle(forReadingAtPath: "/proc/kallsyms")?.readToEnd())
        #expect(bytes.count > 1 << 16)
        #expect(Data(bytes) == expected)
    }

    @Test func aMissingFileIsNoError() throws { #expect(try FileContents.read("/nowhere/to/be/found") == nil) }

    @Test func aFolderIsOne() {
        let error = #expect(throws: TercetError.self) { try FileContents.read("/") }
        #expect(error?.message.hasPrefix("read /: ") == true)
    }

    /// A file is replaced as a whole, keeps its mode, and goes.
    @Test func aFileIsReplaced() throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("tercet-\(UUID())").path
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let path = "\(folder)/state"
        #expect(DurableFile.replace(path, in: folder, with: [1, 2, 3]) == nil)
        #expect(DurableFile.replace(path, in: folder, with: [4], mode: 0o640) == nil)
        #expect(try FileContents.read(path) == [4])
        let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
        #expect(mode == 0o640)
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder) == ["state"])
        // A death may leave the file that was to replace it: that goes, too, with it or without it.
        for _ in 1...2 {
            try Data([5]).write(to: URL(fileURLWithPath: path + ".new"))
            #expect(DurableFile.replace(path, in: folder, with: nil) == nil)
            #expect(try FileManager.default.contentsOfDirectory(atPath: folder) == [])
        }
    }
}
