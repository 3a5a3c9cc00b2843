/// Opcodes of the admin queue (NVMe Base, "Opcodes for Admin Commands"), as far as a fabrics controller can have them.
public enum AdminOpcode: UInt8, CaseIterable, Sendable, BitwiseCopyable {
    case getLogPage = 0x02
    case identify = 0x06
    case abort = 0x08
    case setFeatures = 0x09
    case getFeatures = 0x0A
    case asynchronousEventRequest = 0x0C
    case namespaceManagement = 0x0D
    case firmwareCommit = 0x10
    case firmwareImageDownload = 0x11
    case deviceSelfTest = 0x14
    case namespaceAttachment = 0x15
    case keepAlive = 0x18
    case directiveSend = 0x19
    case directiveReceive = 0x1A
    case formatNVM = 0x80
    case securitySend = 0x81
    case securityReceive = 0x82
    case sanitize = 0x84
}

/// Opcodes of I/O queues (NVMe Base, "Opcodes for I/O Commands"; NVM Command Set, "Opcodes for NVM Commands").
public enum NVMOpcode: UInt8, CaseIterable, Sendable, BitwiseCopyable {
    case flush = 0x00
    case write = 0x01
    case read = 0x02
    case writeUncorrectable = 0x04
    case compare = 0x05
    case writeZeroes = 0x08
    case datasetManagement = 0x09
    case verify = 0x0C
    case reservationRegister = 0x0D
    case reservationReport = 0x0E
    case reservationAcquire = 0x11
    case reservationRelease = 0x15
    case copy = 0x19
}

/// FCTYPE of Fabrics commands (NVMe Base, "Fabrics Command Type").
public enum FabricsCommandType: UInt8, CaseIterable, Sendable, BitwiseCopyable {
    case propertySet = 0x00
    case connect = 0x01
    case propertyGet = 0x04
    case authenticationSend = 0x05
    case authenticationReceive = 0x06
    case disconnect = 0x08

    /// The opcode of all Fabrics commands.
    @inlinable public static var opcode: UInt8 { 0x7F }
}
