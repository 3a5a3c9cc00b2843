import CSIInterface
import ControllerCalls
import GRPCCore
import Logging
import NodeAgent
import SwiftProtobuf

/// CSI's identity service: the driver's name, and whether it can do its work.
struct IdentityService: Csi_V1_Identity.SimpleServiceProtocol {
    static let name = "csi.tercet"
    static let version = "0.1"

    let calls: RunningCalls

    func getPluginInfo(
        request: Csi_V1_GetPluginInfoRequest, context: ServerContext
    ) async throws -> Csi_V1_GetPluginInfoResponse {
        .with {
            $0.name = Self.name
            $0.vendorVersion = Self.version
        }
    }

    func getPluginCapabilities(
        request: Csi_V1_GetPluginCapabilitiesRequest, context: ServerContext
    ) async throws -> Csi_V1_GetPluginCapabilitiesResponse {
        guard calls.isController else { return .init() }
        let services: [Csi_V1_PluginCapability.Service.TypeEnum] =
            calls.hasTopology ? [.controllerService, .volumeAccessibilityConstraints] : [.controllerService]
        return .with {
            $0.capabilities = services.map { type in .with { $0.service.type = type } }
            $0.capabilities.append(.with { $0.volumeExpansion.type = .offline })
        }
    }

    /// Not ready is not broken: a driver that is started anew would bring back neither tercet-volumed nor the registry.
    func probe(request: Csi_V1_ProbeRequest, context: ServerContext) async throws -> Csi_V1_ProbeResponse {
        let isReady = await calls.reachPeers("Probe")
        return .with { $0.ready = .with { $0.value = isReady } }
    }
}

/// gRPC's health service. The server as a whole serves while it runs; the node service while tercet-volumed answers, and the controller
/// while the registry does.
struct HealthService: Grpc_Health_V1_Health.SimpleServiceProtocol {
    let calls: RunningCalls

    func check(
        request: Grpc_Health_V1_HealthCheckRequest, context: ServerContext
    ) async throws -> Grpc_Health_V1_HealthCheckResponse {
        let isServing =
            switch request.service {
            case "", Csi_V1_Identity.descriptor.fullyQualifiedService: !calls.isStopping
            case Csi_V1_Node.descriptor.fullyQualifiedService where calls.isNode:
                await calls.reach(.daemon, "Check")
            case Csi_V1_Controller.descriptor.fullyQualifiedService where calls.isController:
                await calls.reach(.registry, "Check")
            default: throw RPCError(code: .notFound, message: "there is no service \(request.service.prefix(140))")
            }
        return .with { $0.status = isServing ? .serving : .notServing }
    }
}

extension RunningCalls {
    /// Seconds within which tercet-volumed, or the registry, has to say that it is there.
    private static let patienceSeconds: UInt32 = 5

    /// Whether all that the calls need answers.
    fileprivate func reachPeers(_ name: String) async -> Bool {
        for peer in Peer.allCases where peer == .daemon ? isNode : isController {
            guard await reach(peer, name) else { return false }
        }
        return true
    }

    /// Whether what some calls need answers; a change of that is logged.
    fileprivate func reach(_ peer: Peer, _ name: String) async -> Bool {
        let program = peer == .registry ? controller(timeoutSeconds: Self.patienceSeconds) : nil
        do {
            try await make(name, level: .debug, failureLevel: .debug, timeoutSeconds: Self.patienceSeconds) { agent in
                if let program { _ = try await program.answer(.ready) } else { try agent.checkDaemon() }
            }
            note(peer, nil)
            return true
        } catch {
            note(peer, (error as? RPCError)?.message ?? "\(error)")
            return false
        }
    }
}
