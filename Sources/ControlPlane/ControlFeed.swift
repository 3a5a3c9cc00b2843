import Dispatch
import Foundation
import JSON
import Synchronization

/// Notifications of JSON-RPC 2.0 for one client, which come as they happen. From any thread.
public final class ControlFeed: Sendable {
    private struct State {
        var lines: [[UInt8]] = []
        var isOver = false
    }

    /// Lines that wait for the client. A client that lets more gather loses its connection: to leave some out in silence would
    /// tell it that nothing had happened.
    private static let capacity = 4096
    private let state = Mutex(State())
    private let news = DispatchSemaphore(value: 0)

    /// Adds a line; the feed is over if there is no room.
    fileprivate func add(_ line: [UInt8]) {
        state.withLock { state in
            if state.lines.count < Self.capacity { state.lines.append(line) } else { state.isOver = true }
        }
        news.signal()
    }

    /// The lines that have come, after so long at the latest; `nil` if the feed is over.
    func next(seconds: Double) -> [[UInt8]]? {
        _ = news.wait(timeout: .now() + seconds)
        return state.withLock { state in
            defer { state.lines = [] }
            return state.isOver ? nil : state.lines
        }
    }

    /// Nobody follows it any more.
    func end() { state.withLock { $0.isOver = true } }

    fileprivate var isOver: Bool { state.withLock { $0.isOver } }
}

/// Happenings, for all clients that follow them. From any thread; never waits for a client.
public final class ControlBroadcast: Sendable {
    private let method: String
    private let feeds = Mutex<[ControlFeed]>([])

    /// - Parameter method: the name that the notifications carry.
    public init(method: String) { self.method = method }

    /// Begins to follow.
    public func follow() -> ControlFeed {
        let feed = ControlFeed()
        feeds.withLock { $0.append(feed) }
        return feed
    }

    /// Tells all that follow; makes the parameters only if somebody does.
    public func tell<Parameters: Encodable>(_ parameters: () -> Parameters) {
        let present = feeds.withLock { feeds in
            feeds.removeAll { $0.isOver }
            return feeds
        }
        guard !present.isEmpty, let value = try? JSONValue(encoding: parameters()) else { return }
        let line = ControlNotification(method: method, params: value).line
        for feed in present { feed.add(line) }
    }
}

/// A notification of JSON-RPC 2.0: a request without an identifier.
private struct ControlNotification: Encodable {
    var jsonrpc = "2.0"
    var method: String
    var params: JSONValue

    /// As one line.
    var line: [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        // Values of JSON always encode.
        return Array((try? encoder.encode(self)) ?? Data()) + [UInt8(ascii: "\n")]
    }
}

/// One thing that happened at a daemon, as its log has it.
public struct DaemonEvent: Codable, Equatable, Sendable {
    /// RFC 3339, UTC.
    public var time: String
    public var level: String
    public var message: String
    public var details: [String: String]

    public init(time: String, level: String, message: String, details: [String: String]) {
        self.time = time
        self.level = level
        self.message = message
        self.details = details
    }

    /// The method of both daemons that follows their events, and the name of its notifications.
    public static let watch = "events.watch"
    public static let notification = "event"
}
