import Foundation

/// The methods of `tercet-volumed`'s control socket, with their parameters and results.
public enum VolumeMethod {
    /// `NoParameters` to `VolumeDaemonState`.
    public static let get = TargetMethod.get
    /// `NoParameters` to `[VolumeSummary]`.
    public static let list = "list"
    /// `NoParameters` to `VolumeRoom`.
    public static let room = "room"
    /// `NoParameters` to `VolumeCounters`.
    public static let statistics = "statistics"
    /// `VolumeName` to `VolumeExplanation`.
    public static let explain = "explain"
    /// `VolumeToAttach` to `VolumeSummary`.
    public static let attach = "attach"
    /// `VolumeName` to `VolumeName`.
    public static let detach = "detach"
    /// `ExportRequest` to `ExportRequest`.
    public static let export = "export"
    /// `ExportRequest` to `ExportRequest`.
    public static let unexport = "unexport"
    /// `ContentsMark` to `ContentsMark`.
    public static let mark = "mark"
    /// `LimitsRequest` to `LimitsRequest`, in which all are given.
    public static let limit = "limit"
    /// `VolumeHandOver` to `VolumeHandOver`, in which all is given.
    public static let handOverVolume = "handOverVolume"
    /// `NoParameters` to `TraceFileName`.
    public static let dumpTrace = TargetMethod.dumpTrace
    /// `NoParameters` to `NoParameters`: the daemon ends in good order.
    public static let shutdown = TargetMethod.shutdown
}

/// A volume that goes from one daemon to another that stands by.
public struct VolumeHandOver: Codable, Equatable, Sendable {
    public var name: String
    /// The daemon that is to serve it; `nil` for any.
    public var successor: String?
    /// The time from the last moment at which this daemon served it to the moment at which it was the other's.
    public var milliseconds: Double?

    public init(name: String, successor: String? = nil, milliseconds: Double? = nil) {
        self.name = name
        self.successor = successor
        self.milliseconds = milliseconds
    }
}

/// A volume's place among several daemons.
public struct VolumeOwnership: Codable, Equatable, Sendable {
    /// The asked daemon.
    public var daemon: String
    /// Its part: `serving`, `standing by`, `attaching` and so on.
    public var role: String
    /// The daemon that owns the volume; `nil` if none does, or the registry has not been seen.
    public var owner: String?
    /// The moment at which the asked daemon has seen that, in RFC 3339.
    public var since: String?
    /// The moment until which the asked daemon's lease lasts if it is not renewed, in RFC 3339; `nil` if it has none.
    public var leaseEnd: String?
    /// The daemons that stand by.
    public var standbys: [String]

    public init(
        daemon: String, role: String, owner: String?, since: String?, leaseEnd: String?, standbys: [String]
    ) {
        self.daemon = daemon
        self.role = role
        self.owner = owner
        self.since = since
        self.leaseEnd = leaseEnd
        self.standbys = standbys
    }

    /// The same in words.
    public var words: String {
        let owned = owner.map { "\($0) owns it" + (since.map { " since \($0)" } ?? "") } ?? "nobody owns it"
        let lease = leaseEnd.map { "leased until \($0) unless renewed" } ?? "without a lease"
        return
            "\(owned); this daemon, \(daemon): \(role), \(lease); standing by: "
            + (standbys.isEmpty ? "none" : standbys.joined(separator: ", "))
    }
}

/// Limits of a volume's users; those that are not given stay as they are.
public struct LimitsRequest: Codable, Equatable, Sendable {
    public var name: String
    /// 0 for no limit.
    public var iosPerSecond: UInt64?
    /// 0 for no limit.
    public var bytesPerSecond: UInt64?
    /// The weight beside other volumes, if they compete; 100 unless given.
    public var weight: UInt32?

    public init(name: String, iosPerSecond: UInt64? = nil, bytesPerSecond: UInt64? = nil, weight: UInt32? = nil) {
        self.name = name
        self.iosPerSecond = iosPerSecond
        self.bytesPerSecond = bytesPerSecond
        self.weight = weight
    }
}

/// Volumes that are attached by control, beside those of the daemon's configuration.
public struct VolumeRoom: Codable, Equatable, Sendable {
    /// How many there may be.
    public var most: Int
    /// How many there are, those that are being attached among them.
    public var present: Int

    public init(most: Int, present: Int) {
        self.most = most
        self.present = present
    }
}

/// A mark of a volume's contents.
public struct ContentsMark: Codable, Equatable, Sendable {
    public var name: String
    /// `blank`, `being formatted` or `written`.
    public var contents: String

    public init(name: String, contents: String) {
        self.name = name
        self.contents = contents
    }
}

public struct VolumeName: Codable, Equatable, Sendable {
    public var name: String
    public init(name: String) { self.name = name }
}

public struct VolumeToAttach: Codable, Equatable, Sendable {
    public var name: String
    /// Three, as `ADDRESS:PORT/SUBNQN/NSID`.
    public var members: [String]
    /// A host that has it attached is fenced.
    public var takeOver: Bool?

    public init(name: String, members: [String], takeOver: Bool? = nil) {
        self.name = name
        self.members = members
        self.takeOver = takeOver
    }
}

public struct ExportRequest: Codable, Equatable, Sendable {
    /// The volume, or the device.
    public var name: String
    /// The name that clients know it by; the volume's where not given.
    public var exportName: String?
    /// `nbd`, which it is where not given, `kernel-nbd`, or `ublk`.
    public var kind: String?

    public init(name: String, exportName: String? = nil, kind: String? = nil) {
        self.name = name
        self.exportName = exportName
        self.kind = kind
    }
}

/// One line of a list of volumes and devices.
public struct VolumeSummary: Codable, Equatable, Sendable {
    public var name: String
    /// Empty for a device of this machine.
    public var uuid: String
    public var bytes: UInt64
    /// `serving`, `suspended` and so on; `waiting` for one that is not attached yet, `device` for a device.
    public var phase: String
    public var exports: [String]
    public var sessions: Int
    /// Paths of the block devices of this machine that it is.
    public var blockDevices: [String]
    /// `nil` for a volume that is not shared with other daemons.
    public var ownership: VolumeOwnership?

    public init(
        name: String, uuid: String, bytes: UInt64, phase: String, exports: [String], sessions: Int,
        blockDevices: [String] = [], ownership: VolumeOwnership? = nil
    ) {
        self.ownership = ownership
        self.name = name
        self.uuid = uuid
        self.bytes = bytes
        self.phase = phase
        self.exports = exports
        self.sessions = sessions
        self.blockDevices = blockDevices
    }
}

/// Why a volume is as it is.
public struct VolumeExplanation: Codable, Equatable, Sendable {
    public struct Member: Codable, Equatable, Sendable {
        public var number: Int
        public var address: String
        /// `in sync`, `behind`, `away`, or `not attached`.
        public var state: String
        /// RFC 3339.
        public var since: String
        /// The event that brought it about.
        public var cause: String
        /// Regions that are to be copied to it, and their bytes.
        public var behindRegions: Int
        public var behindBytes: UInt64

        public init(
            number: Int, address: String, state: String, since: String, cause: String, behindRegions: Int = 0,
            behindBytes: UInt64 = 0
        ) {
            self.number = number
            self.address = address
            self.state = state
            self.since = since
            self.cause = cause
            self.behindRegions = behindRegions
            self.behindBytes = behindBytes
        }
    }

    public struct Event: Codable, Equatable, Sendable {
        /// RFC 3339.
        public var time: String
        public var text: String

        public init(time: String, text: String) {
            self.time = time
            self.text = text
        }
    }

    public var name: String
    public var uuid: String
    public var phase: String
    /// `blank` if nothing was ever written, `being formatted`, or `written`; empty while the volume is not attached.
    public var contents: String
    public var since: String
    public var cause: String
    public var members: [Member]
    /// Regions in which members that are in sync may differ since an attachment ended without a detach, and their bytes: they are
    /// made equal, each before it is read.
    public var regionsToMakeEqual: Int
    public var bytesToMakeEqual: UInt64
    /// Conditions for all to be well, a sentence each; empty if all is well.
    public var needs: [String]
    /// Risks of a step that forces it, a sentence each.
    public var risks: [String]
    /// The last events, oldest first.
    public var events: [Event]
    /// `nil` for a volume that is not shared with other daemons.
    public var ownership: VolumeOwnership?

    public init(
        name: String, uuid: String, phase: String, contents: String = "", since: String, cause: String,
        members: [Member], regionsToMakeEqual: Int = 0, bytesToMakeEqual: UInt64 = 0, needs: [String],
        risks: [String], events: [Event]
    ) {
        self.name = name
        self.uuid = uuid
        self.phase = phase
        self.contents = contents
        self.since = since
        self.cause = cause
        self.members = members
        self.regionsToMakeEqual = regionsToMakeEqual
        self.bytesToMakeEqual = bytesToMakeEqual
        self.needs = needs
        self.risks = risks
        self.events = events
    }
}
