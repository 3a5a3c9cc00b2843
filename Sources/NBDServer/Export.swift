import Base
import BlockInterface
import NBDProtocol
import Synchronization

/// A block device under a name, for clients. Servers of several reactors share it.
public final class Export: Sendable {
    public let name: String
    /// For people who list exports.
    public let text: String
    public let device: any BlockDevice
    /// The server that its sessions run on: best on the reactor that the device lives on.
    public let home: Int
    /// Keeps changes of parts of a block apart from all other changes of it.
    public let ranges = RangeLock()
    private let sessions = Atomic<Int>(0)

    /// Sessions that an export has at once.
    public static let maximumSessions = 16

    public init(name: String, text: String = "", device: any BlockDevice, home: Int = 0) {
        self.name = name
        self.text = text
        self.device = device
        self.home = home
    }

    /// Sessions that it has now.
    public var sessionCount: Int { sessions.load(ordering: .relaxed) }

    /// Takes the place of a session; `false` where all are taken. The kernel's own always has one.
    func open(isDevice: Bool = false) -> Bool {
        if sessions.add(1, ordering: .relaxed).newValue <= Self.maximumSessions || isDevice { return true }
        sessions.subtract(1, ordering: .relaxed)
        return false
    }

    func close() { sessions.subtract(1, ordering: .relaxed) }

    /// A session with it behind the handshake, as the kernel's client has it.
    public var deviceSession: NBDSession {
        let description = description
        return NBDSession(
            form: .simple, size: description.size, flags: description.flags.subtracting(.sendDF))
    }

    /// Its description in the handshake.
    ///
    /// Several connections are promised to be one to a flush (multi-conn): a device's flush covers all that has completed,
    /// whichever channel it went through.
    var description: NBDExportDescription {
        let geometry = device.geometry
        var flags: NBDTransmissionFlags = [
            .hasFlags, .sendFlush, .sendFUA, .sendTrim, .sendWriteZeroes, .sendDF, .canMultiConn, .sendCache,
            .sendFastZero,
        ]
        if geometry.isReadOnly {
            flags.insert(.readOnly)
            flags.subtract([.sendTrim, .sendWriteZeroes, .sendFastZero])
        }
        return NBDExportDescription(
            name: name, text: text, size: geometry.byteCount, flags: flags, minimumBlock: geometry.blockSize,
            preferredBlock: max(4096, geometry.blockSize, min(geometry.optimalIOSize, NBDSize.maximumPayload))
                .roundedToPowerOfTwo)
    }
}

extension UInt32 {
    /// The greatest power of two that is no greater.
    fileprivate var roundedToPowerOfTwo: UInt32 { self == 0 ? 0 : 1 << (31 - UInt32(leadingZeroBitCount)) }
}

/// The exports that there are now, by name.
public final class ExportList: Sendable {
    private let exports = Mutex<[Export]>([])

    public init() {}

    /// In the order in which they were added.
    public var all: [Export] { exports.withLock { $0 } }

    /// Adds an export; throws `exists` where its name is taken.
    public func add(_ export: Export) throws(TercetError) {
        let isNew = exports.withLock { exports in
            if exports.contains(where: { $0.name == export.name }) { return false }
            exports.append(export)
            return true
        }
        if !isNew { throw TercetError(.exists, "there is an export \"\(export.name)\" already") }
    }

    /// Takes an export out: no session begins with it from here on.
    public func remove(_ name: String) -> Export? {
        exports.withLock { exports in
            exports.firstIndex { $0.name == name }.map { exports.remove(at: $0) }
        }
    }

    func contains(_ export: Export) -> Bool { exports.withLock { $0.contains { $0 === export } } }
}
