import Base
import BlockInterface
import NVMeSpec
import TargetTransport

/// Failures of a device, by which its cache may have lost what hosts take for written.
extension CommandEngine {
    /// A block operation has failed. Where it should have made something durable, what the device had cached may be lost.
    @inline(never)
    func failed(_ index: RequestIndex, _ status: BlockStatus) {
        if blockIO.failed(&requests[index], status) { count(index) { $0.mediaErrors &+= 1 } }
        guard case .io(let command) = requests[index].command, command.tellsOfLosses(status) else { return }
        owner.cacheMayBeLost(requests[index].header.nsid, requests[index].connection, in: self)
    }

    /// A flush begins, unless it has to tell its host of a possible loss of the namespace's cache.
    func beginFlush(_ index: RequestIndex) {
        let connection = requests[index].connection
        let nsid = requests[index].header.nsid
        let number = connections[connection].namespaces[nsid].lastLoss
        if _slowPath(number != 0), owner.hearsOfLoss(number, of: nsid, connection, in: self) {
            return answer(index, .writeFault)
        }
        beginExecuting(index)
    }
}
