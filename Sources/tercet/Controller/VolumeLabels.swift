import Base
import ControllerCalls
import VolumeDriver
import VolumeRegistry

/// Labels of entries that a controller writes.
enum Label {
    /// The parameters with which a volume was made.
    static let parameters = "csi.tercet/parameters"
    /// The node that has it.
    static let node = "csi.tercet/node"
    /// The node that had it last.
    static let formerNode = "csi.tercet/former-node"
    /// The start of those of limits, before a parameter's name.
    private static let limit = "csi.tercet/limit."

    static func of(_ limits: LimitParameters) -> [String: String] {
        Dictionary(uniqueKeysWithValues: limits.parameters.map { (limit + $0.key, $0.value) })
    }

    /// The limits that a volume's labels say. Values that an operator has spoilt say nothing.
    static func limits(of entry: VolumeEntry) -> LimitParameters {
        var parameters: [String: String] = [:]
        for name in LimitParameters.names { parameters[name] = entry.labels[limit + name] }
        return (try? LimitParameters(parameters)) ?? LimitParameters()
    }
}

extension VolumeEntry {
    /// As a controller tells it.
    var volume: ControllerVolume {
        let (node, former) = (labels[Label.node], labels[Label.formerNode])
        return ControllerVolume(
            name: name, uuid: uuid.description, size: size ?? 0, members: members.map(\.address.description),
            node: node,
            takesOver: node != nil && former != nil && former != node, limits: Label.limits(of: self))
    }

    /// Whether a volume could have this name.
    static func isName(_ name: String) -> Bool { (try? validate(name: name)) != nil }
}
