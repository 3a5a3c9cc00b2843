import ArgumentParser
import Foundation

extension ParsableArguments {
    /// The command line's values. Help and version go to the standard output, and the program ends with 0; wrong usage goes to
    /// the standard error, and it ends with 2.
    public static func parseOrExit() -> Self {
        do {
            return try parse()
        } catch {
            exitAfterParsing(error)
        }
    }

    /// Ends the program as `parseOrExit` does, with what parsing threw.
    public static func exitAfterParsing(_ error: any Error) -> Never {
        let text = fullMessage(for: error) + "\n"
        guard exitCode(for: error).isSuccess else {
            writeToStandardError(text)
            Foundation.exit(2)
        }
        try? FileHandle.standardOutput.write(contentsOf: Data(text.utf8))
        Foundation.exit(0)
    }
}
