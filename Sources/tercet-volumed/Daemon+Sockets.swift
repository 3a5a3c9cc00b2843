import Base
import ControlPlane
import Glibc
import Logging
import Trace
import UnixSockets

/// The control socket, and its methods that are about the process.
extension Daemon {
    /// Makes the control socket at a path; `nil` for none. Where no path is given the socket is below the runtime folder, and is left out
    /// if that is taken: the daemon serves as well without it.
    ///
    /// - Parameters:
    ///   - path: `none` for no socket.
    ///   - isDefault: there is one though no path is given.
    func makeControl(at path: String?, isDefault: Bool) throws(TercetError) -> UnixListener? {
        if let path { return path == "none" ? nil : try UnixListener(path: path, mode: 0o600) }
        guard isDefault, let path = UnixListener.runtimePath("volumed.sock") else { return nil }
        do throws(TercetError) { return try UnixListener(path: path, mode: 0o600) } catch {
            journal.write(.warning, "there is no control socket", ["reason": "\(error)"])
            return nil
        }
    }

    nonisolated func addProcessMethods(to methods: inout ControlMethods) {
        methods.add(VolumeMethod.dumpTrace, NoParameters.self) { (_) async throws(TercetError) -> TraceFileName in
            TraceFileName(path: try await self.dumpTrace())
        }
        methods.add(VolumeMethod.shutdown, NoParameters.self) { (given) async throws(TercetError) -> NoParameters in
            self.journal.write(.notice, "control: the daemon is told to stop")
            kill(getpid(), SIGTERM)
            return given
        }
    }

    /// Writes what each thread did last to a file; its path.
    func dumpTrace() throws(TercetError) -> String {
        var path = ""
        let failure = TraceDump.write { path = String(cString: $0) }
        guard failure == 0 else {
            let problem = "the trace cannot be written: \(String(cString: strerror(failure)))"
            journal.write(.error, "\(problem)")
            throw TercetError(.failed, problem)
        }
        journal.write(.notice, "trace written", ["path": "\(path)"])
        return path
    }
}
