import Base
import DurableFiles
import Glibc
import Synchronization
import TargetInterface

/// A pool in its folder: a record of its namespaces, and a file for each, which takes room only where it was written to.
///
/// Every change is durable before its call returns. A process that dies at any step leaves a folder that opens: what was half
/// done is finished then. One change at a time; calls wait for the disk.
public final class PoolStore: Sendable {
    public let folder: String
    /// The folder, open and locked as long as this is there.
    private let descriptor: Int32
    private let contents: Mutex<PoolContents>
    private let forget: @Sendable (UInt32) -> String?
    /// Lines for the operator about files that the pool does not know, or that are shorter than their namespaces.
    public let remarks: [String]

    /// Opens the pool of a folder that is there, and takes it: one process has it at a time. `finish` follows.
    ///
    /// - Parameter forget: takes away what else is kept of a namespace that has been deleted, before another one may have its
    ///   identifier; returns what went wrong.
    public init(folder: String, forget: @escaping @Sendable (UInt32) -> String? = { _ in nil }) throws(TercetError) {
        self.folder = folder
        self.forget = forget
        descriptor = try Self.take(folder)
        do throws(TercetError) {
            var (found, remarks) = try Self.read(folder)
            remarks += found.namespaces.compactMap { Self.extend($0, in: folder)?.description }
            self.remarks = remarks
            contents = Mutex(found)
        } catch {
            close(descriptor)
            throw error
        }
    }

    deinit { close(descriptor) }

    /// The namespaces that there are, in the order of their identifiers.
    public var namespaces: [PoolNamespace] { contents.withLock { $0.namespaces } }

    /// The path of a namespace's file.
    public func path(of namespace: PoolNamespace) -> String { Self.path(of: namespace.uuid, in: folder) }

    /// Bytes that are free in the folder's file system; `nil` where that is not known. File systems have the number at hand: it waits
    /// for no disk.
    public var freeBytes: UInt64? {
        var status = statvfs()
        guard fstatvfs(descriptor, &status) == 0 else { return nil }
        return UInt64(status.f_bavail) * UInt64(status.f_frsize)
    }

    // MARK: Changes

    /// Makes a namespace that is not attached. One with the UUID that is wanted, and of this size, is the answer if there is one.
    public func make(
        blockCount: UInt64, uuid: UUIDBytes? = nil, within limits: PoolLimits
    ) throws(PoolRefusal) -> PoolNamespace {
        var changed = contents.withLock { $0 }
        let entry = try changed.make(blockCount: blockCount, uuid: uuid, within: limits)
        if entry.stage == .there { return entry.namespace }
        try keep(changed)
        do throws(PoolRefusal) {
            try makeFile(of: entry.namespace, limits)
            changed.made(entry.namespace.nsid)
            try keep(changed)
        } catch {
            contents.withLock { $0.abandon(entry.namespace.nsid) }
            // A file that cannot be removed now is removed with the next change, or at the next start.
            try? finish()
            throw error
        }
        return entry.namespace
    }

    public func setAttached(_ isAttached: Bool, _ nsid: UInt32) throws(PoolRefusal) {
        var changed = contents.withLock { $0 }
        try changed.setAttached(isAttached, nsid)
        if isAttached { try keep(changed) } else { try keepWhateverIsFree(changed) }
    }

    /// Gives a namespace more blocks. A death in between is made up for at the next start.
    public func grow(_ nsid: UInt32, blockCount: UInt64, within limits: PoolLimits) throws(PoolRefusal) {
        let former = contents.withLock { $0 }
        var changed = former
        try changed.grow(nsid, blockCount: blockCount, within: limits)
        guard changed != former, let namespace = changed.namespaces.first(where: { $0.nsid == nsid }) else { return }
        try keep(changed)
        if let problem = Self.extend(namespace, in: folder) {
            try keepWhateverIsFree(former)
            let hasNoRoom = [ENOSPC, EDQUOT, EFBIG].contains(problem.errno)
            throw hasNoRoom
                ? .insufficientCapacity(needed: namespace.byteCount, unallocated: 0) : .failed(problem.description)
        }
    }

    /// Begins to delete a namespace: it is not there any more, whatever happens. `finish` follows, when nobody uses its file.
    public func remove(_ nsid: UInt32) throws(PoolRefusal) {
        var changed = contents.withLock { $0 }
        try changed.remove(nsid)
        try keepWhateverIsFree(changed)
    }

    /// Removes what namespaces have left that were deleted, or never came about. What cannot be removed stays, and is tried again
    /// with the next call.
    public func finish() throws(TercetError) {
        var changed = contents.withLock { $0 }
        var problem: String?
        for namespace in changed.leftovers {
            let path = path(of: namespace)
            if unlink(path) != 0, errno != ENOENT {
                problem = DurableFile.failure("unlink", path).message
            } else if let failure = forget(namespace.nsid) {
                problem = failure
            } else {
                changed.removed(namespace.nsid)
            }
        }
        if changed != contents.withLock({ $0 }) {
            do throws(PoolRefusal) { try keepWhateverIsFree(changed) } catch {
                throw TercetError(.failed, error.description)
            }
        }
        reserve()
        if let problem { throw TercetError(.failed, problem) }
    }

    // MARK: Files

    private static func recordPath(_ folder: String) -> String { "\(folder)/pool.json" }

    private static let suffix = ".namespace"

    private static func path(of uuid: UUIDBytes, in folder: String) -> String { "\(folder)/\(uuid)\(suffix)" }

    private static func take(_ folder: String) throws(TercetError) -> Int32 {
        let descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else {
            let failure = DurableFile.failure("open", folder)
            let hint =
                failure.errno == ENOENT ? " (make it first, on the file system that is to hold the namespaces)" : ""
            throw TercetError(failure.code, "the folder of the pool cannot be used\(hint)", cause: failure)
        }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            let code = errno
            close(descriptor)
            if code == EWOULDBLOCK {
                throw TercetError(.inUse, "\(folder) is in use by another pool or another tercetd; each needs its own")
            }
            throw DurableFile.failure("flock", folder, code)
        }
        do throws(TercetError) { try TrustedPath.check(descriptor: descriptor, folder, isOwn: true) } catch {
            close(descriptor)
            throw error
        }
        return descriptor
    }

    /// The contents of the record, which is made if the folder has never been a pool; and what the operator should know.
    private static func read(_ folder: String) throws(TercetError) -> (PoolContents, [String]) {
        let path = recordPath(folder)
        // A death left it half written (`DurableFile`).
        unlink("\(path).new")
        let files = try files(in: folder)
        guard let bytes = try FileContents.read(path, isOwn: true) else {
            if let stray = files.first {
                throw TercetError(
                    .damaged,
                    "\(path) is missing, but \(folder)/\(stray) is there: restore the record, or clear the folder")
            }
            let empty = try PoolContents()
            if let problem = write(empty, in: folder) { throw TercetError(.failed, problem) }
            return (empty, [])
        }
        let contents = try PoolRecord.decode(bytes, path: path)
        let known = Set(contents.entries.map { "\($0.namespace.uuid)\(suffix)" })
        return (
            contents,
            files.filter { !known.contains($0) }.map { "\(folder)/\($0) is no namespace of the pool; it is left alone" }
        )
    }

    /// Names of files that may be namespaces, sorted.
    private static func files(in folder: String) throws(TercetError) -> [String] {
        guard let stream = opendir(folder) else { throw DurableFile.failure("opendir", folder) }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name.hasSuffix(suffix) { names.append(name) }
        }
        return names.sorted()
    }

    private static func write(_ contents: PoolContents, in folder: String) -> String? {
        guard let bytes = try? PoolRecord.encode(contents) else { return "the record of \(folder) has no form" }
        return DurableFile.replace(recordPath(folder), in: folder, with: bytes)
    }

    /// Makes a change durable.
    private func keep(_ changed: PoolContents) throws(PoolRefusal) {
        if let problem = Self.write(changed, in: folder) {
            throw .failed("the pool's record is not stored: \(problem)")
        }
        contents.withLock { $0 = changed }
    }

    /// Makes a change durable that leads to more room, or needs none: the reserve is for it.
    private func keepWhateverIsFree(_ changed: PoolContents) throws(PoolRefusal) {
        do throws(PoolRefusal) { try keep(changed) } catch {
            guard unlink(reservePath) == 0 else { throw error }
            try keep(changed)
        }
    }

    private var reservePath: String { "\(folder)/pool.reserve" }
    /// More than the record of 8192 namespaces takes.
    private static let reserveSize: off_t = 2 << 20

    /// Takes room that a file system keeps for the record when it is full otherwise. Without room there is none to keep.
    private func reserve() {
        let file = open(reservePath, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0o600)
        guard file >= 0 else { return }
        defer { close(file) }
        if posix_fallocate(file, 0, Self.reserveSize) != 0 { unlink(reservePath) }
    }

    /// Makes the file of a namespace as long as the namespace is. One that is missing is another matter.
    private static func extend(_ namespace: PoolNamespace, in folder: String) -> TercetError? {
        let path = path(of: namespace.uuid, in: folder)
        var status = stat()
        guard stat(path, &status) == 0, status.st_size < off_t(namespace.byteCount) else { return nil }
        let file = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC)
        guard file >= 0 else { return DurableFile.failure("open", path) }
        defer { close(file) }
        guard ftruncate(file, off_t(namespace.byteCount)) == 0 else { return DurableFile.failure("ftruncate", path) }
        return fsync(file) == 0 ? nil : DurableFile.failure("fsync", path)
    }

    private func makeFile(of namespace: PoolNamespace, _ limits: PoolLimits) throws(PoolRefusal) {
        let path = path(of: namespace)
        let file = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
        guard file >= 0 else { throw refusal("open", path, namespace) }
        defer { close(file) }
        guard ftruncate(file, off_t(namespace.byteCount)) == 0 else { throw refusal("ftruncate", path, namespace) }
        guard fsync(file) == 0 else { throw refusal("fsync", path, namespace) }
        guard fsync(descriptor) == 0 else { throw refusal("fsync", folder, namespace) }
    }

    /// The refusal for a system call that has failed just now: a file system that is full, or has no files that large, has no room.
    private func refusal(_ call: String, _ path: String, _ namespace: PoolNamespace) -> PoolRefusal {
        let code = errno
        if [ENOSPC, EDQUOT, EFBIG].contains(code) {
            return .insufficientCapacity(needed: namespace.byteCount, unallocated: 0)
        }
        return .failed(DurableFile.failure(call, path, code).message)
    }
}
