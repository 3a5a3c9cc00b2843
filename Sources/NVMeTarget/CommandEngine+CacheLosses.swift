import Base
import BlockInterface
import NVMeSpec
import TargetTransport

/// Losses of what a device had cached: `Target.cacheMayBeLost`.
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

extension IOCommand {
    /// Whether a failure of the command may be the one by which the device tells of a loss. A write with FUA may be: it ends with
    /// an fdatasync of its own, which reports what was lost before it.
    fileprivate func tellsOfLosses(_ status: BlockStatus) -> Bool {
        switch self {
        case .flush: status == .writeFault || status == .capacityExceeded || status == .internalError
        case .write(let range), .writeZeroes(let range):
            range.flags.contains(.forceUnitAccess) && (status == .writeFault || status == .internalError)
        default: false
        }
    }
}
