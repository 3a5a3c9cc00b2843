import Base
import BlockInterface
import Foundation
import TargetInterface

/// A configuration as it is written, which can be changed part by part and written back: order and spelling of what is not
/// changed stay. What it means is read by the same code as a file, with the same checks.
public struct ConfigurationDocument: Equatable, Sendable {
    var root: ConfigurationValue
    /// It was read from a file of JSON alone: writing it back loses nothing. YAML has comments.
    public let isJSON: Bool

    /// Reads a file's text.
    ///
    /// - Parameter file: the name that errors carry.
    public init(parsing text: String, file: String) throws(TercetError) {
        let root = try Element.root(of: text, file: file, needs: Configuration.needs)
        _ = try Configuration(root)
        self.root = ConfigurationValue(root.node)
        isJSON = (try? JSONSerialization.jsonObject(with: Data(text.utf8))) != nil
    }

    /// The document that says the same as a command line: `Configuration(listen:exports:)`, reactors and a state directory.
    public init(commandLine configuration: Configuration) {
        var root = ConfigurationValue.object([])
        if case .count(let count) = configuration.reactors { root["reactors"] = .number("\(count)") }
        root["stateDirectory"] = configuration.stateDirectory.map { .text($0) }
        root["listeners"] = .array(configuration.definition.listeners.map { Self.value(of: $0) })
        root["subsystems"] = .array(
            configuration.definition.subsystems.map { subsystem in
                let namespaces = subsystem.namespaces.map { namespace in
                    ConfigurationValue.object([
                        .init("nsid", .number("\(namespace.nsid)")), .init("backing", .text("\(namespace.backing)")),
                    ])
                }
                return .object([
                    .init("nqn", .text(subsystem.nqn)), .init("allowAnyHost", .boolean(true)),
                    .init("namespaces", .array(namespaces)),
                ])
            })
        self.root = root
        isJSON = true
    }

    /// The configuration that it says.
    public func configuration() throws(TercetError) -> Configuration {
        try Configuration(Element(node: root.node, path: "", file: ""))
    }

    /// Everything in it.
    public var value: ConfigurationValue { root }

    /// As a file.
    public var text: String { root.text() + "\n" }

    static func value(of address: SocketAddress) -> ConfigurationValue {
        .object([.init("address", .text(address.host)), .init("port", .number("\(address.port)"))])
    }
}
