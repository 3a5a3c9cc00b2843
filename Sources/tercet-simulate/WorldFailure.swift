import VolumeSimulation

/// Why a world is not sound.
struct WorldFailure: Sendable, Equatable {
    /// The oracle's name; or for a trap its message without its numbers, which tell two worlds of one mistake apart.
    let kind: String
    /// For people.
    let reason: String

    init(kind: String, reason: String) {
        self.kind = kind
        self.reason = reason
    }

    /// The process ended with this message.
    init(trap message: String) {
        self.init(kind: "trap: \(message.filter { !$0.isNumber })", reason: message)
    }

    /// The world had not ended after so many seconds of real time.
    init(hangingFor seconds: Double) {
        self.init(kind: "hanging", reason: "hanging: not at its end after \(seconds) s of real time")
    }

    /// `nil` for a world that was sound.
    init?(_ result: WorldResult) {
        guard let failure = result.failure else { return nil }
        let oracle = result.oracle?.rawValue ?? "unknown"
        self.init(kind: oracle, reason: "\(oracle): \(failure)")
    }
}
