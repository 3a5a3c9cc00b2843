import Base
import TargetTransport

/// The timers of a poll group, looked at each `Limits.tickMilliseconds`.
extension PollGroup {
    /// Returns how many commands it has answered.
    func tick(_ now: MonotonicTime) -> Int {
        var answered = inspectHeldRequests(now)
        // By index: an iterator over objects allocates in unoptimised builds, where tests count too.
        for place in 0..<engines.count { answered += inspect(engines[place], now) }
        transport.tick(now: now)
        dropEndedViews()
        if target.options.deliberateDefect == .keepAliveNotWatched { return answered }
        for controller in controllers.overdue(now) { target.end(controller, .keepAliveTimeout) }
        return answered
    }

    private func inspect(_ engine: CommandEngine, _ now: MonotonicTime) -> Int {
        var answered = 0
        engine.inspectLoans()
        for connection in engine.bound {
            if engine.connections[connection].commandsSinceReport > 0,
                engine.connections[connection].role == .admin
                    || !target.options.omissions.contains(.trafficBasedKeepAlive),
                let controller = controllers[engine.connections[connection].controller]
            {
                engine.connections[connection].commandsSinceReport = 0
                controller.heard(at: now)
            }
            if engine.answerLoneHalf(of: connection, now: now) { answered += 1 }
            if engine.isOverdue(connection, now: now) {
                connectionFailed(connection, in: engine, reason: "the host has not sent Connect")
            }
            guard engine.connections[connection].isDrained else { continue }
            controllers.release(engine.connections[connection].controller)
            engine.release(connection)
        }
        return answered
    }
}
