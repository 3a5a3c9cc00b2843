import NVMeSpec

/// Facts that all controllers of this program tell of themselves.
enum ControllerFacts {
    /// Firmware Revision (FR): the version of the program.
    static let firmwareRevision = "1.0"
    /// The specification that the controllers follow.
    static let version = SpecificationVersion(major: 1, minor: 4)
    /// CAP.TO and CRTO, in units of 500 ms: enabling a controller takes no time here.
    static let timeout: UInt16 = 30

    /// The asynchronous events that a controller offers: Identify Controller OAES.
    static func offeredEvents(isDiscovery: Bool) -> AsyncEventConfiguration {
        isDiscovery ? [.discoveryLog] : [.namespaceAttribute, .anaChange]
    }
}
