import Glibc
import SystemPackage

/// A program that this one started, and that does not outlive it.
final class ChildProcess {
    let pid: pid_t
    /// The status of `waitpid`, once the process has ended.
    private(set) var status: Int32?

    /// Starts a program in a process group of its own, so that a terminal's interrupt does not reach it.
    ///
    /// - Parameters:
    ///   - environment: added to this process's own.
    ///   - log: file that its standard output and standard error are added to; `nil`: they are this process's.
    ///   - output: descriptor that takes its standard output.
    init(
        _ program: String, _ arguments: [String], environment: [String: String] = [:], log: String? = nil,
        output: Int32? = nil
    ) throws(Failure) {
        var actions = posix_spawn_file_actions_t()
        var attributes = posix_spawnattr_t()
        posix_spawn_file_actions_init(&actions)
        posix_spawnattr_init(&attributes)
        defer {
            posix_spawn_file_actions_destroy(&actions)
            posix_spawnattr_destroy(&attributes)
        }
        if let log {
            posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
            posix_spawn_file_actions_addopen(&actions, 2, log, O_WRONLY | O_CREAT | O_APPEND, 0o644)
            if output == nil { posix_spawn_file_actions_adddup2(&actions, 2, 1) }
        }
        if let output { posix_spawn_file_actions_adddup2(&actions, output, 1) }
        posix_spawnattr_setpgroup(&attributes, 0)
        var signals = sigset_t()
        sigemptyset(&signals)
        sigaddset(&signals, SIGPIPE)
        posix_spawnattr_setsigdefault(&attributes, &signals)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF))
        // setpriv has the kernel end the program with this one. env sets variables for the program alone: a preloaded
        // library has no business in the programs before it.
        let variables = environment.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
        let words = ["setpriv", "--pdeathsig", "KILL", "env"] + variables + [program] + arguments
        var pointers: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
        defer { for pointer in pointers { free(pointer) } }
        var child: pid_t = 0
        let error = posix_spawnp(&child, "setpriv", &actions, &attributes, &pointers, environ)
        guard error == 0 else { throw Failure("cannot start \(program): \(Errno(rawValue: error))") }
        pid = child
    }

    /// Whether it runs, or is stopped.
    var isRunning: Bool {
        if status != nil { return false }
        var word: Int32 = 0
        guard waitpid(pid, &word, WNOHANG) == pid else { return true }
        status = word
        return false
    }

    /// The exit status as a shell has it; `nil` while it runs.
    var exitStatus: Int32? {
        guard let status else { return nil }
        return status & 0x7F == 0 ? status >> 8 & 0xFF : 128 + (status & 0x7F)
    }

    func send(_ signal: Int32) { if isRunning { kill(pid, signal) } }

    /// Kills it with all that it has started.
    func killTree() {
        for process in ChildProcess.descendants(of: pid).reversed() { kill(process, SIGKILL) }
        send(SIGKILL)
    }

    private static func descendants(of parent: pid_t) -> [pid_t] {
        guard let text = readFile("/proc/\(parent)/task/\(parent)/children") else { return [] }
        let children = text.split(separator: " ").compactMap { pid_t($0) }
        return children + children.flatMap { descendants(of: $0) }
    }
}

/// The text of a small file.
func readFile(_ path: String) -> String? {
    guard let file = try? FileDescriptor.open(FilePath(path), .readOnly, options: .closeOnExec) else { return nil }
    defer { try? file.close() }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65536)
    while let count = try? buffer.withUnsafeMutableBytes({ try file.read(into: $0) }), count > 0 {
        bytes.append(contentsOf: buffer[..<count])
    }
    return String(decoding: bytes, as: UTF8.self)
}
