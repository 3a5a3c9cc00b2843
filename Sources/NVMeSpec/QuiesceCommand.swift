/// Quiesce: a vendor specific admin command of Tercet's targets. It ends another association of the same host with the
/// subsystem, if that still exists, and is answered when none of its commands can reach the media any more.
///
/// NVMe has "Cross-Controller Reset" for this since 2.3, which no host that we know of sends; `TercetIdentity` says whether a
/// target has this one. Without it a host can only wait for longer than any command may take ("Command Quiesce Time").
public struct QuiesceCommand: Hashable, Sendable, BitwiseCopyable {
    /// The first vendor specific opcode without data (NVMe Base, "Opcodes for Admin Commands").
    public static let opcode: UInt8 = 0xC0
    /// CNTLID of the association that is to end: Command Dword 10, bits 15:0.
    public var controllerID: UInt16

    public init(controllerID: UInt16) { self.controllerID = controllerID }

    init(_ entry: SubmissionEntry) { controllerID = UInt16(entry.cdw10.bits(0, 16)) }
}
