import Foundation
import Synchronization

/// Debian's etcd, one member or more, on loopback addresses of this process's own; ended and removed at the end.
final class EtcdCluster {
    let endpoints: [String]
    private let peers: [String]
    private let folder: String
    private var processes: [Process?]
    private var gateways: [Process] = []
    private let address: String
    private let firstPort: Int

    struct Failure: Error, CustomStringConvertible {
        var description: String
    }

    private static let clusters = Atomic(0)

    init(_ members: Int) throws {
        let process = Int(getpid())
        address = "127.\(64 + process >> 16 & 63).\(process >> 8 & 255).\(max(1, process & 255))"
        firstPort = 20_000 + 20 * Self.clusters.add(1, ordering: .relaxed).newValue
        let (address, firstPort) = (self.address, self.firstPort)
        endpoints = (0..<members).map { "\(address):\(firstPort + $0)" }
        peers = (0..<members).map { "http://\(address):\(firstPort + 10 + $0)" }
        // In memory where there is such a place: what is tested is not the disk.
        let place = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"
        var template = Array("\(place)/tercet-etcd.XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw Failure(description: "mkdtemp") }
        folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        processes = Array(repeating: nil, count: members)
        for member in 0..<members { try start(member) }
        try waitUntilHealthy()
    }

    deinit {
        for process in processes.compactMap({ $0 }) + gateways {
            kill(process.processIdentifier, SIGKILL)
            process.waitUntilExit()
        }
        try? FileManager.default.removeItem(atPath: folder)
    }

    var place: String { "etcd://" + endpoints.joined(separator: ",") }

    func start(_ member: Int) throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/etcd")
        process.arguments = [
            "--name", "m\(member)", "--data-dir", "\(folder)/m\(member)", "--logger", "zap",
            "--log-outputs", "\(folder)/log\(member)", "--heartbeat-interval", "50", "--election-timeout", "500",
            "--listen-client-urls", "http://\(endpoints[member])",
            "--advertise-client-urls", "http://\(endpoints[member])",
            "--listen-peer-urls", peers[member], "--initial-advertise-peer-urls", peers[member],
            "--initial-cluster", peers.enumerated().map { "m\($0)=\($1)" }.joined(separator: ","),
        ]
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        do { try process.run() } catch {
            throw Failure(description: "etcd does not start: is Debian's etcd-server there (Tools/setup)? \(error)")
        }
        processes[member] = process
    }

    /// Ends a member as a loss of power does.
    func crash(_ member: Int) {
        guard let process = processes[member] else { return }
        kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
        processes[member] = nil
    }

    /// Lets a member hang, or go on.
    func hang(_ member: Int, _ hangs: Bool = true) {
        guard let process = processes[member] else { return }
        kill(process.processIdentifier, hangs ? SIGSTOP : SIGCONT)
    }

    /// Starts a gateway with a fault; returns the place of a registry behind it.
    func gateway(_ fault: String) throws -> String {
        let process = Process()
        let script = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appendingPathComponent("Native/etcd/gateway.py").path
        let port = firstPort + 5 + gateways.count
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["python3", script, address, String(port), endpoints[0], fault]
        try process.run()
        gateways.append(process)
        try wait("the gateway") { run(["bash", "-c", "exec 3<>/dev/tcp/\(address)/\(port)"]) == 0 }
        return "etcd://\(address):\(port)"
    }

    /// Waits until each member that runs answers with the help of a quorum.
    func waitUntilHealthy() throws {
        for (member, process) in processes.enumerated() where process != nil {
            try wait("etcd") { etcdctl(["get", "x", "--command-timeout=1s"], at: member) == 0 }
        }
    }

    private func wait(_ name: String, until isThere: () -> Bool) throws {
        let start = ContinuousClock.now
        while !isThere() {
            guard ContinuousClock.now - start < .seconds(60) else {
                throw Failure(description: "\(name) does not answer within 60 s")
            }
            usleep(20_000)
        }
    }

    /// Runs Debian's client; returns its exit status.
    @discardableResult
    func etcdctl(_ arguments: [String], at member: Int = 0) -> Int32 {
        run(["env", "ETCDCTL_API=3", "etcdctl", "--endpoints", endpoints[member]] + arguments)
    }

    private func run(_ arguments: [String]) -> Int32 {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = arguments
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        guard (try? process.run()) != nil else { return -1 }
        process.waitUntilExit()
        return process.terminationStatus
    }
}
