/// One thing that is broken, or mended, at a time of the run.
///
/// Written `at TIME ACTION`: `at 5s kill target 1`. The time counts from the first I/O.
struct Fault: Equatable {
    enum Action: Equatable {
        /// SIGKILL.
        case killTarget(Int)
        /// SIGSTOP, and SIGCONT.
        case stopTarget(Int)
        case continueTarget(Int)
        /// Started again; ended in good order first, where it runs.
        case restartTarget(Int)
        /// Each of the target's requests waits for up to so long; zero mends it.
        case slowTarget(Int, milliseconds: Int)
        /// Connections end as by a pulled cable, and new ones are lost.
        case cutLink(Int)
        case restoreLink(Int)
        /// SIGKILL for fio with all its jobs.
        case killInitiator
    }

    var milliseconds: Int
    var action: Action
    /// As it was given.
    var text: String

    /// Cuts a link or restores it.
    var isOfLink: Bool {
        switch action {
        case .cutLink, .restoreLink: true
        default: false
        }
    }
}

extension Fault {
    static let grammar = """
        at TIME kill target N | stop target N | continue target N | restart target N | slow target N by TIME | \
        cut link of target N | restore link of target N | kill initiator
        """

    /// - Parameter targets: how many are started and can be broken.
    /// - Throws: the mistake in the text; wrong usage.
    init(_ text: String, targets: Int) throws(Failure) {
        let words = text.split(separator: " ").map { $0.lowercased() }
        guard words.count >= 4, words[0] == "at", let time = Fault.milliseconds(words[1]) else {
            throw Failure("fault \"\(text)\": expected \(Fault.grammar)", exitStatus: 2)
        }
        func target(_ word: String) throws(Failure) -> Int {
            guard let number = Int(word), number >= 1, number <= targets else {
                throw Failure(
                    "fault \"\(text)\": no target \(word); "
                        + (targets == 0
                            ? "none is started here" : targets == 1 ? "there is one, 1" : "there are 1 to \(targets)"),
                    exitStatus: 2)
            }
            return number - 1
        }
        let rest = Array(words.dropFirst(2))
        switch (rest.first, rest.count) {
        case ("kill", 2) where rest[1] == "initiator": action = .killInitiator
        case ("kill", 3) where rest[1] == "target": action = .killTarget(try target(rest[2]))
        case ("stop", 3) where rest[1] == "target": action = .stopTarget(try target(rest[2]))
        case ("continue", 3) where rest[1] == "target": action = .continueTarget(try target(rest[2]))
        case ("restart", 3) where rest[1] == "target": action = .restartTarget(try target(rest[2]))
        case ("slow", 5) where rest[1] == "target" && rest[3] == "by":
            guard let delay = Fault.milliseconds(rest[4]) else {
                throw Failure("fault \"\(text)\": \(rest[4]) is no time; as 20ms or 1s", exitStatus: 2)
            }
            action = .slowTarget(try target(rest[2]), milliseconds: delay)
        case ("cut", 5) where rest[1...3] == ["link", "of", "target"]: action = .cutLink(try target(rest[4]))
        case ("restore", 5) where rest[1...3] == ["link", "of", "target"]: action = .restoreLink(try target(rest[4]))
        default: throw Failure("fault \"\(text)\": expected \(Fault.grammar)", exitStatus: 2)
        }
        milliseconds = time
        self.text = text
    }

    /// A time with its unit: `20ms`, `1.5s`, `2m`.
    static func milliseconds(_ text: String) -> Int? {
        for (unit, factor) in [("ms", 1.0), ("s", 1000.0), ("m", 60_000.0)] where text.hasSuffix(unit) {
            guard let number = Double(text.dropLast(unit.count)), number >= 0, number <= 1e6 else { return nil }
            return Int(number * factor)
        }
        return nil
    }
}
