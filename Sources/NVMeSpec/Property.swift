/// Offsets of the controller properties that exist on a fabric (NVMe Base, "Controller Properties").
public enum Property: UInt32, CaseIterable, Sendable, BitwiseCopyable {
    /// Controller Capabilities (CAP).
    case capabilities = 0x00
    /// Version (VS).
    case version = 0x08
    /// Controller Configuration (CC).
    case configuration = 0x14
    /// Controller Status (CSTS).
    case status = 0x1C
    /// NVM Subsystem Reset (NSSR).
    case subsystemReset = 0x20
    /// Controller Ready Timeouts (CRTO).
    case readyTimeouts = 0x68

    /// Size of the property: 8 bytes for CAP, else 4.
    @inlinable public var byteCount: Int { self == .capabilities ? 8 : 4 }
}

/// Controller Capabilities (CAP; NVMe Base, "Controller Capabilities").
public struct ControllerCapabilities: RawRepresentable, Hashable, Sendable, BitwiseCopyable {
    public var rawValue: UInt64
    public init(rawValue: UInt64) { self.rawValue = rawValue }

    /// Capabilities of a controller on a fabric: contiguous queues required, a page size of 4 KiB, the NVM command set
    /// and others by CSI, ready independent of media not offered.
    ///
    /// - Parameters:
    ///   - queueEntries: largest I/O queue, in entries: 2 to 65536.
    ///   - timeoutMilliseconds: longest time to become ready; rounded up to 500 ms, at most 127.5 s.
    public init(queueEntries: Int, timeoutMilliseconds: Int) {
        rawValue = 0
        maxQueueEntries = UInt16(clamping: queueEntries - 1)
        requiresContiguousQueues = true
        timeout = UInt8(clamping: (timeoutMilliseconds + 499) / 500)
        commandSets = [.nvm, .ioCommandSets]
        readyModes = 1
    }

    /// Maximum Queue Entries Supported (MQES): 0-based.
    public var maxQueueEntries: UInt16 {
        get { UInt16(rawValue.bits(0, 16)) }
        set { rawValue.setBits(0, 16, UInt64(newValue)) }
    }
    /// Contiguous Queues Required (CQR).
    public var requiresContiguousQueues: Bool {
        get { rawValue.bits(16, 1) != 0 }
        set { rawValue.setBits(16, 1, newValue ? 1 : 0) }
    }
    /// Arbitration Mechanism Supported (AMS) besides round robin.
    public var arbitrationMechanisms: UInt8 {
        get { UInt8(rawValue.bits(17, 2)) }
        set { rawValue.setBits(17, 2, UInt64(newValue)) }
    }
    /// Timeout (TO), in units of 500 ms.
    public var timeout: UInt8 {
        get { UInt8(rawValue.bits(24, 8)) }
        set { rawValue.setBits(24, 8, UInt64(newValue)) }
    }
    /// NVM Subsystem Reset Supported (NSSRS).
    public var supportsSubsystemReset: Bool {
        get { rawValue.bits(36, 1) != 0 }
        set { rawValue.setBits(36, 1, newValue ? 1 : 0) }
    }
    /// Command Sets Supported (CSS).
    public var commandSets: CommandSets {
        get { CommandSets(rawValue: UInt8(rawValue.bits(37, 8))) }
        set { rawValue.setBits(37, 8, UInt64(newValue.rawValue)) }
    }
    /// Memory Page Size Minimum (MPSMIN): 2^(12 + n) bytes.
    public var memoryPageSizeMin: UInt8 {
        get { UInt8(rawValue.bits(48, 4)) }
        set { rawValue.setBits(48, 4, UInt64(newValue)) }
    }
    /// Memory Page Size Maximum (MPSMAX): 2^(12 + n) bytes.
    public var memoryPageSizeMax: UInt8 {
        get { UInt8(rawValue.bits(52, 4)) }
        set { rawValue.setBits(52, 4, UInt64(newValue)) }
    }
    /// Controller Ready Modes Supported (CRMS): bit 0 with media, bit 1 independent of media.
    public var readyModes: UInt8 {
        get { UInt8(rawValue.bits(59, 2)) }
        set { rawValue.setBits(59, 2, UInt64(newValue)) }
    }

    /// Command Sets Supported (CAP.CSS).
    public struct CommandSets: OptionSet, Hashable, Sendable {
        public let rawValue: UInt8
        public init(rawValue: UInt8) { self.rawValue = rawValue }
        /// NVM: bit 0.
        public static let nvm = CommandSets(rawValue: 1 << 0)
        /// One or more I/O command sets, told apart by CSI (IOCSS).
        public static let ioCommandSets = CommandSets(rawValue: 1 << 6)
        /// No I/O command set: bit 7.
        public static let noIOCommandSet = CommandSets(rawValue: 1 << 7)
    }
}

/// Version of the specification that a controller follows (VS; NVMe Base, "Version").
public struct SpecificationVersion: RawRepresentable, Hashable, Sendable, BitwiseCopyable, CustomStringConvertible {
    public var rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    public init(major: UInt16, minor: UInt8, tertiary: UInt8 = 0) {
        rawValue = UInt32(major) << 16 | UInt32(minor) << 8 | UInt32(tertiary)
    }

    /// Major version (MJR).
    public var major: UInt16 { UInt16(rawValue.bits(16, 16)) }
    /// Minor version (MNR).
    public var minor: UInt8 { UInt8(rawValue.bits(8, 8)) }
    /// Tertiary version (TER).
    public var tertiary: UInt8 { UInt8(rawValue.bits(0, 8)) }
    /// "2.0.0", say.
    public var description: String { "\(major).\(minor).\(tertiary)" }
}

extension SpecificationVersion: OpenValue {}

/// Controller Configuration (CC; NVMe Base, "Controller Configuration").
public struct ControllerConfiguration: RawRepresentable, Hashable, Sendable, BitwiseCopyable {
    public var rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// The value with which a host enables a controller of the NVM command set: 64-byte commands, 16-byte completions, 4 KiB
    /// pages, round robin.
    public static var enabled: ControllerConfiguration {
        var configuration = ControllerConfiguration(rawValue: 0)
        configuration.isEnabled = true
        configuration.ioSubmissionEntrySize = 6
        configuration.ioCompletionEntrySize = 4
        return configuration
    }

    /// Enable (EN).
    public var isEnabled: Bool {
        get { rawValue.bits(0, 1) != 0 }
        set { rawValue.setBits(0, 1, newValue ? 1 : 0) }
    }
    /// I/O Command Set Selected (CSS): 0 NVM, 6 all supported ones, 7 none.
    public var commandSet: UInt8 {
        get { UInt8(rawValue.bits(4, 3)) }
        set { rawValue.setBits(4, 3, UInt32(newValue)) }
    }
    /// Memory Page Size (MPS): 2^(12 + n) bytes.
    public var memoryPageSize: UInt8 {
        get { UInt8(rawValue.bits(7, 4)) }
        set { rawValue.setBits(7, 4, UInt32(newValue)) }
    }
    /// Arbitration Mechanism Selected (AMS): 0 round robin.
    public var arbitrationMechanism: UInt8 {
        get { UInt8(rawValue.bits(11, 3)) }
        set { rawValue.setBits(11, 3, UInt32(newValue)) }
    }
    /// Shutdown Notification (SHN).
    public var shutdownNotification: ShutdownNotification {
        get { ShutdownNotification(rawValue: UInt8(rawValue.bits(14, 2))) ?? .reserved }
        set { rawValue.setBits(14, 2, UInt32(newValue.rawValue)) }
    }
    /// I/O Submission Queue Entry Size (IOSQES): 2^n bytes.
    public var ioSubmissionEntrySize: UInt8 {
        get { UInt8(rawValue.bits(16, 4)) }
        set { rawValue.setBits(16, 4, UInt32(newValue)) }
    }
    /// I/O Completion Queue Entry Size (IOCQES): 2^n bytes.
    public var ioCompletionEntrySize: UInt8 {
        get { UInt8(rawValue.bits(20, 4)) }
        set { rawValue.setBits(20, 4, UInt32(newValue)) }
    }
    /// Controller Ready Independent of Media Enable (CRIME).
    public var isReadyIndependentOfMedia: Bool {
        get { rawValue.bits(24, 1) != 0 }
        set { rawValue.setBits(24, 1, newValue ? 1 : 0) }
    }
}

/// Shutdown Notification (CC.SHN).
public enum ShutdownNotification: UInt8, Sendable, BitwiseCopyable {
    case none = 0
    case normal = 1
    case abrupt = 2
    case reserved = 3
}

/// Controller Status (CSTS; NVMe Base, "Controller Status").
public struct ControllerStatus: RawRepresentable, Hashable, Sendable, BitwiseCopyable {
    public var rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// Ready (RDY).
    public var isReady: Bool {
        get { rawValue.bits(0, 1) != 0 }
        set { rawValue.setBits(0, 1, newValue ? 1 : 0) }
    }
    /// Controller Fatal Status (CFS).
    public var isFatal: Bool {
        get { rawValue.bits(1, 1) != 0 }
        set { rawValue.setBits(1, 1, newValue ? 1 : 0) }
    }
    /// Shutdown Status (SHST).
    public var shutdownStatus: ShutdownStatus {
        get { ShutdownStatus(rawValue: UInt8(rawValue.bits(2, 2))) ?? .reserved }
        set { rawValue.setBits(2, 2, UInt32(newValue.rawValue)) }
    }
    /// NVM Subsystem Reset Occurred (NSSRO).
    public var subsystemResetOccurred: Bool {
        get { rawValue.bits(4, 1) != 0 }
        set { rawValue.setBits(4, 1, newValue ? 1 : 0) }
    }
    /// Processing Paused (PP).
    public var isProcessingPaused: Bool {
        get { rawValue.bits(5, 1) != 0 }
        set { rawValue.setBits(5, 1, newValue ? 1 : 0) }
    }
}

/// Shutdown Status (CSTS.SHST).
public enum ShutdownStatus: UInt8, Sendable, BitwiseCopyable {
    case normalOperation = 0
    case occurring = 1
    case complete = 2
    case reserved = 3
}

/// Controller Ready Timeouts (CRTO; NVMe Base, "Controller Ready Timeouts"), in units of 500 ms.
public struct ControllerReadyTimeouts: RawRepresentable, Hashable, Sendable, BitwiseCopyable {
    public var rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    public init(withMedia: UInt16, independentOfMedia: UInt16) {
        rawValue = UInt32(withMedia) | UInt32(independentOfMedia) << 16
    }

    /// Controller Ready With Media Timeout (CRWMT).
    public var withMedia: UInt16 { UInt16(rawValue.bits(0, 16)) }
    /// Controller Ready Independent of Media Timeout (CRIMT).
    public var independentOfMedia: UInt16 { UInt16(rawValue.bits(16, 16)) }
}
