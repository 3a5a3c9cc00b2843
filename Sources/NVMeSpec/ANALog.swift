/// Asymmetric Namespace Access State (NVMe Base, "Asymmetric Namespace Access states").
public enum ANAState: UInt8, CaseIterable, Sendable, BitwiseCopyable {
    case optimized = 0x1
    case nonOptimized = 0x2
    case inaccessible = 0x3
    case persistentLoss = 0x4
    case change = 0xF
}

/// Asymmetric Namespace Access log page (NVMe Base, "Asymmetric Namespace Access (Log Page Identifier 0Ch)").
public struct ANALog: Hashable, Sendable {
    /// Bytes before the first group.
    public static let headerByteCount = 16

    /// Change Count.
    public var changeCount: UInt64
    /// ANA Group Descriptors, with ascending identifiers.
    public var groups: [Group]

    public init(changeCount: UInt64, groups: [Group]) {
        self.changeCount = changeCount
        self.groups = groups
    }

    /// ANA Group Descriptor.
    public struct Group: Hashable, Sendable {
        /// Bytes before the namespace identifiers.
        public static let headerByteCount = 32

        /// ANA Group ID: 1 and up.
        public var id: UInt32
        /// Change Count of this group.
        public var changeCount: UInt64
        /// Asymmetric Namespace Access State.
        public var state: ANAState
        /// The group's namespaces, ascending; none if only groups were asked for.
        public var namespaces: [UInt32]

        public init(id: UInt32, changeCount: UInt64, state: ANAState, namespaces: [UInt32]) {
            self.id = id
            self.changeCount = changeCount
            self.state = state
            self.namespaces = namespaces
        }

        fileprivate func header(namespaceCount: Int) -> [UInt8] {
            var header = [UInt8](repeating: 0, count: Group.headerByteCount)
            header.withUnsafeMutableBytes { bytes in
                bytes.baseAddress?.store32(id, at: 0)
                bytes.baseAddress?.store32(UInt32(namespaceCount), at: 4)
                bytes.baseAddress?.store64(changeCount, at: 8)
                bytes.baseAddress?.store8(state.rawValue, at: 16)
            }
            return header
        }
    }

    /// Bit of the Log Specific Parameter: Return Groups Only (RGO).
    public static let returnGroupsOnly: UInt8 = 1

    /// The log's bytes.
    ///
    /// - Parameter groupsOnly: leave out namespaces, as RGO asks.
    public func encoded(groupsOnly: Bool = false) -> [UInt8] {
        let total = byteCount(groupsOnly: groupsOnly)
        return [UInt8](unsafeUninitializedCapacity: total) { buffer, count in
            buffer.initialize(repeating: 0)
            count = total
            write(to: PageWindow(offset: 0, UnsafeMutableRawBufferPointer(buffer)), groupsOnly: groupsOnly)
        }
    }

    /// Bytes of the log.
    public func byteCount(groupsOnly: Bool = false) -> Int {
        let namespaceCount = groupsOnly ? 0 : groups.reduce(0) { $0 + $1.namespaces.count }
        return ANALog.headerByteCount + groups.count * Group.headerByteCount + namespaceCount * 4
    }

    /// Writes the part of the log that falls into a window.
    public func write(to window: PageWindow, groupsOnly: Bool = false) {
        var header = [UInt8](repeating: 0, count: ANALog.headerByteCount)
        header.withUnsafeMutableBytes { bytes in
            bytes.baseAddress?.store64(changeCount, at: 0)
            bytes.baseAddress?.store16(UInt16(clamping: groups.count), at: 8)
        }
        window.place(header, at: 0)
        var position = ANALog.headerByteCount
        for group in groups {
            let namespaces = groupsOnly ? [] : group.namespaces
            let end = position + Group.headerByteCount + namespaces.count * 4
            if window.range.overlaps(position..<end) {
                window.place(group.header(namespaceCount: namespaces.count), at: position)
                window.place(namespaces, at: position + Group.headerByteCount)
            }
            position = end
        }
    }

    /// Decodes a log that was read whole.
    ///
    /// - Throws: when it says that it is longer than `bytes`, or names a state that does not exist.
    public init(decoding bytes: UnsafeRawBufferPointer) throws(MalformedStructure) {
        guard let base = bytes.baseAddress, bytes.count >= ANALog.headerByteCount else {
            throw MalformedStructure("ANA log", "\(bytes.count) bytes")
        }
        changeCount = base.load64(at: 0)
        groups = []
        var offset = ANALog.headerByteCount
        for _ in 0..<base.load16(at: 8) {
            guard bytes.count - offset >= Group.headerByteCount else {
                throw MalformedStructure("ANA log", "a group beyond its \(bytes.count) bytes")
            }
            let namespaceCount = Int(base.load32(at: offset + 4))
            guard let state = ANAState(rawValue: base.load8(at: offset + 16) & 0xF) else {
                throw MalformedStructure("ANA log", "state \(base.load8(at: offset + 16))")
            }
            guard namespaceCount <= (bytes.count - offset - Group.headerByteCount) / 4 else {
                throw MalformedStructure("ANA log", "\(namespaceCount) namespaces beyond its \(bytes.count) bytes")
            }
            let list = base + offset + Group.headerByteCount
            groups.append(
                Group(
                    id: base.load32(at: offset), changeCount: base.load64(at: offset + 8), state: state,
                    namespaces: (0..<namespaceCount).map { list.load32(at: $0 * 4) }))
            offset += Group.headerByteCount + namespaceCount * 4
        }
    }
}
