/// Header of the Discovery log page: 1024 bytes; entries follow (NVMe Base, "Discovery (Log Page Identifier 70h)").
public struct DiscoveryLogHeader: FixedStructure, Hashable {
    public static let byteCount = 1024

    /// Generation Counter (GENCTR): changes with the log. A host that sees it change reads again.
    public var generation: UInt64 = 0
    /// Number of Records (NUMREC).
    public var recordCount: UInt64 = 0
    /// Record Format (RECFMT): 0.
    public var recordFormat: UInt16 = 0

    public init() {}

    public init(generation: UInt64, recordCount: UInt64) {
        self.generation = generation
        self.recordCount = recordCount
    }

    public mutating func layout(_ fields: FieldCoder) {
        fields.field(&generation, at: 0)
        fields.field(&recordCount, at: 8)
        fields.field(&recordFormat, at: 16)
    }

    /// There is one record format: 0.
    public func validate() throws(MalformedStructure) {
        guard recordFormat == 0 else { throw MalformedStructure("Discovery log", "record format \(recordFormat)") }
    }
}

/// An entry of the Discovery log page: 1024 bytes (NVMe Base, "Discovery Log Page Entry Data Structure").
public struct DiscoveryLogEntry: FixedStructure, Hashable {
    public static let byteCount = 1024
    /// Controller ID of the dynamic controller model.
    public static let dynamicController: UInt16 = 0xFFFF

    /// Transport Type (TRTYPE).
    public var transport = DiscoveryTransport.rdma
    /// Address Family (ADRFAM).
    public var addressFamily = AddressFamily.ipv4
    /// Subsystem Type (SUBTYPE).
    public var subsystemType = SubsystemType.nvm
    /// Transport Requirements (TREQ).
    public var requirements: TransportRequirements = []
    /// Port ID (PORTID).
    public var portID: UInt16 = 0
    /// Controller ID (CNTLID).
    public var controllerID: UInt16 = DiscoveryLogEntry.dynamicController
    /// Admin Max SQ Size (ASQSZ): entries, at least 32.
    public var adminQueueSize: UInt16 = 32
    /// Entry Flags (EFLAGS).
    public var flags: DiscoveryEntryFlags = []
    /// Transport Service Identifier (TRSVCID): the port, in decimal.
    public var serviceID = ""
    /// NVM Subsystem Qualified Name (SUBNQN).
    public var subsystemNQN = ""
    /// Transport Address (TRADDR).
    public var address = ""
    /// RDMA Queue Pair Type (RDMA_QPTYPE): 1 reliable connected.
    public var queuePairType: UInt8 = 1
    /// RDMA Provider Type (RDMA_PRTYPE).
    public var provider = RDMAProvider.notSpecified
    /// RDMA Connection Management Service (RDMA_CMS): 1 RDMA CM.
    public var connectionManagement: UInt8 = 1
    /// RDMA Partition Key (RDMA_PKEY).
    public var partitionKey: UInt16 = 0

    /// An entry for a subsystem that is reached by RDMA over IPv4.
    public init() {}

    public mutating func layout(_ fields: FieldCoder) {
        fields.field(&transport, at: 0)
        fields.field(&addressFamily, at: 1)
        fields.field(&subsystemType, at: 2)
        fields.field(&requirements, at: 3)
        fields.field(&portID, at: 4)
        fields.field(&controllerID, at: 6)
        fields.field(&adminQueueSize, at: 8)
        fields.field(&flags, at: 10)
        fields.text(&serviceID, at: 32, count: 32, padding: .spaces)
        fields.text(&subsystemNQN, at: 256, count: NQN.fieldByteCount, padding: .zeroes)
        fields.text(&address, at: 512, count: 256, padding: .spaces)
        fields.field(&queuePairType, at: 768)
        fields.field(&provider, at: 769)
        fields.field(&connectionManagement, at: 770)
        fields.field(&partitionKey, at: 776)
    }
}

extension DiscoveryLogEntry {
    /// Writes an entry, of which another NQN is to be told than its own, as a record of the log.
    ///
    /// - Parameters:
    ///   - encoded: the entry with an empty `subsystemNQN`, encoded once for many records.
    ///   - record: its place in the log, from 0.
    public static func write(_ encoded: [UInt8], subsystemNQN: String, record: Int, to window: PageWindow) {
        let position = DiscoveryLogHeader.byteCount + record * byteCount
        window.place(encoded, at: position)
        window.place(subsystemNQN, at: position + 256)
    }

    /// The records that a window touches, of `count`.
    public static func records(in window: PageWindow, of count: Int) -> Range<Int> {
        window.indices(from: DiscoveryLogHeader.byteCount, stride: byteCount, count: count)
    }
}

/// The Discovery log page.
public struct DiscoveryLog: Hashable, Sendable {
    /// Generation and count.
    public var header: DiscoveryLogHeader
    /// The records.
    public var entries: [DiscoveryLogEntry]

    public init(generation: UInt64, entries: [DiscoveryLogEntry]) {
        header = DiscoveryLogHeader(generation: generation, recordCount: UInt64(entries.count))
        self.entries = entries
    }

    /// The log's bytes.
    public var encoded: [UInt8] { entries.reduce(into: header.encoded) { $0 += $1.encoded } }

    /// Decodes a header and those of its records that are all in `bytes`; `header.recordCount` says how many there are.
    public init(decoding bytes: UnsafeRawBufferPointer) throws(MalformedStructure) {
        header = try DiscoveryLogHeader(decoding: bytes)
        entries = []
        let present = (bytes.count - DiscoveryLogHeader.byteCount) / DiscoveryLogEntry.byteCount
        for index in 0..<Int(min(header.recordCount, UInt64(present))) {
            let offset = DiscoveryLogHeader.byteCount + index * DiscoveryLogEntry.byteCount
            entries.append(try DiscoveryLogEntry(decoding: UnsafeRawBufferPointer(rebasing: bytes[offset...])))
        }
    }
}

/// Transport Type (TRTYPE). Values without a name are kept.
public struct DiscoveryTransport: RawRepresentable, Hashable, Sendable, BitwiseCopyable, OpenValue {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// RDMA: 1.
    public static let rdma = DiscoveryTransport(rawValue: 1)
    /// Fibre Channel: 2.
    public static let fibreChannel = DiscoveryTransport(rawValue: 2)
    /// TCP: 3.
    public static let tcp = DiscoveryTransport(rawValue: 3)
    /// Loop: 254.
    public static let loop = DiscoveryTransport(rawValue: 254)
}

/// Address Family (ADRFAM). Values without a name are kept.
public struct AddressFamily: RawRepresentable, Hashable, Sendable, OpenValue {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// IPv4: 1.
    public static let ipv4 = AddressFamily(rawValue: 1)
    /// IPv6: 2.
    public static let ipv6 = AddressFamily(rawValue: 2)
    /// InfiniBand: 3.
    public static let infiniBand = AddressFamily(rawValue: 3)
    /// Fibre Channel: 4.
    public static let fibreChannel = AddressFamily(rawValue: 4)
}

/// Subsystem Type (SUBTYPE). Values without a name are kept.
public struct SubsystemType: RawRepresentable, Hashable, Sendable, OpenValue {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// Another discovery subsystem: a referral.
    public static let referral = SubsystemType(rawValue: 1)
    /// NVM: 2.
    public static let nvm = SubsystemType(rawValue: 2)
    /// The discovery subsystem that was asked.
    public static let currentDiscovery = SubsystemType(rawValue: 3)
}

/// Transport Requirements (TREQ): bits 1:0 secure channel.
public struct TransportRequirements: OptionSet, Hashable, Sendable, OpenValue {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// Secure channel required: 1.
    public static let secureChannelRequired = TransportRequirements(rawValue: 1)
    /// Secure channel not required: 2.
    public static let secureChannelNotRequired = TransportRequirements(rawValue: 2)
    /// The controller can do without SQ flow control.
    public static let disableSQFlowControl = TransportRequirements(rawValue: 1 << 2)
}

/// Entry Flags (EFLAGS).
public struct DiscoveryEntryFlags: OptionSet, Hashable, Sendable, OpenValue {
    public let rawValue: UInt16
    public init(rawValue: UInt16) { self.rawValue = rawValue }
    /// Duplicate Returned Information (DUPRETINFO): each port of the discovery subsystem returns the same.
    public static let duplicateReturnedInformation = DiscoveryEntryFlags(rawValue: 1 << 0)
    /// Explicit Persistent Connection Support for Discovery (EPCSD).
    public static let persistentConnection = DiscoveryEntryFlags(rawValue: 1 << 1)
}

/// RDMA Provider Type (RDMA_PRTYPE). Values without a name are kept.
public struct RDMAProvider: RawRepresentable, Hashable, Sendable, OpenValue {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// Not specified: 1.
    public static let notSpecified = RDMAProvider(rawValue: 1)
    /// InfiniBand: 2.
    public static let infiniBand = RDMAProvider(rawValue: 2)
    /// RoCE: 3.
    public static let roce = RDMAProvider(rawValue: 3)
    /// RoCE v2: 4.
    public static let roceV2 = RDMAProvider(rawValue: 4)
    /// iWARP: 5.
    public static let iwarp = RDMAProvider(rawValue: 5)
}
