import FabricInterface
import InitiatorTransport

extension TransportError {
    /// A call to the fabric that failed, for those who know no fabric.
    init(_ error: FabricError) {
        self.init(operation: error.operation, code: error.code, reason: error.reason)
    }
}
