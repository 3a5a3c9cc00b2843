import ControlPlane
import ControllerCalls
import Glibc

/// Makes volumes usable on this host, as CSI's node service has it: staged once, published to each pod. Each call may be made again,
/// whatever happened to the one before; what is done already is not done twice.
public struct NodeAgent: Sendable {
    let settings: NodeSettings
    /// Told what is done, a line each.
    let report: @Sendable (String) -> Void
    /// Calls end by then.
    let deadline: ContinuousClock.Instant

    /// An agent for one call, whose time begins now.
    ///
    /// - Parameter report: called with each step, before it.
    public init(
        _ settings: NodeSettings, report: @escaping @Sendable (String) -> Void = { _ in }
    ) throws(NodeError) {
        var settings = settings
        settings.runFolder = try Self.resolved(settings.runFolder)
        self.settings = settings
        self.report = report
        deadline = .now + .seconds(Int(settings.timeoutSeconds))
    }

    /// The agent's folder as the kernel writes it in its tables; made where it is not there.
    private static func resolved(_ folder: String) throws(NodeError) -> String {
        guard folder.hasPrefix("/") else {
            throw NodeError(.invalidArgument, "the agent's folder \(folder) is not an absolute path")
        }
        let plain = "/" + folder.split(separator: "/").joined(separator: "/")
        try VolumeLock.make(plain)
        guard let path = realpath(plain, nil) else { throw HostPath.failure("realpath", plain) }
        defer { free(path) }
        return String(cString: path)
    }

    var daemon: VolumeDaemon { VolumeDaemon(socket: settings.controlSocket, deadline: deadline) }

    /// The tools of one call.
    struct Call {
        let volume: VolumeID
        let programs: HostProgram
        let devices: HostDevices
        let lock: VolumeLock
        let pathLock: PathLock?
    }

    /// Begins a call for a volume, which mounts it at a path or takes it away there. Throws `aborted` where another one is under way for
    /// either.
    func begin(_ volume: VolumeID, at path: String? = nil) throws(NodeError) -> Call {
        let folder = "\(settings.runFolder)/locks"
        let lock = try VolumeLock(volume, in: folder)
        let pathLock = try path.map { path throws(NodeError) in try PathLock(path, in: folder) }
        let programs = programs(lock)
        return Call(
            volume: volume, programs: programs,
            devices: HostDevices(daemon: daemon, settings: settings, programs: programs), lock: lock,
            pathLock: pathLock)
    }

    func programs(_ lock: VolumeLock?) -> HostProgram {
        HostProgram(lock: lock, deadline: deadline)
    }

    func owner(of volume: VolumeID) -> StageOwner { StageOwner(volume, in: settings.runFolder) }

    /// The numbers by which the kernel's tables may call a volume's device: as it is now, and as its stage has last seen it.
    func numbers(of volume: VolumeID, _ record: StageRecord?, _ devices: HostDevices) throws(NodeError)
        -> [DeviceNumber]
    {
        // The kernel gives the number of a device that is gone to the next one.
        var numbers = [record?.lastNumber].compactMap { $0 }.filter {
            !devices.isAnothers($0, volume, uuid: record?.uuid ?? "")
        }
        numbers += try self.devices(of: volume, record, devices).map(\.number)
        return numbers
    }

    /// The devices that a volume is now, of the kind of its stage, or of any kind that this agent makes.
    func devices(of volume: VolumeID, _ record: StageRecord?, _ devices: HostDevices) throws(NodeError) -> [HostDevice]
    {
        var uuid = record?.uuid ?? ""
        if uuid.isEmpty { uuid = try daemon.summary(of: volume)?.uuid ?? "" }
        guard !uuid.isEmpty else { return [] }
        let kinds = (record?.device ?? settings.deviceKind).map { [$0] } ?? HostDeviceKind.allCases
        return kinds.compactMap { devices.find($0, volume, uuid: uuid) }
    }

    /// The device of a staged volume, which has to be there. One whose server has died answers each read with an error.
    func device(of record: StageRecord, _ call: Call) async throws(NodeError) -> HostDevice {
        guard let kind = record.device, let device = call.devices.find(kind, call.volume, uuid: record.uuid) else {
            throw NodeError(
                .failedPrecondition,
                "the volume \(call.volume) is staged at \(record.stagingPath), but its device is gone: stage it again")
        }
        guard try await call.devices.answer(of: device) != .error else {
            throw NodeError(
                .failedPrecondition,
                "the volume \(call.volume) is staged at \(record.stagingPath), but its device \(device.path) is dead: unpublish it "
                    + "everywhere, unstage it, and stage it again")
        }
        return device
    }

    /// The record of a volume's stage at a path; `nil` where there is none. Throws where another volume is staged there.
    func record(_ volume: VolumeID, at stagingPath: String) throws(NodeError) -> StageRecord? {
        guard let record = try StageRecord.read(stagingPath) else { return nil }
        guard record.volume == volume.name else {
            throw NodeError(.alreadyExists, "the volume \(record.volume) is staged at \(stagingPath), not \(volume)")
        }
        return record
    }

    // MARK: Looking

    /// This node, and its ways to make volumes devices.
    public func info() -> NodeInfo {
        let devices = HostDevices(daemon: daemon, settings: settings, programs: programs(nil))
        var name = utsname()
        uname(&name)
        let node = withUnsafeBytes(of: name.nodename) { String(cString: $0.bindMemory(to: CChar.self).baseAddress!) }
        let kind = settings.deviceKind ?? devices.probe()
        return NodeInfo(
            node: node, device: kind?.rawValue,
            possibleDevices: HostDeviceKind.allCases.filter { devices.isPossible($0) }.map(\.rawValue))
    }

    /// Volumes that this host may have at the same time: those for which tercet-volumed has room.
    public func mostVolumes() throws(NodeError) -> Int { try daemon.room().most }

    /// Asks tercet-volumed whether it is there; throws what is wrong where it is not.
    public func checkDaemon() throws(NodeError) { _ = try daemon.list() }

    /// The volumes of this host's daemon that are devices, and where they are mounted.
    public func list() throws(NodeError) -> [NodeVolume] { try found().map(\.volume) }

    /// The same, with their devices.
    func found() throws(NodeError) -> [(volume: NodeVolume, device: HostDevice)] {
        let table = try MountTable.current()
        let devices = HostDevices(daemon: daemon, settings: settings, programs: programs(nil))
        var found: [(NodeVolume, HostDevice)] = []
        for summary in try daemon.list() where !summary.uuid.isEmpty {
            guard let volume = try? VolumeID(summary.name) else { continue }
            for kind in HostDeviceKind.allCases {
                guard let device = devices.find(kind, volume, uuid: summary.uuid) else { continue }
                let volume = NodeVolume(
                    volume: summary.name, uuid: summary.uuid, bytes: summary.bytes, phase: summary.phase,
                    device: device.path, kind: kind.rawValue, paths: table.uses(of: device.number).sorted())
                found.append((volume, device))
            }
        }
        return found
    }
}

/// A node, and its ways to make volumes devices.
public struct NodeInfo: Codable, Equatable, Sendable {
    /// The host's name, which is the node's.
    public var node: String
    /// The kind of device that volumes become; none where the host has no way.
    public var device: String?
    public var possibleDevices: [String]
}

/// A volume that is a device of this host.
public struct NodeVolume: Codable, Equatable, Sendable {
    public var volume: String
    public var uuid: String
    public var bytes: UInt64
    /// As tercet-volumed lists it.
    public var phase: String
    public var device: String
    public var kind: String
    /// Paths at which it is mounted: staged, and published.
    public var paths: [String]
}
