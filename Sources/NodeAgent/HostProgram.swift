import ControllerCalls
import Glibc
import Subprocess
import SystemPackage

/// Programs of the host that steps are done with: mount(8), mkfs(8) and the like.
struct HostProgram: Sendable {
    /// How one ended, and what it printed.
    struct Outcome: Sendable {
        /// The exit status; 128 and the signal where one ended it.
        var status: Int32
        var bytes: [UInt8]

        var text: String { String(decoding: bytes, as: UTF8.self) }
        /// The first line that it printed, for messages.
        var line: String { text.split(separator: "\n").first.map(String.init) ?? "it printed nothing" }
    }

    /// The call's lock, which programs hold as their standard input.
    let lock: VolumeLock?
    let deadline: ContinuousClock.Instant

    private static let longestOutput = 5 << 20
    /// Folders in which an administrator's programs are looked for.
    private static let path = "/usr/sbin:/usr/bin:/sbin:/bin"

    /// Runs a program, and ends it at the deadline. One that cannot be ended, for its device does not answer, is left: it goes on
    /// holding the lock.
    func run(_ name: String, _ arguments: [String]) async throws(NodeError) -> Outcome {
        let (outcomes, first) = AsyncStream.makeStream(of: Result<Outcome, NodeError>.self)
        let input = lock?.descriptor
        let program = Task {
            do { first.yield(.success(try await Self.outcome(name, arguments, input: input))) } catch {
                first.yield(.failure(NodeError(.internal, "\(name) cannot be run: \(error); is it installed?")))
            }
        }
        let deadline = deadline
        let timer = Task {
            do { try await Task.sleep(until: deadline, clock: .continuous) } catch { return }
            first.yield(.failure(NodeError(.deadlineExceeded, "\(name) did not end within the time of the call")))
            program.cancel()
        }
        defer { timer.cancel() }
        for await outcome in outcomes { return try outcome.get() }
        throw NodeError(.internal, "\(name) was not waited for")
    }

    /// Runs a program that has to succeed.
    ///
    /// - Parameter hidden: arguments that are nobody's business; no message has them.
    @discardableResult
    func succeed(
        _ name: String, _ arguments: [String], _ code: NodeCode = .internal, hiding hidden: Set<String> = []
    ) async throws(NodeError) -> Outcome {
        let outcome = try await run(name, arguments)
        guard outcome.status == 0 else {
            let words = arguments.map { hidden.contains($0) ? "..." : $0 }.joined(separator: " ")
            throw NodeError(code, "\(name) \(words) failed (\(outcome.status)): \(outcome.line)")
        }
        return outcome
    }

    private static func outcome(
        _ name: String, _ arguments: [String], input: Int32?
    ) async throws -> Outcome {
        let environment = Environment.inherit.updating(["LC_ALL": "C", "PATH": path])
        // An empty file is nobody's answer to a program that asks.
        let held = input ?? open("/dev/null", O_RDONLY | O_CLOEXEC)
        defer { if input == nil { close(held) } }
        let result = try await Subprocess.run(
            .name(name), arguments: Arguments(arguments), environment: environment,
            input: .fileDescriptor(FileDescriptor(rawValue: held), closeAfterSpawningProcess: false),
            output: .bytes(limit: longestOutput), error: .combinedWithOutput)
        let status: Int32 =
            switch result.terminationStatus {
            case .exited(let code): Int32(code)
            case .signaled(let signal): 128 + Int32(signal)
            }
        return Outcome(status: status, bytes: result.standardOutput)
    }
}
