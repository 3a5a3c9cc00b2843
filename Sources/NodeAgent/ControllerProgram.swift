import ControllerCalls
import Foundation
import Subprocess
import SystemPackage

/// How a controller's calls are done: by `tercet controller`, a process for each.
public struct ControllerSettings: Codable, Equatable, Sendable {
    /// Path of `tercet`.
    public var program: String
    /// The place of the registry.
    public var registry: String
    /// The NQN by which pools know the controller; the host's where it is `nil`.
    public var hostNQN: String?

    public init(program: String, registry: String, hostNQN: String?) {
        self.program = program
        self.registry = registry
        self.hostNQN = hostNQN
    }
}

/// The program that does a controller's calls.
public struct ControllerProgram: Sendable {
    private let settings: ControllerSettings
    private let timeoutSeconds: UInt32

    /// Bytes of an answer, which may be a list of all volumes.
    private static let longestAnswer = 256 << 20
    private static let longestError = 64 << 10

    /// - Parameter timeoutSeconds: the time that a call may take. One that does not end is killed: the next call goes on from there.
    public init(_ settings: ControllerSettings, timeoutSeconds: UInt32) {
        self.settings = settings
        self.timeoutSeconds = timeoutSeconds
    }

    /// Does a call. Throws the failure that is its answer, and `internal` where the program gives none.
    public func answer(_ request: ControllerRequest) async throws(NodeError) -> ControllerAnswer {
        guard let input = try? JSONEncoder().encode(request) else {
            throw NodeError(.internal, "the call has no form")
        }
        let (outcomes, first) = AsyncStream.makeStream(of: Swift.Result<ControllerAnswer, NodeError>.self)
        let program = Task { first.yield(await run(Array(input))) }
        let timeout = timeoutSeconds
        let timer = Task {
            do { try await Task.sleep(for: .seconds(Int64(timeout))) } catch { return }
            first.yield(
                .failure(NodeError(.deadlineExceeded, "the call did not end within \(timeout) s: try it again")))
            program.cancel()
        }
        defer { timer.cancel() }
        for await outcome in outcomes {
            let answer = try outcome.get()
            if let failure = answer.failure { throw NodeError(failure.code, failure.message) }
            return answer
        }
        throw NodeError(.internal, "\(settings.program) was not waited for")
    }

    private func run(_ input: [UInt8]) async -> Swift.Result<ControllerAnswer, NodeError> {
        var arguments = ["controller", "--registry", settings.registry]
        if let name = settings.hostNQN { arguments += ["--hostnqn", name] }
        let program = settings.program
        do {
            let result = try await Subprocess.run(
                .path(FilePath(program)), arguments: Arguments(arguments), input: .array(input),
                output: .bytes(limit: Self.longestAnswer), error: .string(limit: Self.longestError))
            guard case .exited(0) = result.terminationStatus,
                let answer = try? JSONDecoder().decode(ControllerAnswer.self, from: Data(result.standardOutput))
            else {
                let line = result.standardError.split(separator: "\n").last.map { ": \($0)" } ?? ""
                return .failure(
                    NodeError(.internal, "\(program) gave no answer (\(result.terminationStatus))\(line): try again"))
            }
            return .success(answer)
        } catch {
            return .failure(NodeError(.internal, "\(program) cannot be run: \(error); is it installed?"))
        }
    }
}
