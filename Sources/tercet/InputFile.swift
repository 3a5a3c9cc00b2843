import Base
import SystemPackage

/// A file, a device or a pipe that a command reads what it is to write from.
final class InputFile {
    private let name: String
    private let descriptor: FileDescriptor

    /// - Parameter path: `-` for the standard input.
    init(_ path: String) throws {
        guard path != "-" else {
            (name, descriptor) = ("the standard input", .standardInput)
            return
        }
        name = path
        do { descriptor = try .open(FilePath(path), .readOnly, options: .closeOnExec) } catch {
            throw TercetError(TercetError.Code(error), "cannot read \(path)", cause: error)
        }
    }

    deinit { if name != "the standard input" { try? descriptor.close() } }

    /// Goes on from `offset` bytes after the beginning.
    func seek(to offset: UInt64) throws {
        do { try descriptor.seek(offset: Int64(offset), from: .start) } catch {
            throw TercetError(TercetError.Code(error), "cannot read \(name) from byte \(offset)", cause: error)
        }
    }

    /// Fills `buffer` as far as there is data; returns how many bytes that is, 0 at the end.
    func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        var done = 0
        do {
            while done < buffer.count {
                let count = try descriptor.read(into: UnsafeMutableRawBufferPointer(rebasing: buffer[done...]))
                if count == 0 { break }
                done += count
            }
        } catch { throw TercetError(TercetError.Code(error), "cannot read \(name)", cause: error) }
        return done
    }

    /// All that comes, but no more than so many bytes.
    func contents(limit: Int) throws -> [UInt8] {
        var bytes: [UInt8] = []
        let piece = UnsafeMutableRawBufferPointer.allocate(byteCount: min(limit, 1 << 20), alignment: 16)
        defer { piece.deallocate() }
        while bytes.count < limit {
            let count = try read(
                into: UnsafeMutableRawBufferPointer(rebasing: piece[..<min(piece.count, limit - bytes.count)]))
            if count == 0 { break }
            bytes += UnsafeRawBufferPointer(rebasing: piece[..<count])
        }
        return bytes
    }
}

extension TercetError.Code {
    /// The code for a call that failed.
    init(_ error: any Error) { self = (error as? Errno).map { Self(errno: $0.rawValue) } ?? .failed }
}
