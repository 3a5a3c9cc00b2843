import CSIInterface
import ControllerCalls
import GRPCCore
import Logging
import NodeAgent
import SwiftProtobuf

/// CSI's controller service: each call is one of `tercet controller`.
struct ControllerService: Csi_V1_Controller.SimpleServiceProtocol {
    let calls: RunningCalls
    let program: ControllerProgram

    /// The capabilities of the controller, and of the driver that has one. A volume grows while no node has it.
    static let capabilities: [Csi_V1_ControllerServiceCapability.RPC.TypeEnum] = [
        .createDeleteVolume, .publishUnpublishVolume, .listVolumes, .getCapacity, .expandVolume,
        .listVolumesPublishedNodes,
        .getVolume, .singleNodeMultiWriter, .modifyVolume,
    ]

    func createVolume(
        request: Csi_V1_CreateVolumeRequest, context: ServerContext
    ) async throws -> Csi_V1_CreateVolumeResponse {
        try await calls.make("CreateVolume", volume: request.name) { [program] _ in
            let volume = try await program.volume(.create(VolumeWish(request)))
            return .with { $0.volume = Csi_V1_Volume(volume) }
        }
    }

    func deleteVolume(
        request: Csi_V1_DeleteVolumeRequest, context: ServerContext
    ) async throws -> Csi_V1_DeleteVolumeResponse {
        try await calls.make("DeleteVolume", volume: request.volumeID) { [program] _ in
            _ = try await program.answer(.delete(volume: Self.given(request.volumeID)))
            return .init()
        }
    }

    func controllerPublishVolume(
        request: Csi_V1_ControllerPublishVolumeRequest, context: ServerContext
    ) async throws -> Csi_V1_ControllerPublishVolumeResponse {
        try await calls.make("ControllerPublishVolume", volume: request.volumeID) { [program] _ in
            let (volume, node) = (try Self.given(request.volumeID), try Self.given(node: request.nodeID))
            _ = try VolumeUse(request.hasVolumeCapability ? request.volumeCapability : nil)
            guard !request.readonly else {
                throw NodeError(.invalidArgument, "a volume is not published to a node read-only; a pod's mount can be")
            }
            let published = try await program.volume(.publish(volume: volume, node: node))
            return .with {
                $0.publishContext = published.limits.parameters
                $0.publishContext["members"] = published.members.joined(separator: ",")
                $0.publishContext["takeOver"] = "\(published.takesOver)"
            }
        }
    }

    func controllerUnpublishVolume(
        request: Csi_V1_ControllerUnpublishVolumeRequest, context: ServerContext
    ) async throws -> Csi_V1_ControllerUnpublishVolumeResponse {
        try await calls.make("ControllerUnpublishVolume", volume: request.volumeID) { [program] _ in
            _ = try await program.answer(
                .unpublish(volume: Self.given(request.volumeID), node: request.nodeID))
            return .init()
        }
    }

    func validateVolumeCapabilities(
        request: Csi_V1_ValidateVolumeCapabilitiesRequest, context: ServerContext
    ) async throws -> Csi_V1_ValidateVolumeCapabilitiesResponse {
        try await calls.make("ValidateVolumeCapabilities", volume: request.volumeID, level: .debug) { [program] _ in
            guard !request.volumeCapabilities.isEmpty else {
                throw NodeError(.invalidArgument, "no capability is given")
            }
            _ = try await program.volume(.get(volume: Self.given(request.volumeID)))
            do throws(NodeError) {
                for capability in request.volumeCapabilities { _ = try VolumeUse(capability) }
            } catch {
                guard error.code == .failedPrecondition else { throw error }
                return .with { $0.message = error.message }
            }
            return .with {
                $0.confirmed.volumeContext = request.volumeContext
                $0.confirmed.volumeCapabilities = request.volumeCapabilities
                $0.confirmed.parameters = request.parameters
                $0.confirmed.mutableParameters = request.mutableParameters
            }
        }
    }

    func listVolumes(
        request: Csi_V1_ListVolumesRequest, context: ServerContext
    ) async throws -> Csi_V1_ListVolumesResponse {
        try await calls.make("ListVolumes", level: .debug) { [program] _ in
            guard request.maxEntries >= 0 else {
                throw NodeError(.invalidArgument, "\(request.maxEntries) entries cannot be; allowed: 0 and more")
            }
            let answer = try await program.answer(.list(most: Int(request.maxEntries), after: request.startingToken))
            return .with {
                $0.entries = (answer.volumes ?? []).map { volume in
                    .with {
                        $0.volume = Csi_V1_Volume(volume)
                        $0.status.publishedNodeIds = volume.node.map { [$0] } ?? []
                    }
                }
                $0.nextToken = answer.next ?? ""
            }
        }
    }

    func controllerGetVolume(
        request: Csi_V1_ControllerGetVolumeRequest, context: ServerContext
    ) async throws -> Csi_V1_ControllerGetVolumeResponse {
        try await calls.make("ControllerGetVolume", volume: request.volumeID, level: .debug) { [program] _ in
            let volume = try await program.volume(.get(volume: Self.given(request.volumeID)))
            return .with {
                $0.volume = Csi_V1_Volume(volume)
                $0.status.publishedNodeIds = volume.node.map { [$0] } ?? []
            }
        }
    }

    func getCapacity(
        request: Csi_V1_GetCapacityRequest, context: ServerContext
    ) async throws -> Csi_V1_GetCapacityResponse {
        try await calls.make("GetCapacity", level: .debug) { [program] _ in
            do throws(NodeError) {
                for capability in request.volumeCapabilities { _ = try VolumeUse(capability) }
            } catch {
                // There is no room for what cannot be.
                guard error.code == .failedPrecondition else { throw error }
                return .init()
            }
            let domain = try request.hasAccessibleTopology ? request.accessibleTopology.domain() : nil
            let capacity = try await program.answer(.capacity(parameters: request.parameters, domain: domain)).capacity
            return .with {
                $0.availableCapacity = Int64(clamping: capacity?.total ?? 0)
                $0.maximumVolumeSize = .with { $0.value = Int64(clamping: capacity?.largest ?? 0) }
                $0.minimumVolumeSize = .with { $0.value = Int64(clamping: capacity?.smallest ?? 0) }
            }
        }
    }

    func controllerExpandVolume(
        request: Csi_V1_ControllerExpandVolumeRequest, context: ServerContext
    ) async throws -> Csi_V1_ControllerExpandVolumeResponse {
        try await calls.make("ControllerExpandVolume", volume: request.volumeID) { [program] _ in
            guard request.hasCapacityRange else { throw NodeError(.invalidArgument, "the new size is missing") }
            let (least, most) = try request.capacityRange.limits()
            if request.hasVolumeCapability { _ = try VolumeUse(request.volumeCapability) }
            let volume = try await program.volume(
                .expand(volume: Self.given(request.volumeID), leastBytes: least, mostBytes: most))
            var isBlock = false
            if case .block = request.volumeCapability.accessType { isBlock = true }
            return .with { [isBlock] in
                $0.capacityBytes = Int64(clamping: volume.size)
                $0.nodeExpansionRequired = !isBlock
            }
        }
    }

    func controllerModifyVolume(
        request: Csi_V1_ControllerModifyVolumeRequest, context: ServerContext
    ) async throws -> Csi_V1_ControllerModifyVolumeResponse {
        try await calls.make("ControllerModifyVolume", volume: request.volumeID) { [program] _ in
            guard !request.mutableParameters.isEmpty else {
                throw NodeError(.invalidArgument, "no parameter is given that is to be changed")
            }
            _ = try await program.answer(
                .modify(volume: Self.given(request.volumeID), parameters: request.mutableParameters))
            return .init()
        }
    }

    func controllerGetCapabilities(
        request: Csi_V1_ControllerGetCapabilitiesRequest, context: ServerContext
    ) async throws -> Csi_V1_ControllerGetCapabilitiesResponse {
        .with { response in response.capabilities = Self.capabilities.map { type in .with { $0.rpc.type = type } } }
    }

    private static func given(_ volume: String) throws(NodeError) -> String {
        guard !volume.isEmpty else { throw NodeError(.invalidArgument, "the volume's name is empty") }
        return volume
    }

    private static func given(node: String) throws(NodeError) -> String {
        guard (1...DriverSettings.longestNode).contains(node.utf8.count) else {
            throw NodeError(
                .invalidArgument,
                "the node's name has \(node.utf8.count) bytes; allowed: 1 to \(DriverSettings.longestNode)")
        }
        return node
    }
}

extension ControllerProgram {
    /// Does a call whose answer is a volume.
    func volume(_ request: ControllerRequest) async throws(NodeError) -> ControllerVolume {
        guard let volume = try await answer(request).volumes?.first else {
            throw NodeError(.internal, "the answer has no volume")
        }
        return volume
    }
}

extension Csi_V1_Volume {
    init(_ volume: ControllerVolume) {
        self.init()
        volumeID = volume.name
        capacityBytes = Int64(clamping: volume.size)
    }
}

extension VolumeWish {
    init(_ request: Csi_V1_CreateVolumeRequest) throws(NodeError) {
        guard !request.name.isEmpty else { throw NodeError(.invalidArgument, "the volume's name is empty") }
        guard !request.volumeCapabilities.isEmpty else { throw NodeError(.invalidArgument, "no capability is given") }
        for capability in request.volumeCapabilities {
            do throws(NodeError) { _ = try VolumeUse(capability) } catch {
                // A volume that could never be used so is not made.
                throw NodeError(.invalidArgument, error.message)
            }
        }
        guard !request.hasVolumeContentSource else {
            throw NodeError(
                .invalidArgument, "a volume begins empty: copies of snapshots and of volumes are not supported")
        }
        let (least, most) = try request.capacityRange.limits()
        let topology = request.accessibilityRequirements
        self.init(
            name: request.name, leastBytes: least, mostBytes: most, parameters: request.parameters,
            mutableParameters: request.mutableParameters,
            domains: VolumeDomains(
                allowed: try topology.requisite.map { given throws(NodeError) in try given.domain() },
                preferred: try topology.preferred.map { given throws(NodeError) in try given.domain() }))
    }
}

extension Csi_V1_Topology {
    /// The failure domain that the segments name.
    func domain() throws(NodeError) -> String {
        guard segments.count == 1, let domain = segments[VolumeDomains.segment], VolumeDomains.isValue(domain) else {
            let names = segments.keys.sorted().map { "\"\($0.prefix(140))\"" }.joined(separator: ", ")
            throw NodeError(
                .invalidArgument,
                "the segments of a topology, \(names.isEmpty ? "none" : names), are none of this driver's; allowed: "
                    + "\(VolumeDomains.segment) alone, with up to \(VolumeDomains.longest) letters, digits, '.', '_' and '-'"
            )
        }
        return domain
    }
}
