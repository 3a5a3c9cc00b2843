import ArgumentParser
import Base
import Foundation
import SystemPackage

/// A file, a device or a pipe that a command writes what it has read to.
///
/// A file that is there is opened as it is: links are followed, and owner, permissions and other names of a file stay. A regular
/// file is emptied first, a device is written from its beginning, and nothing is ever put in the place of what is there.
final class OutputFile {
    /// Help of the option that names it.
    static let help: ArgumentHelp = """
        File, device or pipe to write to; a file that is there is overwritten, and a device from its beginning; - for the \
        standard output.
        """

    private let name: String
    private let descriptor: FileDescriptor
    /// The size of a block device, in bytes; `nil` for what has no fixed size.
    private let capacity: UInt64?
    private let isRegular: Bool

    /// Opens what is at `path`, or makes a regular file there; nothing is changed yet in what is there.
    ///
    /// - Parameter path: `-` for the standard output.
    init(_ path: String) throws {
        guard path != "-" else {
            (name, descriptor, capacity, isRegular) = ("the standard output", .standardOutput, nil, false)
            return
        }
        name = path
        let isBlockDevice: Bool
        do throws(Errno) {
            isBlockDevice = try Stat(FilePath(path)).type == .blockSpecial
        } catch .noSuchFileOrDirectory {
            try Self.checkAbsent(path)
            isBlockDevice = false
        } catch { throw Self.failure(path, error) }
        do {
            // A block device that is mounted, or part of another device, is busy for an exclusive opener.
            descriptor =
                try isBlockDevice
                ? .open(FilePath(path), .writeOnly, options: [.exclusiveCreate, .closeOnExec])
                : .open(
                    FilePath(path), .writeOnly, options: [.create, .closeOnExec],
                    permissions: FilePermissions(rawValue: 0o666))
        } catch let error as Errno where error == .resourceBusy {
            throw TercetError(.inUse, "\(path) is in use on this host: it is not written")
        } catch { throw Self.failure(path, error) }
        do {
            capacity = try isBlockDevice ? UInt64(descriptor.seek(offset: 0, from: .end)) : nil
            if isBlockDevice { try descriptor.seek(offset: 0, from: .start) }
            isRegular = try descriptor.stat().type == .regular
        } catch {
            try? descriptor.close()
            throw Self.failure(path, error)
        }
    }

    deinit { if name != "the standard output" { try? descriptor.close() } }

    /// To be called once, before the first data and when that is there: checks that a device has room, and empties a regular
    /// file. A command that fails before it has anything to write leaves what is there as it was.
    func begin(blocks: UInt64, blockSize: Int) throws {
        let (product, isTooMuch) = blocks.multipliedReportingOverflow(by: UInt64(blockSize))
        let bytes = isTooMuch ? .max : product
        if let capacity, bytes > capacity {
            throw TercetError(
                .exhausted, "\(name) has \(capacity) bytes, and \(bytes) are to be written: nothing is written")
        }
        guard isRegular else { return }
        do { try descriptor.resize(to: 0) } catch { throw Self.failure(name, error) }
    }

    func write(_ bytes: UnsafeRawBufferPointer) throws {
        do { try descriptor.writeAll(bytes) } catch { throw Self.failure(name, error) }
    }

    /// Makes sure that a device has taken what was written, as far as the kernel knows.
    func finish() throws {
        guard capacity != nil, fsync(descriptor.rawValue) != 0 else { return }
        throw Self.failure(name, Errno(rawValue: errno))
    }

    /// Refuses to make a file where a device was surely meant: the folder of devices is in memory, and a file there fills it.
    private static func checkAbsent(_ path: String) throws {
        let file = FilePath(path)
        if (try? Stat(file, followTargetSymlink: false)) != nil {
            throw TercetError(.notFound, "\(path) is a link to something that is not there: nothing is written")
        }
        let folder = file.removingLastComponent()
        guard let parent = try? Stat(folder.isEmpty ? "." : folder), let devices = try? Stat("/dev"),
            let root = try? Stat("/"), devices.deviceID != root.deviceID, parent.deviceID == devices.deviceID
        else { return }
        throw TercetError(.notFound, "there is no device \(path), and no file is made among the devices")
    }

    private static func failure(_ path: String, _ error: any Error) -> TercetError {
        TercetError(TercetError.Code(error), "cannot write to \(path)", cause: error)
    }
}
