import Synchronization

/// Looks whether reactors make progress: a reactor that does not answer a question before the next one is stuck. From one
/// thread; it waits for none of them.
public final class ReactorWatch: Sendable {
    private final class Count: Sendable { let value = Atomic<Int>(0) }

    private let reactors: [Reactor]
    private let answers: [Count]
    private let questions: Mutex<[Int]>
    private let last = Mutex<[String]>([])

    /// The answer to the last question.
    public var silent: [String] { last.withLock { $0 } }

    public init(_ reactors: [Reactor]) {
        self.reactors = reactors
        answers = reactors.map { _ in Count() }
        questions = Mutex(Array(repeating: 0, count: reactors.count))
    }

    /// Asks all reactors that have answered. Returns the names of the others.
    @discardableResult
    public func ask() -> [String] {
        let silent = questions.withLock { questions in
            var silent: [String] = []
            for (place, reactor) in reactors.enumerated() {
                let count = answers[place]
                guard count.value.load(ordering: .acquiring) >= questions[place] else {
                    silent.append(reactor.name)
                    continue
                }
                questions[place] += 1
                reactor.send { count.value.add(1, ordering: .releasing) }
            }
            return silent
        }
        last.withLock { $0 = silent }
        return silent
    }
}
