import CLinux
import Glibc

/// The service manager's descriptor store: what is left in it comes back to the next process of the same service among its inherited
/// descriptors (sd_notify(3), FDSTORE; systemd.service(5), FileDescriptorStoreMax=).
public struct DescriptorStore: Sendable {
    private let manager: Int32

    /// How long the service manager has to take what it is told, in milliseconds.
    private static let patienceMilliseconds: Int32 = 5000

    /// The store of this service; `nil` where the service manager keeps nothing (FDSTORE, which systemd sets from 254 on, is not above
    /// 0), or there is none. Reads the environment: before NOTIFY_SOCKET is taken out of it.
    public init?() {
        guard let room = getenv("FDSTORE").flatMap({ Int(String(cString: $0)) }), room > 0,
            let path = getenv("NOTIFY_SOCKET").map({ String(cString: $0) }), !path.isEmpty
        else { return nil }
        manager = tercet_connect_datagram(path)
        guard manager >= 0 else { return nil }
    }

    /// Leaves a descriptor in the store under a name, and keeps it open here. It stays there even if its other end is closed.
    /// Returns whether the service manager has been told.
    public func keep(_ descriptor: Int32, as name: String) -> Bool {
        send("FDSTORE=1\nFDPOLL=0\nFDNAME=\(name)", descriptor)
    }

    /// Takes all descriptors with a name out of the store.
    public func remove(_ name: String) { _ = send("FDSTOREREMOVE=1\nFDNAME=\(name)", -1) }

    /// Waits until the service manager has taken all that it was told: it listens to living processes only (sd_notify(3), BARRIER).
    public func settle() {
        var ends: [Int32] = [-1, -1]
        guard pipe2(&ends, O_CLOEXEC) == 0 else { return }
        defer { close(ends[0]) }
        let isTold = send("BARRIER=1", ends[1])
        close(ends[1])
        guard isTold else { return }
        var event = pollfd(fd: ends[0], events: 0, revents: 0)
        _ = poll(&event, 1, Self.patienceMilliseconds)
    }

    private func send(_ text: String, _ descriptor: Int32) -> Bool {
        let bytes = Array(text.utf8)
        return tercet_send_descriptors(manager, bytes, bytes.count, [descriptor], descriptor < 0 ? 0 : 1) == 0
    }
}
