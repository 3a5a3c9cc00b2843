import Base
import ControlPlane
import Foundation
import Glibc
import Logging
import Metrics
import NBDOverTCP
import NBDProtocol
import NBDServer
import Reactor
import Synchronization
import UnixSockets

/// The way of everything that clients hold from one daemon to the next.
enum HandOverMessage: Codable {
    /// A socket that listens, and the lock on its path.
    case listener(path: String)
    /// A TCP socket that listens.
    case tcpListener
    case session(
        export: String, form: UInt8, size: UInt64, flags: UInt16, contexts: UInt8, staged: [UInt8],
        isDevice: Bool?)
    /// Nothing follows. The time (CLOCK_MONOTONIC, nanoseconds) at which the former daemon stopped taking requests.
    case end(stoppedAt: UInt64)
}

/// Everything that a daemon has taken over.
struct TakenOver: Sendable {
    var listeners: [UnixListener] = []
    var tcpListeners: [TCPListener] = []
    var sessions: [HandedSession] = []
    var stoppedAt = MonotonicTime.now()
}

enum HandOver {
    /// How long the former daemon has for everything, in milliseconds.
    private static let patienceMilliseconds: Int32 = 60_000

    /// Asks the daemon at a control socket for all that it holds. Blocks.
    static func receive(from control: String) throws(TercetError) -> TakenOver {
        let path = "\(control).next"
        let listener = try UnixListener(path: path, mode: 0o600)
        defer { listener.close() }
        let refusal = Refusal()
        let client = try ControlClient(path: control)
        let caller = SendableClient(client)
        Thread {
            do {
                _ = try caller.client.call("handOver", HandOverRequest(socket: path), returning: HandOverRequest.self)
            } catch let error as ControlError {
                refusal.value.withLock { $0 = TercetError(.failed, error.message) }
            } catch {}
        }.start()
        let channel = try accept(listener) { refusal.value.withLock { $0 } }
        defer { Glibc.close(channel) }
        return try take(DescriptorChannel(channel))
    }

    /// The former daemon's reason for handing nothing over.
    private final class Refusal: Sendable { let value = Mutex<TercetError?>(nil) }

    /// One thread after the other uses it.
    private final class SendableClient: @unchecked Sendable {
        // Unchecked: see above.
        let client: ControlClient
        init(_ client: ControlClient) { self.client = client }
    }

    private static func accept(
        _ listener: UnixListener, refusal: () -> TercetError?
    ) throws(TercetError) -> Int32 {
        for _ in 0..<patienceMilliseconds / 100 {
            var event = pollfd(fd: listener.descriptor, events: Int16(POLLIN), revents: 0)
            if poll(&event, 1, 100) > 0 {
                let descriptor = Glibc.accept(listener.descriptor, nil, nil)
                // The messages are believed: the mode of the path alone is not enough.
                let user = descriptor >= 0 ? UnixListener.user(ofPeer: descriptor) : nil
                if let user, user == geteuid() || user == 0 { return descriptor }
                if descriptor >= 0 { Glibc.close(descriptor) }
            }
            if let refusal = refusal() { throw refusal }
        }
        throw TercetError(.timedOut, "the former daemon hands nothing over")
    }

    static func take(_ channel: DescriptorChannel) throws(TercetError) -> TakenOver {
        var taken = TakenOver()
        while let (bytes, descriptors) = channel.receive() {
            guard let message = try? JSONDecoder().decode(HandOverMessage.self, from: Data(bytes)) else { break }
            switch message {
            case .listener(let path):
                guard let socket = descriptors.first else { continue }
                taken.listeners.append(
                    UnixListener(handed: socket, lock: descriptors.count > 1 ? descriptors[1] : -1, path: path))
            case .tcpListener:
                guard let socket = descriptors.first else { continue }
                taken.tcpListeners.append(TCPListener(inherited: socket))
            case .session(let export, let form, let size, let flags, let contexts, let staged, let isDevice):
                guard let socket = descriptors.first, let form = NBDHeaderForm(rawValue: form) else { continue }
                taken.sessions.append(
                    HandedSession(
                        descriptor: socket, export: export,
                        session: NBDSession(
                            form: form, size: size, flags: NBDTransmissionFlags(rawValue: flags),
                            contexts: NBDContexts(rawValue: contexts)), staged: staged, isDevice: isDevice ?? false))
            case .end(let stoppedAt):
                taken.stoppedAt = MonotonicTime(nanoseconds: stoppedAt)
                return taken
            }
        }
        throw TercetError(.unavailable, "the former daemon broke off while it handed over")
    }

    static func send(
        _ listeners: [UnixListener], _ tcpListeners: [TCPListener], _ sessions: [HandedSession],
        stoppedAt: MonotonicTime, over channel: DescriptorChannel
    ) -> Bool {
        for listener in tcpListeners {
            guard send(.tcpListener, [listener.descriptor], channel) else { return false }
        }
        for listener in listeners {
            let descriptors =
                listener.lockDescriptor >= 0 ? [listener.descriptor, listener.lockDescriptor] : [listener.descriptor]
            guard send(.listener(path: listener.path), descriptors, channel) else { return false }
        }
        for handed in sessions {
            let message = HandOverMessage.session(
                export: handed.export, form: handed.session.form.rawValue, size: handed.session.size,
                flags: handed.session.flags.rawValue, contexts: handed.session.contexts.rawValue,
                staged: handed.staged, isDevice: handed.isDevice)
            guard send(message, [handed.descriptor], channel) else { return false }
        }
        return send(.end(stoppedAt: stoppedAt.nanoseconds), [], channel)
    }

    private static func send(_ message: HandOverMessage, _ descriptors: [Int32], _ channel: DescriptorChannel) -> Bool {
        // Numbers and texts always encode.
        channel.send(Array((try? JSONEncoder().encode(message)) ?? Data()), descriptors: descriptors)
    }
}

/// The parameter of the method `handOver`: a socket at which the next daemon listens.
struct HandOverRequest: Codable, Sendable {
    var socket: String
}

extension Daemon {
    /// Gives the next daemon everything that clients hold; volumes are detached before. The process ends afterwards.
    func handOver(to path: String) async throws(TercetError) {
        guard !isStopping else { throw TercetError(.inUse, "the daemon is stopping already") }
        guard successor == nil else {
            throw TercetError(
                .unsupported,
                "the daemon's volumes are shared with others: hand them over (tercet volume hand-over), and start it anew"
            )
        }
        if let device = devices.first {
            throw TercetError(
                .unsupported,
                "\"\(device.name)\" is a device of this machine: what is in memory would be lost; only volumes are handed over"
            )
        }
        let descriptor = try UnixListener.connect(to: path)
        defer { close(descriptor) }
        isStopping = true
        await settle()
        relay?.stopListening()
        await kernel.leave()
        let stoppedAt = MonotonicTime.now()
        await ublk.leave()
        journal.write(.notice, "handing over to the next daemon")
        let sessions = await surrenderSessions()
        for name in await detachAll() {
            journal.write(.error, "not clean: the next daemon copies", ["volume": "\(name)"])
        }
        await reexport?.stop()
        // The next daemon takes their addresses as soon as it has everything.
        control?.stop()
        metrics?.stop()
        isHandedOver = HandOver.send(
            listeners, tcpListeners, sessions, stoppedAt: stoppedAt, over: DescriptorChannel(descriptor))
        for handed in sessions { close(handed.descriptor) }
        journal.write(
            isHandedOver ? .notice : .error, isHandedOver ? "handed over" : "the next daemon took nothing",
            ["sessions": "\(sessions.count)"])
        kill(getpid(), SIGTERM)
    }

    /// How long sessions have to come to the end of a request.
    static let handOverMilliseconds: UInt64 = 2000

    /// Goes on with the sessions of the former daemon, as soon as their exports are there.
    func resume(_ taken: TakenOver) async {
        // The kernel's sessions have gone with the exports already.
        var left = taken.sessions.filter { !$0.isDevice }
        let deadline = ContinuousClock.now + .seconds(30)
        while !left.isEmpty, ContinuousClock.now < deadline {
            var missing: [HandedSession] = []
            for handed in left {
                guard let export = exports.all.first(where: { $0.name == handed.export }) else {
                    missing.append(handed)
                    continue
                }
                let server = servers[export.home]
                await reactors[export.home].run { server.resume(handed, export) }
            }
            left = missing
            if !left.isEmpty { try? await Task.sleep(for: .milliseconds(20)) }
        }
        for handed in left { close(handed.descriptor) }
        let pause = MonotonicTime.now().nanoseconds(since: taken.stoppedAt) / 1_000_000
        journal.write(
            left.isEmpty ? .notice : .error, "taken over from the former daemon",
            [
                "sessions": "\(taken.sessions.count - left.count)", "lost": "\(left.count)",
                "pauseMilliseconds": "\(pause)",
            ])
    }
}
