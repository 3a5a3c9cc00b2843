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
    let isController: Bool

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
        guard isController else { return .init() }
        return .with {
            $0.capabilities = [
                .with { $0.service.type = .controllerService }, .with { $0.volumeExpansion.type = .offline },
            ]
        }
    }

    /// Not ready is not broken: a driver that is started anew would bring back neither tercet-volumed nor the registry.
    func probe(request: Csi_V1_ProbeRequest, context: ServerContext) async throws -> Csi_V1_ProbeResponse {
        let isReady = await calls.reachPeer("Probe")
        return .with { $0.ready = .with { $0.value = isReady } }
    }
}

/// gRPC's health service. The server as a whole serves while it runs; the node service while tercet-volumed answers, and the controller
/// while the registry does.
struct HealthService: Grpc_Health_V1_Health.SimpleServiceProtocol {
    let calls: RunningCalls
    let isController: Bool

    func check(
        request: Grpc_Health_V1_HealthCheckRequest, context: ServerContext
    ) async throws -> Grpc_Health_V1_HealthCheckResponse {
        let isServing =
            switch request.service {
            case "", Csi_V1_Identity.descriptor.fullyQualifiedService: !calls.isStopping
            case Csi_V1_Node.descriptor.fullyQualifiedService where !isController,
                Csi_V1_Controller.descriptor.fullyQualifiedService where isController:
                await calls.reachPeer("Check")
            default: throw RPCError(code: .notFound, message: "there is no service \(request.service.prefix(140))")
            }
        return .with { $0.status = isServing ? .serving : .notServing }
    }
}

extension RunningCalls {
    /// Seconds within which tercet-volumed, or the registry, has to say that it is there.
    private static let patienceSeconds: UInt32 = 5

    /// Whether what the calls need answers, tercet-volumed or the registry; a change of that is logged.
    fileprivate func reachPeer(_ name: String) async -> Bool {
        let program = controller(timeoutSeconds: Self.patienceSeconds)
        do {
            try await make(name, level: .debug, failureLevel: .debug, timeoutSeconds: Self.patienceSeconds) { agent in
                if let program { _ = try await program.answer(.ready) } else { try agent.checkDaemon() }
            }
            notePeer(nil)
            return true
        } catch {
            notePeer((error as? RPCError)?.message ?? "\(error)")
            return false
        }
    }
}
