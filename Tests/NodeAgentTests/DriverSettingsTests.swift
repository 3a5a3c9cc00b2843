import ControllerCalls
import NodeAgent
import Testing

/// The settings of the CSI driver, as its command gives them.
@Suite struct DriverSettingsTests {
    private func settings(
        _ endpoint: String, node: String? = nil, maximumVolumes: Int64 = 0
    ) throws(NodeError) -> DriverSettings {
        try DriverSettings(
            agent: NodeSettings(), endpoint: endpoint, node: node, maximumVolumes: maximumVolumes, logsJSON: false,
            logLevel: "info")
    }

    @Test(arguments: ["unix:///run/x/csi.sock", "unix:/run/x/csi.sock", "/run/x/csi.sock"])
    func endpointsThatAreUnixSockets(endpoint: String) throws {
        #expect(try settings(endpoint).socket == "/run/x/csi.sock")
    }

    @Test(arguments: [
        "", "unix://", "unix:///", "unix://run/csi.sock", "run/csi.sock", "tcp://127.0.0.1:1", "unix:///a://b",
    ])
    func otherEndpoints(endpoint: String) {
        let error = #expect(throws: NodeError.self) { try settings(endpoint) }
        #expect(error?.code == .invalidArgument)
    }

    @Test func namesAndNumbersOfNodes() throws {
        #expect(try settings("/s", node: String(repeating: "n", count: 256), maximumVolumes: 3).maximumVolumes == 3)
        for error in [
            #expect(throws: NodeError.self) { try settings("/s", node: "") },
            #expect(throws: NodeError.self) { try settings("/s", node: String(repeating: "n", count: 257)) },
            #expect(throws: NodeError.self) { try settings("/s", maximumVolumes: -1) },
        ] { #expect(error?.code == .invalidArgument) }
    }
}
