import CLinux
import Glibc
import Synchronization

extension TraceDump {
    /// Dumps the rings, and says so on the standard error, before a trap or another fatal signal ends the process.
    ///
    /// Its former effect (a core, a backtrace) follows: the handler puts the former action back and returns,
    /// and the instruction is repeated. A signal that another process sent is sent again.
    public static func catchTraps() {
        for (place, number) in fatalSignals.enumerated() {
            var action = sigaction()
            action.__sigaction_handler.sa_sigaction = { number, information, _ in
                TraceDump.trapped(number, isFault: (information?.pointee.si_code ?? 0) > 0)
            }
            action.sa_flags = SA_NODEFER | SA_ONSTACK | SA_SIGINFO
            sigaction(number, &action, formerActions + place)
        }
    }

    /// Dumps the rings, and says so on the standard error, whenever the signal comes.
    public static func dump(on number: Int32) {
        var action = sigaction()
        action.__sigaction_handler.sa_handler = { _ in
            let error = errno
            TraceDump.writeAndSay()
            errno = error
        }
        action.sa_flags = SA_RESTART
        sigaction(number, &action, nil)
    }

    private static let fatalSignals = [SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV]
    private nonisolated(unsafe) static let formerActions: UnsafeMutablePointer<sigaction> = {
        let actions = UnsafeMutablePointer<sigaction>.allocate(capacity: fatalSignals.count)
        actions.initialize(repeating: sigaction(), count: fatalSignals.count)
        return actions
    }()
    private static let isTrapped = Atomic<Bool>(false)

    private static func trapped(_ number: Int32, isFault: Bool) {
        for place in fatalSignals.indices { sigaction(fatalSignals[place], formerActions + place, nil) }
        // Of several threads that trap at once one dumps.
        if !isTrapped.exchange(true, ordering: .acquiringAndReleasing) { writeAndSay() }
        if !isFault { raise(number) }
    }

    private static func writeAndSay() {
        let failure = write { path in
            say("trace: the last events are in ")
            _ = Glibc.write(STDERR_FILENO, path, strlen(path))
            say("; tercet trace prints them\n")
        }
        if failure != 0 { say("trace: the last events cannot be written to the folder for them\n") }
    }

    private static func say(_ text: StaticString) {
        _ = Glibc.write(STDERR_FILENO, text.utf8Start, text.utf8CodeUnitCount)
    }
}
