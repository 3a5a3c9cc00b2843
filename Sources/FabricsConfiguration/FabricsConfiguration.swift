import Base
import DurableFiles
import Foundation

/// The connections that this host is to have, as nvme-cli 3 keeps them: `nvme-fabrics.conf`, and what is added in the files of
/// `nvme-fabrics.conf.d`. Of them Tercet takes the paths to subsystems, and the name of the host.
///
/// Source of the form: libnvme, "NVMe-oF Connection Configuration".
public struct FabricsConfiguration: Sendable {
    public static let usualPath = "/etc/nvme/nvme-fabrics.conf"
    /// The variable of the environment that names another file.
    private static let variable = "TERCET_FABRICS"
    /// No file of connections is larger.
    private static let largestBytes = 1 << 20

    /// One way to a subsystem.
    struct Path: Equatable, Sendable {
        /// As in a Discovery Log Page: `rdma`, `tcp`, `fc`.
        var transport: String
        /// TRADDR and TRSVCID.
        var address: String
        var service: String?
        /// The name that a file of its own gives the host for this connection; `nil` where it is the host's usual one.
        var persona: String?
        /// For people: the file and the line.
        var place: String
    }

    /// The host's name in the main file; `nil` where it has none.
    public private(set) var hostNQN: String?
    private var paths: [String: [Path]] = [:]
    private let path: String

    /// Reads this host's file: the usual one, or the one that the environment names.
    public static func ofThisHost() throws(TercetError) -> FabricsConfiguration {
        try FabricsConfiguration(path: ProcessInfo.processInfo.environment[variable] ?? usualPath)
    }

    /// Reads a file of connections, and the folder beside it. Neither need be there.
    public init(path: String = usualPath) throws(TercetError) {
        self.path = path
        if let text = try Self.text(of: path) { try take(text, file: path, isMain: true) }
        let folder = path + ".d"
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
        for name in names.sorted() where name.hasSuffix(".conf") && !name.hasPrefix(".") {
            guard let text = try Self.text(of: "\(folder)/\(name)") else { continue }
            try take(text, file: "\(folder)/\(name)", isMain: false)
        }
    }

    /// The address at which a subsystem is reached by RDMA: that of its first path. The port is 4420 where none is given.
    public func address(of nqn: String) throws(TercetError) -> SocketAddress {
        guard let all = paths[nqn] else { throw TercetError(.notFound, "\(path) knows no subsystem \(nqn)") }
        guard let way = all.first(where: { $0.transport == "rdma" }) else {
            throw TercetError(.unsupported, "\(path) has no path to \(nqn) by rdma, only by \(all[0].transport)")
        }
        if let persona = way.persona {
            throw TercetError(
                .unsupported,
                "\(way.place): \(nqn) is reached as host \(persona): give its address, and --hostnqn \(persona)")
        }
        guard let port = UInt16(way.service ?? "4420"), let address = SocketAddress(host: way.address, port: port)
        else {
            throw TercetError(
                .invalid,
                "\(way.place): traddr=\(way.address), trsvcid=\(way.service ?? "") is no numeric address and port")
        }
        return address
    }

    // MARK: Reading

    private static func text(of path: String) throws(TercetError) -> String? {
        guard let bytes = try FileContents.read(path) else { return nil }
        guard bytes.count <= largestBytes, !bytes.contains(0), let text = String(validating: bytes, as: UTF8.self)
        else {
            throw TercetError(.invalid, "\(path): no text of \(largestBytes) bytes at most")
        }
        return text
    }

    /// Takes the connections of one file.
    private mutating func take(_ text: String, file: String, isMain: Bool) throws(TercetError) {
        var reader = FabricsFileReader(file: file)
        for line in text.split(separator: "\n", omittingEmptySubsequences: false) { try reader.take(line) }
        let found = try reader.end(isMain: isMain)
        if isMain { hostNQN = found.hostNQN }
        for (nqn, way) in found.paths {
            var way = way
            way.persona = isMain ? nil : found.hostNQN
            paths[nqn, default: []].append(way)
        }
    }
}
