import CSIInterface
import ControllerCalls
import GRPCCore
import Logging
import NodeAgent
import SwiftProtobuf

/// CSI's node service: each call is one of the agent's.
struct NodeService: Csi_V1_Node.SimpleServiceProtocol {
    let calls: RunningCalls
    let settings: DriverSettings

    func nodeStageVolume(
        request: Csi_V1_NodeStageVolumeRequest, context: ServerContext
    ) async throws -> Csi_V1_NodeStageVolumeResponse {
        try await calls.make("NodeStageVolume", volume: request.volumeID) { agent in
            try await agent.stage(StageRequest(request))
            return Csi_V1_NodeStageVolumeResponse()
        }
    }

    func nodeUnstageVolume(
        request: Csi_V1_NodeUnstageVolumeRequest, context: ServerContext
    ) async throws -> Csi_V1_NodeUnstageVolumeResponse {
        try await calls.make("NodeUnstageVolume", volume: request.volumeID) { agent in
            try await agent.unstage(VolumeID(request.volumeID), stagingPath: request.stagingTargetPath)
            return Csi_V1_NodeUnstageVolumeResponse()
        }
    }

    func nodePublishVolume(
        request: Csi_V1_NodePublishVolumeRequest, context: ServerContext
    ) async throws -> Csi_V1_NodePublishVolumeResponse {
        try await calls.make("NodePublishVolume", volume: request.volumeID) { agent in
            try await agent.publish(PublishRequest(request))
            return Csi_V1_NodePublishVolumeResponse()
        }
    }

    func nodeUnpublishVolume(
        request: Csi_V1_NodeUnpublishVolumeRequest, context: ServerContext
    ) async throws -> Csi_V1_NodeUnpublishVolumeResponse {
        try await calls.make("NodeUnpublishVolume", volume: request.volumeID) { agent in
            try await agent.unpublish(VolumeID(request.volumeID), targetPath: request.targetPath)
            return Csi_V1_NodeUnpublishVolumeResponse()
        }
    }

    func nodeGetVolumeStats(
        request: Csi_V1_NodeGetVolumeStatsRequest, context: ServerContext
    ) async throws -> Csi_V1_NodeGetVolumeStatsResponse {
        try await calls.make("NodeGetVolumeStats", volume: request.volumeID, level: .debug) { agent in
            Csi_V1_NodeGetVolumeStatsResponse(
                try await agent.statistics(VolumeID(request.volumeID), path: request.volumePath))
        }
    }

    func nodeExpandVolume(
        request: Csi_V1_NodeExpandVolumeRequest, context: ServerContext
    ) async throws -> Csi_V1_NodeExpandVolumeResponse {
        try await calls.make("NodeExpandVolume", volume: request.volumeID) { agent in
            let (required, limit) = try request.capacityRange.limits()
            let bytes = try await agent.expand(
                VolumeID(request.volumeID), path: request.volumePath, requiredBytes: required, limitBytes: limit)
            return Csi_V1_NodeExpandVolumeResponse.with { $0.capacityBytes = Int64(clamping: bytes) }
        }
    }

    func nodeGetCapabilities(
        request: Csi_V1_NodeGetCapabilitiesRequest, context: ServerContext
    ) async throws -> Csi_V1_NodeGetCapabilitiesResponse {
        let types: [Csi_V1_NodeServiceCapability.RPC.TypeEnum] = [
            .stageUnstageVolume, .getVolumeStats, .expandVolume, .volumeCondition, .singleNodeMultiWriter,
            .volumeMountGroup,
        ]
        return .with { response in
            response.capabilities = types.map { type in .with { $0.rpc.type = type } }
        }
    }

    func nodeGetInfo(
        request: Csi_V1_NodeGetInfoRequest, context: ServerContext
    ) async throws -> Csi_V1_NodeGetInfoResponse {
        try await calls.make("NodeGetInfo", level: .debug) { [settings] agent in
            let room = Int64(try agent.mostVolumes())
            let most = settings.maximumVolumes == 0 ? room : min(room, settings.maximumVolumes)
            let node = settings.node ?? agent.info().node
            // The controller knows the nodes that have said so.
            if let registry = settings.nodeRegistry {
                _ = try await ControllerProgram(registry, timeoutSeconds: settings.agent.timeoutSeconds)
                    .answer(.enter(node: node, domain: settings.domain))
            }
            return .with {
                $0.nodeID = node
                $0.maxVolumesPerNode = most
                if let domain = settings.domain { $0.accessibleTopology.segments = [VolumeDomains.segment: domain] }
            }
        }
    }
}
