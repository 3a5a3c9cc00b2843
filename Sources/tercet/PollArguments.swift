import ArgumentParser
import Reactor

extension Waiting: ExpressibleByArgument {}

/// How the threads of a load wait.
struct PollArguments: ParsableArguments {
    @Option(
        name: .customLong("poll"),
        help: ArgumentHelp(
            "How the load's threads wait for answers: always poll; adaptive: poll as long as the waits before let expect an "
                + "answer, then leave the processor to others; never: sleep at once."))
    var waiting = Waiting.adaptive
}
