/// Controller or Namespace Structure (CNS): which structure Identify returns (NVMe Base, "Identify command").
public struct IdentifyStructure: RawRepresentable, Hashable, Sendable, BitwiseCopyable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// Identify Namespace of the NVM command set.
    public static let namespace = IdentifyStructure(rawValue: 0x00)
    /// Identify Controller.
    public static let controller = IdentifyStructure(rawValue: 0x01)
    /// Active Namespace ID list: those above NSID.
    public static let activeNamespaces = IdentifyStructure(rawValue: 0x02)
    /// Namespace Identification Descriptor list.
    public static let namespaceDescriptors = IdentifyStructure(rawValue: 0x03)
    /// I/O Command Set specific Identify Namespace.
    public static let commandSetNamespace = IdentifyStructure(rawValue: 0x05)
    /// I/O Command Set specific Identify Controller.
    public static let commandSetController = IdentifyStructure(rawValue: 0x06)
    /// I/O Command Set specific Active Namespace ID list.
    public static let commandSetActiveNamespaces = IdentifyStructure(rawValue: 0x07)
    /// I/O Command Set Independent Identify Namespace.
    public static let independentNamespace = IdentifyStructure(rawValue: 0x08)
    /// Allocated Namespace ID list: those above NSID.
    public static let allocatedNamespaces = IdentifyStructure(rawValue: 0x10)
    /// Identify Namespace of an allocated namespace.
    public static let allocatedNamespace = IdentifyStructure(rawValue: 0x11)
    /// Controller list: controllers that the namespace is attached to.
    public static let namespaceControllers = IdentifyStructure(rawValue: 0x12)
    /// Controller list: controllers of the NVM subsystem.
    public static let controllers = IdentifyStructure(rawValue: 0x13)
    /// I/O Command Set data structure.
    public static let commandSets = IdentifyStructure(rawValue: 0x1C)

    /// Bytes of every structure that Identify returns.
    public static let byteCount = 4096
}
