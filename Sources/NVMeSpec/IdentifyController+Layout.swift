extension IdentifyController {
    public mutating func layout(_ fields: FieldCoder) {
        fields.field(&vendorID, at: 0)
        fields.field(&subsystemVendorID, at: 2)
        fields.text(&serialNumber, at: 4, count: 20, padding: .spaces)
        fields.text(&modelNumber, at: 24, count: 40, padding: .spaces)
        fields.text(&firmwareRevision, at: 64, count: 8, padding: .spaces)
        fields.field(&recommendedArbitrationBurst, at: 72)
        fields.threeBytes(&ieeeOUI, at: 73)
        fields.field(&multiPath, at: 76)
        fields.field(&maxDataTransferSize, at: 77)
        fields.field(&controllerID, at: 78)
        fields.field(&version, at: 80)
        fields.field(&rtd3EntryLatency, at: 88)
        fields.field(&asyncEvents, at: 92)
        fields.field(&attributes, at: 96)
        fields.field(&controllerType, at: 111)
        fields.field(&commandRetryDelay1, at: 128)
        fields.field(&commandRetryDelay2, at: 130)
        fields.field(&commandRetryDelay3, at: 132)
        fields.field(&adminCommands, at: 256)
        fields.field(&abortCommandLimit, at: 258)
        fields.field(&asyncEventRequestLimit, at: 259)
        fields.field(&firmwareUpdates, at: 260)
        fields.field(&logPageAttributes, at: 261)
        fields.field(&errorLogPageEntries, at: 262)
        fields.field(&powerStates, at: 263)
        fields.field(&warningTemperature, at: 266)
        fields.field(&criticalTemperature, at: 268)
        fields.field(&totalCapacity, at: 280)
        fields.field(&unallocatedCapacity, at: 296)
        fields.field(&keepAliveGranularity, at: 320)
        fields.field(&anaTransitionTime, at: 342)
        fields.field(&anaCapabilities, at: 343)
        fields.field(&anaGroupIDMax, at: 344)
        fields.field(&anaGroupCount, at: 348)
        fields.field(&submissionEntrySizes, at: 512)
        fields.field(&completionEntrySizes, at: 513)
        fields.field(&maxOutstandingCommands, at: 514)
        fields.field(&namespaceCount, at: 516)
        fields.field(&nvmCommands, at: 520)
        fields.field(&fusedOperations, at: 522)
        fields.field(&volatileWriteCache, at: 525)
        fields.field(&atomicWriteUnit, at: 526)
        fields.field(&atomicWriteUnitPowerFail, at: 528)
        fields.field(&writeProtectionCapabilities, at: 531)
        fields.field(&atomicCompareAndWriteUnit, at: 532)
        fields.field(&sglSupport, at: 536)
        fields.field(&maxAllowedNamespaces, at: 540)
        fields.text(&subsystemNQN, at: 768, count: NQN.fieldByteCount, padding: .zeroes)
        fields.field(&ioCommandCapsuleSize, at: 1792)
        fields.field(&ioResponseCapsuleSize, at: 1796)
        fields.field(&inCapsuleDataOffset, at: 1800)
        fields.field(&fabricsAttributes, at: 1802)
        fields.field(&maxSGLDescriptors, at: 1803)
        fields.field(&fabricsCommands, at: 1804)
        fields.field(&discoveryControllerType, at: 1806)
        fields.field(&maxPower, at: 2048)
    }
}

/// Controller Multi-Path I/O and Namespace Sharing Capabilities (CMIC).
public struct MultiPathCapabilities: OptionSet, Hashable, Sendable, OpenValue {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// The NVM subsystem may have several ports.
    public static let multiplePorts = MultiPathCapabilities(rawValue: 1 << 0)
    /// The NVM subsystem may have several controllers.
    public static let multipleControllers = MultiPathCapabilities(rawValue: 1 << 1)
    /// ANA is reported.
    public static let anaReporting = MultiPathCapabilities(rawValue: 1 << 3)
}

/// Controller Attributes (CTRATT).
public struct ControllerAttributes: OptionSet, Hashable, Sendable, OpenValue {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }
    /// Host Identifiers have 128 bits (HIDS).
    public static let extendedHostIdentifier = ControllerAttributes(rawValue: 1 << 0)
    /// Traffic Based Keep Alive Support (TBKAS): any command restarts the keep-alive timer.
    public static let trafficBasedKeepAlive = ControllerAttributes(rawValue: 1 << 6)
}

/// Controller Type (CNTRLTYPE).
public struct ControllerType: RawRepresentable, Hashable, Sendable, OpenValue {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// Not reported: 0.
    public static let notReported = ControllerType(rawValue: 0)
    /// I/O: 1.
    public static let io = ControllerType(rawValue: 1)
    /// Discovery: 2.
    public static let discovery = ControllerType(rawValue: 2)
    /// Administrative: 3.
    public static let administrative = ControllerType(rawValue: 3)
}

/// Optional Admin Command Support (OACS).
public struct OptionalAdminCommands: OptionSet, Hashable, Sendable, OpenValue {
    public let rawValue: UInt16
    public init(rawValue: UInt16) { self.rawValue = rawValue }
    /// Security: bit 0.
    public static let security = OptionalAdminCommands(rawValue: 1 << 0)
    /// Format NVM: bit 1.
    public static let formatNVM = OptionalAdminCommands(rawValue: 1 << 1)
    /// Firmware: bit 2.
    public static let firmware = OptionalAdminCommands(rawValue: 1 << 2)
    /// Namespace management: bit 3.
    public static let namespaceManagement = OptionalAdminCommands(rawValue: 1 << 3)
    /// Device self test: bit 4.
    public static let deviceSelfTest = OptionalAdminCommands(rawValue: 1 << 4)
    /// Directives: bit 5.
    public static let directives = OptionalAdminCommands(rawValue: 1 << 5)
}

/// Log Page Attributes (LPA).
public struct LogPageAttributes: OptionSet, Hashable, Sendable, OpenValue {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// SMART / Health Information per namespace.
    public static let smartPerNamespace = LogPageAttributes(rawValue: 1 << 0)
    /// The Commands Supported and Effects log page.
    public static let commandEffects = LogPageAttributes(rawValue: 1 << 1)
    /// Extended data for Get Log Page: NUMD of 32 bits and offsets.
    public static let extendedData = LogPageAttributes(rawValue: 1 << 2)
}

/// Asymmetric Namespace Access Capabilities (ANACAP).
public struct ANACapabilities: OptionSet, Hashable, Sendable, OpenValue {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// Optimized: bit 0.
    public static let optimized = ANACapabilities(rawValue: 1 << 0)
    /// Non optimized: bit 1.
    public static let nonOptimized = ANACapabilities(rawValue: 1 << 1)
    /// Inaccessible: bit 2.
    public static let inaccessible = ANACapabilities(rawValue: 1 << 2)
    /// Persistent loss: bit 3.
    public static let persistentLoss = ANACapabilities(rawValue: 1 << 3)
    /// Change: bit 4.
    public static let change = ANACapabilities(rawValue: 1 << 4)
    /// A namespace's ANAGRPID does not change while it is attached.
    public static let fixedGroupID = ANACapabilities(rawValue: 1 << 6)
}

/// Optional NVM Command Support (ONCS).
public struct OptionalNVMCommands: OptionSet, Hashable, Sendable, OpenValue {
    public let rawValue: UInt16
    public init(rawValue: UInt16) { self.rawValue = rawValue }
    /// Compare: bit 0.
    public static let compare = OptionalNVMCommands(rawValue: 1 << 0)
    /// Write uncorrectable: bit 1.
    public static let writeUncorrectable = OptionalNVMCommands(rawValue: 1 << 1)
    /// Dataset management: bit 2.
    public static let datasetManagement = OptionalNVMCommands(rawValue: 1 << 2)
    /// Write zeroes: bit 3.
    public static let writeZeroes = OptionalNVMCommands(rawValue: 1 << 3)
    /// Save and Select of Set and Get Features.
    public static let saveFeatures = OptionalNVMCommands(rawValue: 1 << 4)
    /// Reservations: bit 5.
    public static let reservations = OptionalNVMCommands(rawValue: 1 << 5)
    /// Timestamp: bit 6.
    public static let timestamp = OptionalNVMCommands(rawValue: 1 << 6)
    /// Verify: bit 7.
    public static let verify = OptionalNVMCommands(rawValue: 1 << 7)
    /// Copy: bit 8.
    public static let copy = OptionalNVMCommands(rawValue: 1 << 8)
}

/// Volatile Write Cache (VWC).
public struct VolatileWriteCacheAttributes: OptionSet, Hashable, Sendable, OpenValue {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// A volatile write cache is present.
    public static let present = VolatileWriteCacheAttributes(rawValue: 1 << 0)
    /// Flush of NSID FFFFFFFFh is not supported: bits 2:1 are 10b.
    public static let flushAllNotSupported = VolatileWriteCacheAttributes(rawValue: 2 << 1)
    /// Flush of NSID FFFFFFFFh flushes all namespaces: bits 2:1 are 11b.
    public static let flushAllSupported = VolatileWriteCacheAttributes(rawValue: 3 << 1)
}

/// SGL Support (SGLS).
public struct SGLSupport: OptionSet, Hashable, Sendable, OpenValue {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }
    /// SGLs, without a rule of alignment: bits 1:0 are 01b.
    public static let supported = SGLSupport(rawValue: 1 << 0)
    /// Keyed SGL Data Block descriptor.
    public static let keyed = SGLSupport(rawValue: 1 << 2)
    /// Bit bucket: bit 16.
    public static let bitBucket = SGLSupport(rawValue: 1 << 16)
    /// SGLs that describe more than the command transfers.
    public static let oversize = SGLSupport(rawValue: 1 << 18)
    /// The address field holds an offset: in-capsule data and lists.
    public static let offset = SGLSupport(rawValue: 1 << 20)
}
