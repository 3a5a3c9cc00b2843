import ArgumentParser
import Base
import ControllerCalls
import Foundation
import VolumeRegistry

/// One call of a CSI controller. `tercet-csi` runs it, as a process of its own for each call: one that dies takes nothing with it, and
/// the next call goes on from what the registry says.
struct ControllerCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "controller", abstract: "Do one call of a CSI controller, for tercet-csi.",
        discussion: """
            The call is JSON on the standard input, and its answer JSON on the standard output. Exit status: 0 where there is an answer, \
            which may be a failure with its code.
            """, shouldDisplay: false)

    @OptionGroup var registry: RegistryArguments
    @Option(name: [.customShort("q"), .customLong("hostnqn")], help: hostNQNHelp)
    var hostNQN: String?
    @OptionGroup var patience: Patience

    mutating func validate() throws { hostNQN = try FabricsFile.hostNQN(given: hostNQN) }

    private static let longestRequest = 1 << 20

    func run() async throws {
        let input = FileHandle.standardInput.readData(ofLength: Self.longestRequest)
        let request: ControllerRequest
        do { request = try JSONDecoder().decode(ControllerRequest.self, from: input) } catch {
            throw TercetError(.invalid, "the call cannot be read: \(VolumeEntry.problem(error))")
        }
        var answer = ControllerAnswer()
        do {
            let controller = VolumeController(registry: try await registry.open(), hostNQN: hostNQN, patience: patience)
            answer = try await controller.answer(request)
        } catch let failure as ControllerAnswer.Failure {
            answer.failure = failure
        } catch let error as TercetError {
            answer.failure = ControllerAnswer.Failure(CallCode(error.code), error.description)
        }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        print(String(decoding: try encoder.encode(answer), as: UTF8.self))
    }
}
