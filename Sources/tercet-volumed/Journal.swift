import Dispatch
import Logging
import Synchronization

/// Writes log lines on a thread of its own: reactors tell what happens and do not wait for the log.
final class Journal: Sendable {
    private let logger: Logger
    private let queue = DispatchQueue(label: "log")
    private let waiting = Atomic<Int>(0)
    private let lost = Atomic<Int>(0)
    /// Lines that wait to be written; more are counted only.
    private static let capacity = 4096

    init(_ logger: Logger) { self.logger = logger }

    /// From any thread; does not wait.
    func write(_ level: Logger.Level, _ message: String, _ metadata: Logger.Metadata = [:]) {
        guard waiting.add(1, ordering: .relaxed).newValue <= Self.capacity else {
            waiting.subtract(1, ordering: .relaxed)
            lost.add(1, ordering: .relaxed)
            return
        }
        queue.async {
            self.waiting.subtract(1, ordering: .relaxed)
            self.logger.log(level: level, "\(message)", metadata: metadata)
            let lost = self.lost.exchange(0, ordering: .relaxed)
            if lost > 0 {
                self.logger.warning("lines were lost: the log could not be written", metadata: ["count": "\(lost)"])
            }
        }
    }

    /// Returns when all has been written.
    func flush() { queue.sync {} }
}
