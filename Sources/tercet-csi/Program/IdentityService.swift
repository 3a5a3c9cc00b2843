import CSIInterface
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
    ) async throws -> Csi_V1_GetPluginCapabilitiesResponse { .init() }

    /// Not ready is not broken: a driver that is started anew would not bring tercet-volumed back.
    func probe(request: Csi_V1_ProbeRequest, context: ServerContext) async throws -> Csi_V1_ProbeResponse {
        let isReady = await calls.reachDaemon("Probe")
        return .with { $0.ready = .with { $0.value = isReady } }
    }
}

/// gRPC's health service. The server as a whole serves while it runs; the node service while tercet-volumed answers.
struct HealthService: Grpc_Health_V1_Health.SimpleServiceProtocol {
    let calls: RunningCalls

    func check(
        request: Grpc_Health_V1_HealthCheckRequest, context: ServerContext
    ) async throws -> Grpc_Health_V1_HealthCheckResponse {
        let isServing =
            switch request.service {
            case "", Csi_V1_Identity.descriptor.fullyQualifiedService: !calls.isStopping
            case Csi_V1_Node.descriptor.fullyQualifiedService: await calls.reachDaemon("Check")
            default: throw RPCError(code: .notFound, message: "there is no service \(request.service.prefix(140))")
            }
        return .with { $0.status = isServing ? .serving : .notServing }
    }
}

extension RunningCalls {
    /// Seconds within which tercet-volumed has to say that it is there.
    private static let patienceSeconds: UInt32 = 5

    /// Whether tercet-volumed answers; a change of that is logged.
    fileprivate func reachDaemon(_ name: String) async -> Bool {
        do {
            try await make(name, level: .debug, failureLevel: .debug, timeoutSeconds: Self.patienceSeconds) { agent in
                try agent.checkDaemon()
            }
            noteDaemon(nil)
            return true
        } catch {
            noteDaemon((error as? RPCError)?.message ?? "\(error)")
            return false
        }
    }
}
