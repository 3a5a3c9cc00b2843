import NVMeSpec

/// A host that is registered with a member's namespace, and connected to it as far as its target tells.
public struct PresentHost: Sendable {
    public var registrant: ReservationStatus.Registrant
    /// The target tells of a host only while it is connected (`TercetIdentity.Abilities.registrantPresence`). Others go on naming
    /// one that has died.
    public var isCertain: Bool

    public init(registrant: ReservationStatus.Registrant, isCertain: Bool) {
        self.registrant = registrant
        self.isCertain = isCertain
    }
}
