import ArgumentParser
import Base
import Foundation
import TargetConfiguration
import Terminal

struct TargetImportCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "import", abstract: "Make a configuration of tercetd from that of Linux's or SPDK's target.",
        discussion: """
            FILE is what nvmetcli save, or SPDK's rpc.py save_config, has written. What has no equivalent is left out, and said on \
            the standard error, a line each; what could let more hosts in than before is among it. Keys of hosts are taken over, so that the \
            file that is written is its owner's alone (mode 600). No daemon is asked.

            Exit status: 0 where a configuration was made, 1 where the file cannot be read or nothing of it can be served, 2 for wrong \
            usage.
            """)

    @Argument(help: ArgumentHelp("The configuration to read; - is the standard input.", valueName: "FILE")) var file:
        String

    @Option(name: .shortAndLong, help: ArgumentHelp("The file to write, which is not there yet.", valueName: "PATH"))
    var output: String?

    func run() throws {
        let text =
            file == "-"
            ? String(decoding: FileHandle.standardInput.readDataToEndOfFile(), as: UTF8.self)
            : try Element.text(of: file)
        let imported = try ImportedConfiguration(parsing: text, file: file == "-" ? "standard input" : file)
        for loss in imported.losses { writeToStandardError("tercet: not carried over: \(loss)\n") }
        guard let output else { return print(imported.document.text, terminator: "") }
        // Keys of hosts may be in it.
        try SecretFile.create(output, imported.document.text)
    }
}
