import ArgumentParser

/// How long a command goes on without coming any further.
struct Patience: ParsableArguments {
    @Option(
        name: .customLong("patience"),
        help: ArgumentHelp(
            "Give up when nothing has come any further for so long: a member that cannot be reached, a disk that does not "
                + "answer.", valueName: "seconds"))
    var patienceSeconds: Double = 30

    /// Time that slow copying takes beside, in milliseconds.
    var slackMilliseconds: UInt64 = 0

    enum CodingKeys: String, CodingKey { case patienceSeconds }

    func validate() throws {
        guard patienceSeconds >= 1, patienceSeconds <= 86400 else {
            throw ValidationError("--patience is between 1 and 86400 seconds")
        }
    }

    var milliseconds: UInt64 { UInt64(patienceSeconds * 1000) + slackMilliseconds }

    /// For people.
    var seconds: String { "\((milliseconds + 999) / 1000) s" }
}
