import Dispatch
import Reactor
import Testing

/// A reactor that stands still is noticed by the question after the one that it does not answer.
@Suite struct ReactorWatchTests {
    /// Asks until the answer is as it should be, ten seconds at the most.
    private func ask(_ watch: ReactorWatch, until names: [String]) async throws -> Bool {
        for _ in 0..<1000 {
            if watch.ask() == names { return true }
            try await Task.sleep(for: .milliseconds(10))
        }
        return false
    }

    @Test func aReactorThatStandsStillIsNamed() async throws {
        let reactors = ["one", "two"].map { Reactor(name: $0) }
        for reactor in reactors { reactor.start() }
        defer { for reactor in reactors { reactor.stop() } }
        let watch = ReactorWatch(reactors)
        #expect(try await ask(watch, until: []))
        let goOn = DispatchSemaphore(value: 0)
        reactors[1].send { goOn.wait() }
        let isNoticed = try await ask(watch, until: ["two"])
        #expect(isNoticed && watch.silent == ["two"])
        goOn.signal()
        #expect(try await ask(watch, until: []))
    }
}
