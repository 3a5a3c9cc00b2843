import ArgumentParser
import ControlPlane
import JSON

struct TargetAddCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "add", abstract: "Add a part to a running target.",
        subcommands: [AddSubsystem.self, AddNamespace.self, AddListener.self, AddHost.self, AddReferral.self])

    struct AddSubsystem: ParsableCommand {
        static let configuration = CommandConfiguration(commandName: "subsystem", abstract: "Add a subsystem.")

        @Argument(help: "Its name: nqn.YYYY-MM.REVERSE.DOMAIN:NAME.") var nqn: String
        @Flag(name: .long, help: "Any host may connect.") var allowAnyHost = false
        @Option(name: .long, help: ArgumentHelp("A host that may connect. Repeatable.", valueName: "NQN"))
        var host: [String] = []
        @Option(name: .long, help: "Serial number: up to 20 printable characters.") var serial: String?
        @Option(name: .long, help: "Model number: up to 40 printable characters.") var model: String?
        @Option(name: .long, help: "I/O queues of one controller, 1 to 64.") var maxIOQueues: Int?
        @OptionGroup var target: TargetArguments

        func run() throws {
            try target.change(
                "subsystem.add",
                [
                    "nqn": .text(nqn), "allowAnyHost": allowAnyHost ? .boolean(true) : nil,
                    "hosts": allowAnyHost && host.isEmpty ? nil : .array(host.map { .text($0) }),
                    "serial": serial.map { .text($0) }, "model": model.map { .text($0) },
                    "maxIOQueues": maxIOQueues.map { .number(Double($0)) },
                ])
        }
    }

    struct AddNamespace: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "namespace", abstract: "Add a namespace to a subsystem.")

        @Argument(help: "The subsystem.") var nqn: String
        @Argument(help: "Namespace identifier, from 1.") var nsid: UInt32
        @Argument(help: "A block device, a file, ram:SIZE or null:SIZE.") var backing: String
        @Option(name: .long, help: "Bytes of a logical block.") var blockSize: String?
        @Flag(name: .long, help: "Nothing may be written.") var readOnly = false
        @Option(name: .long, help: "UUID that hosts know it by.") var uuid: String?
        @Option(name: .long, help: "NGUID, 32 hexadecimal digits.") var nguid: String?
        @Option(name: .long, help: "EUI64, 16 hexadecimal digits.") var eui64: String?
        @Option(name: .long, help: "Source of identifiers that are not given: device or derived.")
        var identifiers: String?
        @Option(name: .long, help: "ANA group, 1 to 128.") var anaGroup: Int?
        @OptionGroup var target: TargetArguments

        func run() throws {
            try target.change(
                "namespace.add",
                [
                    "subsystem": .text(nqn), "nsid": .number(Double(nsid)), "backing": .text(backing),
                    "blockSize": blockSize.map { .text($0) }, "readOnly": readOnly ? .boolean(true) : nil,
                    "uuid": uuid.map { .text($0) }, "nguid": nguid.map { .text($0) }, "eui64": eui64.map { .text($0) },
                    "identifiers": identifiers.map { .text($0) }, "anaGroup": anaGroup.map { .number(Double($0)) },
                ])
        }
    }

    struct AddListener: ParsableCommand {
        static let configuration = CommandConfiguration(commandName: "listener", abstract: "Listen at an address.")
        @Argument(help: ArgumentHelp("IPv6 in brackets when a port follows.", valueName: "ADDRESS[:PORT]"))
        var address: String
        @OptionGroup var target: TargetArguments
        func run() throws { try target.change("listener.add", try JSONValue.address(address)) }
    }

    struct AddHost: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "host", abstract: "Let a host connect to a subsystem.")
        @Argument(help: "The subsystem.") var nqn: String
        @Argument(help: "The host's NQN.") var host: String
        @OptionGroup var keys: HostKeyArguments
        @OptionGroup var target: TargetArguments
        func run() throws { try target.change("host.add", keys.parameters(nqn, host)) }
    }

    struct AddReferral: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "referral", abstract: "Name another discovery service in the discovery log.")
        @Argument(help: ArgumentHelp("Its address.", valueName: "ADDRESS[:PORT]")) var address: String
        @OptionGroup var target: TargetArguments
        func run() throws { try target.change("referral.add", try JSONValue.address(address)) }
    }
}

struct TargetRemoveCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "remove", abstract: "Remove a part of a running target.",
        subcommands: [
            RemoveSubsystem.self, RemoveNamespace.self, RemoveListener.self, RemoveHost.self, RemoveReferral.self,
        ])

    struct RemoveSubsystem: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "subsystem", abstract: "Remove a subsystem; its hosts are disconnected.")
        @Argument(help: "The subsystem.") var nqn: String
        @OptionGroup var target: TargetArguments
        func run() throws { try target.change("subsystem.remove", ["nqn": .text(nqn)]) }
    }

    struct RemoveNamespace: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "namespace",
            abstract: "Remove a namespace; hosts that are registered with it are disconnected.")
        @Argument(help: "The subsystem.") var nqn: String
        @Argument(help: "Namespace identifier.") var nsid: UInt32
        @OptionGroup var target: TargetArguments
        func run() throws {
            try target.change("namespace.remove", ["subsystem": .text(nqn), "nsid": .number(Double(nsid))])
        }
    }

    struct RemoveListener: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "listener", abstract: "Listen at an address no longer; connections stay.")
        @Argument(help: ArgumentHelp("The address.", valueName: "ADDRESS[:PORT]")) var address: String
        @OptionGroup var target: TargetArguments
        func run() throws { try target.change("listener.remove", try JSONValue.address(address)) }
    }

    struct RemoveHost: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "host", abstract: "Let a host connect no longer; it is disconnected.")
        @Argument(help: "The subsystem.") var nqn: String
        @Argument(help: "The host's NQN.") var host: String
        @OptionGroup var target: TargetArguments
        func run() throws { try target.change("host.remove", ["subsystem": .text(nqn), "host": .text(host)]) }
    }

    struct RemoveReferral: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "referral", abstract: "Name another discovery service no longer.")
        @Argument(help: ArgumentHelp("Its address.", valueName: "ADDRESS[:PORT]")) var address: String
        @OptionGroup var target: TargetArguments
        func run() throws { try target.change("referral.remove", try JSONValue.address(address)) }
    }
}

struct TargetSetCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "set", abstract: "Change values of a running target.",
        discussion: """
            Keys are those of the configuration file. A value is text, a number, true, false, or other JSON; null takes a value \
            back. Sizes of the target take effect at its next start, and the answer says so.
            """,
        subcommands: [SetSubsystem.self, SetNamespace.self, SetHost.self, SetANA.self, SetSettings.self])

    struct SetSubsystem: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "subsystem", abstract: "Change values of a subsystem, such as hosts='[\"NQN\"]'.")
        @Argument(help: "The subsystem.") var nqn: String
        @Argument(help: ArgumentHelp("New values.", valueName: "KEY=VALUE")) var values: [String]
        @OptionGroup var target: TargetArguments
        func run() throws {
            try target.change(
                "subsystem.set", try JSONValue.settings(values).merging(["nqn": .text(nqn)]) { given, _ in given })
        }
    }

    struct SetNamespace: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "namespace",
            abstract: "Change values of a namespace; it is made anew, and its hosts lose it for a moment.")
        @Argument(help: "The subsystem.") var nqn: String
        @Argument(help: "Namespace identifier.") var nsid: UInt32
        @Argument(help: ArgumentHelp("New values.", valueName: "KEY=VALUE")) var values: [String]
        @OptionGroup var target: TargetArguments
        func run() throws {
            try target.change(
                "namespace.set",
                try JSONValue.settings(values).merging(
                    ["subsystem": .text(nqn), "nsid": .number(Double(nsid))]) { given, _ in given })
        }
    }

    struct SetHost: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "host", abstract: "Replace the keys of a host; its connections stay.")
        @Argument(help: "The subsystem.") var nqn: String
        @Argument(help: "The host's NQN.") var host: String
        @OptionGroup var keys: HostKeyArguments
        @OptionGroup var target: TargetArguments
        func run() throws { try target.change("host.set", keys.parameters(nqn, host)) }
    }

    struct SetANA: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "ana", abstract: "Set the state of an ANA group.",
            discussion:
                "States: optimized, nonOptimized, inaccessible, persistentLoss, change; default takes back what was said."
        )
        @Argument(help: "The subsystem.") var nqn: String
        @Argument(help: "The group, 1 to 128.") var group: UInt32
        @Argument(help: "The state.") var state: String
        @Option(name: .long, help: ArgumentHelp("For hosts of this listener only.", valueName: "ADDRESS[:PORT]"))
        var listener: String?
        @OptionGroup var target: TargetArguments
        func run() throws {
            let place = try listener.map { JSONValue.object(try JSONValue.address($0)) }
            let isDefault = state == "default"
            try target.change(
                isDefault ? "ana.clear" : "ana.set",
                [
                    "subsystem": .text(nqn), "group": .number(Double(group)), "state": isDefault ? nil : .text(state),
                    "listener": place,
                ])
        }
    }

    struct SetSettings: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "settings", abstract: "Change values of the whole target, such as logLevel=debug.")
        @Argument(help: ArgumentHelp("New values.", valueName: "KEY=VALUE")) var values: [String]
        @OptionGroup var target: TargetArguments
        func run() throws { try target.change("settings.set", try JSONValue.settings(values)) }
    }
}
