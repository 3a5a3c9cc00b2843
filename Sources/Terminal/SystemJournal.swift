import Glibc
import Logging

/// The journal of this machine (systemd-journald), which takes a log line with its details as fields of their own: `journalctl
/// TERCET_SUBSYSTEM=NQN` finds what is told of one subsystem.
///
/// The form of an entry is that of systemd's "Native Journal Protocol".
public struct SystemJournal: Sendable {
    /// Stays open: a logger lives as long as the program.
    private let descriptor: Int32
    private let identifier: String

    /// - Parameters:
    ///   - identifier: what the journal calls the program (SYSLOG_IDENTIFIER).
    ///   - path: the journal's socket.
    /// - Returns: `nil` where no journal listens there.
    public init?(identifier: String, path: String = "/run/systemd/journal/socket") {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else { return nil }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return nil }
        let length = socklen_t(MemoryLayout.size(ofValue: address))
        let isConnected = withUnsafePointer(to: address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, length) == 0 }
        }
        guard isConnected else {
            close(descriptor)
            return nil
        }
        self.descriptor = descriptor
        self.identifier = identifier
    }

    /// Whether what this program writes to its standard error goes to the journal (JOURNAL_STREAM, systemd.exec(5)).
    public static var takesStandardError: Bool {
        guard let stream = getenv("JOURNAL_STREAM").map({ String(cString: $0) }) else { return false }
        var status = stat()
        return fstat(STDERR_FILENO, &status) == 0 && stream == "\(status.st_dev):\(status.st_ino)"
    }

    /// Adds an entry. False where the journal does not take it: it is gone, or the entry is too long for its socket.
    func add(_ level: Logger.Level, _ message: String, _ details: [(String, String)]) -> Bool {
        var entry: [UInt8] = []
        Self.append("MESSAGE", message, to: &entry)
        Self.append("PRIORITY", "\(Self.priority(level))", to: &entry)
        Self.append("SYSLOG_IDENTIFIER", identifier, to: &entry)
        for (key, value) in details { Self.append(Self.field(key), value, to: &entry) }
        return send(descriptor, entry, entry.count, Int32(MSG_NOSIGNAL)) == entry.count
    }

    /// A detail's field: `anaGroup` is TERCET_ANA_GROUP. A field has capital letters, digits and underscores, 64 at most.
    static func field(_ key: String) -> String {
        var field = "TERCET_"
        var wasSmall = false
        for scalar in key.unicodeScalars {
            let isCapital = ("A"..."Z").contains(scalar)
            if isCapital, wasSmall { field += "_" }
            wasSmall = ("a"..."z").contains(scalar)
            field += wasSmall || isCapital || ("0"..."9").contains(scalar) ? String(scalar).uppercased() : "_"
        }
        return String(field.prefix(64))
    }

    /// As syslog(3) counts.
    private static func priority(_ level: Logger.Level) -> Int {
        switch level {
        case .trace, .debug: 7
        case .info: 6
        case .notice: 5
        case .warning: 4
        case .error: 3
        case .critical: 2
        }
    }

    /// A value with a line feed has its length before it; another ends with one.
    private static func append(_ field: String, _ value: String, to entry: inout [UInt8]) {
        entry += field.utf8
        let bytes = Array(value.utf8)
        if bytes.contains(UInt8(ascii: "\n")) {
            entry.append(UInt8(ascii: "\n"))
            withUnsafeBytes(of: UInt64(bytes.count).littleEndian) { entry += $0 }
        } else {
            entry.append(UInt8(ascii: "="))
        }
        entry += bytes
        entry.append(UInt8(ascii: "\n"))
    }
}
