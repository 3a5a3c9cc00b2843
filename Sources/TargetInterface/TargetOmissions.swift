/// Abilities of this target that another one may lack, for tests of what hosts make of that.
package struct TargetOmissions: OptionSet, Sendable {
    package let rawValue: UInt8
    package init(rawValue: UInt8) { self.rawValue = rawValue }

    /// `TercetIdentity` and `TercetNamespaceIdentity`.
    package static let instances = TargetOmissions(rawValue: 1 << 0)
    /// `QuiesceCommand`.
    package static let quiesce = TargetOmissions(rawValue: 1 << 1)
    /// Identify Controller CTRATT "Traffic Based Keep Alive Support": Keep Alive commands alone keep a controller alive.
    package static let trafficBasedKeepAlive = TargetOmissions(rawValue: 1 << 2)
    /// Identify Controller ONCS "Reservations", Identify Namespace RESCAP, and the commands.
    package static let reservations = TargetOmissions(rawValue: 1 << 3)
}
