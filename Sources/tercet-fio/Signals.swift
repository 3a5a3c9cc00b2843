import Terminal

extension Signals {
    /// Waits until something is so. Throws when the time is over, or on a signal that asks for the end.
    func wait(seconds: Double, for what: String, until condition: () -> Bool) throws(Failure) {
        let deadline = now() + seconds
        while !condition() {
            if let number = wait(milliseconds: 20) { throw Failure("interrupted", exitStatus: 128 + number) }
            guard now() < deadline else { throw Failure("\(what) within \(text(seconds, digits: 0)) s") }
        }
    }
}
