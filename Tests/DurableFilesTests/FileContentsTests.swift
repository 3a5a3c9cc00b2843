import Base
import DurableFiles
import Foundation
import Glibc
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

    /// A daemon's own files and folders are those that nobody but its user and root can change.
    @Test(arguments: [(0o600 as mode_t, true), (0o644, true), (0o664, true), (0o666, false), (0o602, false)])
    func filesThatAnybodyMayChangeAreNotBelieved(mode: mode_t, isBelieved: Bool) throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("tercet-\(UUID())").path
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let path = "\(folder)/state"
        #expect(DurableFile.replace(path, in: folder, with: [1], mode: mode) == nil)
        #expect(try FileContents.read(path) == [1])
        let text = "\(path): anybody may write to it; take that away with chmod o-w \(path)"
        if isBelieved {
            #expect(try FileContents.read(path, isOwn: true) == [1])
            #expect(throws: Never.self) { try TrustedPath.check(path) }
        } else {
            #expect(throws: TercetError(.notPermitted, text)) { try FileContents.read(path, isOwn: true) }
            #expect(throws: TercetError(.notPermitted, text)) { try TrustedPath.check(path) }
        }
        chmod(folder, mode | 0o100)
        if !isBelieved { #expect(throws: TercetError.self) { try TrustedPath.check(folder) } }
        chmod(folder, 0o700)
    }

    /// Nobody is told to change the mode of a folder that is everybody's.
    @Test func aFolderThatAllShareIsNotOwn() throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("tercet-\(UUID())").path
        defer { try? FileManager.default.removeItem(atPath: folder) }
        #expect(mkdir(folder, 0o700) == 0 && chmod(folder, 0o1777) == 0)
        let text = "\(folder): is a folder that all users share; name one of this daemon's own"
        #expect(throws: TercetError(.notPermitted, text)) { try TrustedPath.check(folder, isOwn: true) }
    }

    @Test func aFileOfAnotherUserIsNotOwn() throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("tercet-\(UUID())").path
        defer { try? FileManager.default.removeItem(atPath: folder) }
        #expect(DurableFile.replace("\(folder)/state", in: folder, with: [1]) == nil)
        // Only root can give a file to another; a file of root's is anybody's to believe.
        let isGiven = chown("\(folder)/state", 65534, 65534) == 0
        #expect(isGiven == (geteuid() == 0))
        guard isGiven else { return }
        let error = #expect(throws: TercetError.self) { try FileContents.read("\(folder)/state", isOwn: true) }
        #expect(error?.message.hasPrefix("\(folder)/state: belongs to user 65534; allowed: ") == true)
        #expect(throws: Never.self) { try TrustedPath.check("\(folder)/state") }
    }

    /// Only files and folders are looked at, and only those that are there.
    @Test func otherThingsAreBelieved() throws {
        for path in ["/dev/null", "/nowhere/to/be/found"] {
            #expect(throws: Never.self) { try TrustedPath.check(path, isOwn: true) }
        }
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
