import Base
import ControlPlane
import ControllerCalls

/// tercet-volumed of this host, which has the volumes: asked at its control socket.
struct VolumeDaemon {
    let socket: String
    let deadline: ContinuousClock.Instant

    /// The volume as the daemon lists it; `nil` where it has none of that name.
    func summary(of volume: VolumeID) throws(NodeError) -> VolumeSummary? {
        try list().first { $0.name == volume.name && $0.phase != "device" }
    }

    func list() throws(NodeError) -> [VolumeSummary] {
        try call(VolumeMethod.list, NoParameters(), returning: [VolumeSummary].self)
    }

    func room() throws(NodeError) -> VolumeRoom {
        try call(VolumeMethod.room, NoParameters(), returning: VolumeRoom.self)
    }

    func explain(_ volume: VolumeID) throws(NodeError) -> VolumeExplanation {
        try call(VolumeMethod.explain, VolumeName(name: volume.name), returning: VolumeExplanation.self)
    }

    func attach(_ volume: VolumeID, _ members: [String], takesOver: Bool) throws(NodeError) {
        _ = try call(
            VolumeMethod.attach, VolumeToAttach(name: volume.name, members: members, takeOver: takesOver),
            returning: VolumeSummary.self)
    }

    func detach(_ volume: VolumeID) throws(NodeError) {
        _ = try call(VolumeMethod.detach, VolumeName(name: volume.name), returning: VolumeName.self)
    }

    /// Makes the volume an export, or a device of the kernel; nothing where it is one already.
    func export(_ volume: VolumeID, as name: String, kind: String) throws(NodeError) {
        let request = ExportRequest(name: volume.name, exportName: name, kind: kind)
        do throws(NodeError) {
            _ = try call(VolumeMethod.export, request, returning: ExportRequest.self)
        } catch {
            guard error.code == .alreadyExists else { throw error }
        }
    }

    /// Takes an export back; nothing where there is none.
    func unexport(_ volume: VolumeID, as name: String, kind: String) throws(NodeError) {
        let request = ExportRequest(name: volume.name, exportName: name, kind: kind)
        do throws(NodeError) {
            _ = try call(VolumeMethod.unexport, request, returning: ExportRequest.self)
        } catch {
            guard error.code == .notFound else { throw error }
        }
    }

    /// Limits the volume's users.
    func limit(_ volume: VolumeID, _ limits: LimitParameters) throws(NodeError) {
        let request = LimitsRequest(
            name: volume.name, iosPerSecond: limits.iosPerSecond, bytesPerSecond: limits.bytesPerSecond,
            weight: limits.weight.map { UInt32(clamping: $0) })
        _ = try call(VolumeMethod.limit, request, returning: LimitsRequest.self)
    }

    /// Marks what the volume holds; durable on return.
    func mark(_ volume: VolumeID, _ contents: String) throws(NodeError) {
        _ = try call(
            VolumeMethod.mark, ContentsMark(name: volume.name, contents: contents), returning: ContentsMark.self)
    }

    private func call<Result: Decodable>(
        _ method: String, _ parameters: some Encodable, returning type: Result.Type
    ) throws(NodeError) -> Result {
        let left = ContinuousClock.now.duration(to: deadline).components.seconds
        do {
            return try ControlClient(path: socket, patience: .seconds(UInt32(clamping: max(1, left))))
                .call(method, parameters, returning: type)
        } catch let error as ControlError {
            let code = error.data.flatMap { TercetError.Code(rawValue: $0) } ?? .failed
            throw NodeError(NodeCode(code), "tercet-volumed: \(error.message)")
        } catch let error as TercetError {
            let code: NodeCode = error.code == .timedOut ? .deadlineExceeded : .unavailable
            // A socket that cannot be reached is named already.
            let place = error.message.hasPrefix(socket) ? "" : " at \(socket)"
            throw NodeError(code, "tercet-volumed\(place): \(error)")
        } catch {
            throw NodeError(.internal, "tercet-volumed at \(socket): \(error)")
        }
    }
}
