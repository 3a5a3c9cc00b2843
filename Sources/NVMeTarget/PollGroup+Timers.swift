import Base
import FabricInterface

/// What a poll group looks at each `Limits.tickMilliseconds`.
extension PollGroup {
    /// Returns how many commands it has answered: their answers leave with the next round.
    func tick(_ now: MonotonicTime) -> Int {
        var answered = inspectHeldRequests(now)
        for device in devices {
            device.inspectLoans(now: now)
            for slot in device.boundSlots {
                let queuePair = device.queuePairs[slot]
                if queuePair.pointee.commandsSinceReport > 0, queuePair.pointee.controller != noSlot {
                    queuePair.pointee.commandsSinceReport = 0
                    controllers[Int(queuePair.pointee.controller)]?.heard(at: now)
                }
                if device.answerLoneHalf(of: slot, now: now) { answered += 1 }
                if let reason = device.expiry(of: slot, now: now) {
                    queuePairFailed(slot, in: device, reason: reason)
                }
                if queuePair.pointee.state == .closing { release(slot, in: device, now: now) }
            }
        }
        dropEndedViews()
        for controller in controllers {
            if let controller, controller.keepAliveDeadline <= now { target.end(controller, .keepAliveTimeout) }
        }
        return answered
    }

    /// Frees a closing queue pair when its requests have ended; destroys it when its work has not completed for so long
    /// that it never will.
    private func release(_ slot: UInt32, in device: DeviceGroup, now: MonotonicTime) {
        let queuePair = device.queuePairs[slot]
        let connection = queuePair.pointee.connection
        let closed = now.nanoseconds(since: queuePair.pointee.closingSince) / 1_000_000
        if queuePair.pointee.requests > 0, closed >= Limits.flushMilliseconds, !queuePair.pointee.isDestroyed {
            connections[connection] = nil
            fabric.destroy(connection)
            device.destroyed(slot)
        }
        guard queuePair.pointee.requests == 0, closed >= Limits.closingGraceMilliseconds else { return }
        releaseController(queuePair.pointee.controller)
        let isDestroyed = queuePair.pointee.isDestroyed
        device.unbind(slot)
        if isDestroyed { return }
        connections[connection] = nil
        fabric.destroy(connection)
    }
}
