/// Identify Controller: what a controller is and can do (NVMe Base, "Identify Controller Data Structure").
///
/// A field that is not here is 0 when encoded and not read when decoded.
public struct IdentifyController: FixedStructure, Hashable {
    public static let byteCount = IdentifyStructure.byteCount

    /// PCI Vendor ID (VID); 0 for a controller that is no PCI function.
    public var vendorID: UInt16 = 0
    /// PCI Subsystem Vendor ID (SSVID).
    public var subsystemVendorID: UInt16 = 0
    /// Serial Number (SN): up to 20 ASCII characters.
    public var serialNumber = ""
    /// Model Number (MN): up to 40 ASCII characters.
    public var modelNumber = ""
    /// Firmware Revision (FR): up to 8 ASCII characters.
    public var firmwareRevision = ""
    /// Recommended Arbitration Burst (RAB): 2^n commands.
    public var recommendedArbitrationBurst: UInt8 = 0
    /// IEEE OUI Identifier (IEEE): 24 bits.
    public var ieeeOUI: UInt32 = 0
    /// Controller Multi-Path I/O and Namespace Sharing Capabilities (CMIC).
    public var multiPath: MultiPathCapabilities = []
    /// Maximum Data Transfer Size (MDTS): 2^n pages of CAP.MPSMIN; 0 for no limit.
    public var maxDataTransferSize: UInt8 = 0
    /// Controller ID (CNTLID).
    public var controllerID: UInt16 = 0
    /// Version (VER).
    public var version = SpecificationVersion(rawValue: 0)
    /// RTD3 Entry Latency (RTD3E), in microseconds: how long a shutdown may take.
    public var rtd3EntryLatency: UInt32 = 0
    /// Optional Asynchronous Events Supported (OAES): bits 8 and up.
    public var asyncEvents: AsyncEventConfiguration = []
    /// Controller Attributes (CTRATT).
    public var attributes: ControllerAttributes = []
    /// Controller Type (CNTRLTYPE).
    public var controllerType = ControllerType.notReported
    /// Command Retry Delay Time 1 (CRDT1), in units of 100 ms, as are 2 and 3.
    public var commandRetryDelay1: UInt16 = 0
    /// Command Retry Delay Time 2 (CRDT2).
    public var commandRetryDelay2: UInt16 = 0
    /// Command Retry Delay Time 3 (CRDT3).
    public var commandRetryDelay3: UInt16 = 0
    /// Optional Admin Command Support (OACS).
    public var adminCommands: OptionalAdminCommands = []
    /// Abort Command Limit (ACL): 0-based.
    public var abortCommandLimit: UInt8 = 0
    /// Asynchronous Event Request Limit (AERL): 0-based.
    public var asyncEventRequestLimit: UInt8 = 0
    /// Firmware Updates (FRMW): bit 0 slot 1 is read only, bits 3:1 slots.
    public var firmwareUpdates: UInt8 = 0
    /// Log Page Attributes (LPA).
    public var logPageAttributes: LogPageAttributes = []
    /// Error Log Page Entries (ELPE): 0-based.
    public var errorLogPageEntries: UInt8 = 0
    /// Number of Power States Support (NPSS): 0-based.
    public var powerStates: UInt8 = 0
    /// Warning Composite Temperature Threshold (WCTEMP), in kelvins; 0 if not reported.
    public var warningTemperature: UInt16 = 0
    /// Critical Composite Temperature Threshold (CCTEMP), in kelvins.
    public var criticalTemperature: UInt16 = 0
    /// Total NVM Capacity (TNVMCAP), in bytes.
    public var totalCapacity: UInt64 = 0
    /// Unallocated NVM Capacity (UNVMCAP), in bytes.
    public var unallocatedCapacity: UInt64 = 0
    /// Keep Alive Support (KAS): granularity of the keep-alive timer in units of 100 ms; 0 for none.
    public var keepAliveGranularity: UInt16 = 0
    /// ANA Transition Time (ANATT), in seconds.
    public var anaTransitionTime: UInt8 = 0
    /// Asymmetric Namespace Access Capabilities (ANACAP).
    public var anaCapabilities: ANACapabilities = []
    /// ANA Group Identifier Maximum (ANAGRPMAX).
    public var anaGroupIDMax: UInt32 = 0
    /// Number of ANA Group Identifiers (NANAGRPID).
    public var anaGroupCount: UInt32 = 0
    /// Submission Queue Entry Size (SQES): required size in bits 3:0, largest in 7:4, each 2^n bytes.
    public var submissionEntrySizes: UInt8 = 0x66
    /// Completion Queue Entry Size (CQES).
    public var completionEntrySizes: UInt8 = 0x44
    /// Maximum Outstanding Commands (MAXCMD), of one I/O queue.
    public var maxOutstandingCommands: UInt16 = 0
    /// Number of Namespaces (NN): the largest namespace identifier.
    public var namespaceCount: UInt32 = 0
    /// Optional NVM Command Support (ONCS).
    public var nvmCommands: OptionalNVMCommands = []
    /// Fused Operation Support (FUSES): bit 0 Compare and Write.
    public var fusedOperations: UInt16 = 0
    /// Volatile Write Cache (VWC).
    public var volatileWriteCache: VolatileWriteCacheAttributes = []
    /// Atomic Write Unit Normal (AWUN): blocks, 0-based.
    public var atomicWriteUnit: UInt16 = 0
    /// Atomic Write Unit Power Fail (AWUPF): blocks, 0-based.
    public var atomicWriteUnitPowerFail: UInt16 = 0
    /// Atomic Compare and Write Unit (ACWU): blocks, 0-based.
    public var atomicCompareAndWriteUnit: UInt16 = 0
    /// Namespace Write Protection Capabilities (NWPC).
    public var writeProtectionCapabilities: UInt8 = 0
    /// SGL Support (SGLS).
    public var sglSupport: SGLSupport = []
    /// Maximum Number of Allowed Namespaces (MNAN); 0 for NN.
    public var maxAllowedNamespaces: UInt32 = 0
    /// NVM Subsystem NVMe Qualified Name (SUBNQN).
    public var subsystemNQN = ""
    /// I/O Queue Command Capsule Supported Size (IOCCSZ), in units of 16 bytes.
    public var ioCommandCapsuleSize: UInt32 = 4
    /// I/O Queue Response Capsule Supported Size (IORCSZ), in units of 16 bytes.
    public var ioResponseCapsuleSize: UInt32 = 1
    /// In Capsule Data Offset (ICDOFF), in units of 16 bytes.
    public var inCapsuleDataOffset: UInt16 = 0
    /// Fabrics Controller Attributes (FCATT): bit 0 set for the static controller model.
    public var fabricsAttributes: UInt8 = 0
    /// Maximum SGL Data Block Descriptors (MSDBD) in a capsule; 0 for no limit.
    public var maxSGLDescriptors: UInt8 = 0
    /// Optional Fabrics Commands Support (OFCS): bit 0 Disconnect.
    public var fabricsCommands: UInt16 = 0
    /// Discovery Controller Type (DCTYPE): 1 direct, 2 central.
    public var discoveryControllerType: UInt8 = 0
    /// Maximum Power (MP) of power state 0, in units of 0.01 W.
    public var maxPower: UInt16 = 0

    public init() {}

    /// Largest data transfer of a command, in bytes, with pages of 4 KiB (CAP.MPSMIN 0); `nil` for no limit.
    public var maxDataTransferByteCount: Int? {
        maxDataTransferSize == 0 ? nil : 4096 << Int(min(maxDataTransferSize, 32))
    }

    /// Largest data that a command capsule of an I/O queue carries, in bytes.
    public var inCapsuleDataByteCount: Int {
        let data = Int(ioCommandCapsuleSize) - SubmissionEntry.byteCount / 16 - Int(inCapsuleDataOffset)
        return max(0, data * 16)
    }
}
