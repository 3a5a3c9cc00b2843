import ArgumentParser
import JSON

/// The keys by which a host of a running target shows who it is. Files name them, for command lines are seen by everybody.
struct HostKeyArguments: ParsableArguments {
    @Option(
        name: .long,
        help: ArgumentHelp(
            "The host has to authenticate with the key of this file, as the daemon reads it.", valueName: "PATH"))
    var keyFile: String?
    @Option(name: .long, help: ArgumentHelp("The controller's key, for hosts that ask for it.", valueName: "PATH"))
    var controllerKeyFile: String?

    /// The parameters of `host.add` and `host.set`.
    func parameters(_ nqn: String, _ host: String) -> [String: JSONValue?] {
        [
            "subsystem": .text(nqn), "host": .text(host), "keyFile": keyFile.map { .text($0) },
            "controllerKeyFile": controllerKeyFile.map { .text($0) },
        ]
    }
}
