import Foundation
import VolumeRegistry

/// The place of a registry in etcd, as operators write it:
/// `etcd://HOST:PORT[,HOST:PORT...][?OPTION[&OPTION...]]`, with the options `prefix=/KEYS`, `tls`, `ca=FILE`, `cert=FILE` and
/// `key=FILE`, `user=NAME` and `password-file=FILE`, `deadline=SECONDS`.
public struct EtcdPlace: Equatable, Sendable {
    /// The beginning of every such place.
    public static let scheme = "etcd://"

    /// Each `HOST:PORT`, of members of one cluster.
    var endpoints: [String]
    /// The beginning of all keys; it has no slash at its end.
    var prefix = "/tercet"
    var usesTLS = false
    var tls = TLSFiles()
    var user: String?
    /// The user's password.
    var password: String?
    /// How long a call tries the members, in seconds.
    var deadlineSeconds = 10

    /// - Throws: `invalid` if it is no such place, or a file that it names cannot be read.
    public init(_ text: String) throws(RegistryError) {
        func wrong(_ problem: String) -> RegistryError {
            RegistryError(
                .invalid,
                "\(text): \(problem); allowed: etcd://HOST:PORT[,HOST:PORT...][?OPTION&...] with the options prefix=/KEYS, tls, "
                    + "ca=FILE, cert=FILE and key=FILE, user=NAME and password-file=FILE, deadline=SECONDS")
        }
        guard text.hasPrefix(Self.scheme) else { throw wrong("is no place in etcd") }
        let parts = text.dropFirst(Self.scheme.count).split(
            separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        endpoints = parts[0].split(separator: ",", omittingEmptySubsequences: false).map(String.init)
        guard endpoints.count <= 16 else { throw wrong("1 to 16 members are allowed") }
        for endpoint in endpoints where !Self.isEndpoint(endpoint) { throw wrong("\"\(endpoint)\" is no HOST:PORT") }
        guard Set(endpoints).count == endpoints.count else { throw wrong("a member is named twice") }
        var passwordFile: String?
        for option in parts.count > 1 ? parts[1].split(separator: "&") : [] {
            let pair = option.split(separator: "=", maxSplits: 1).map(String.init)
            switch (pair[0], pair.count > 1 ? pair[1] : nil) {
            case ("prefix", let value?):
                guard value.hasPrefix("/"), !value.hasSuffix("/"), !value.contains("//"), value.utf8.count <= 200 else {
                    throw wrong("prefix \"\(value)\": begins with a slash, and does not end with one")
                }
                prefix = value
            case ("tls", nil): usesTLS = true
            case ("ca", let file?): tls.authorities = file
            case ("cert", let file?): tls.certificate = file
            case ("key", let file?): tls.key = file
            case ("user", let name?): user = name
            case ("password-file", let file?): passwordFile = file
            case ("deadline", let text?):
                guard let seconds = Int(text), (1...600).contains(seconds) else {
                    throw wrong("deadline \"\(text)\": 1 to 600 seconds are allowed")
                }
                deadlineSeconds = seconds
            default: throw wrong("\"\(option)\" is unknown, or has no value")
            }
        }
        guard (tls.certificate == nil) == (tls.key == nil) else { throw wrong("cert and key belong together") }
        guard (user == nil) == (passwordFile == nil) else { throw wrong("user and password-file belong together") }
        if tls != TLSFiles() { usesTLS = true }
        for case let file? in [tls.authorities, tls.certificate, tls.key] { _ = try Self.contents(file) }
        if let passwordFile {
            let text = String(decoding: try Self.contents(passwordFile), as: UTF8.self)
            password = text.hasSuffix("\n") ? String(text.dropLast()) : text
        }
    }

    private static func isEndpoint(_ text: String) -> Bool {
        guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]), port > 0 else {
            return false
        }
        let host = text[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") {
            return host.count > 2
                && host.dropFirst().dropLast().allSatisfy { $0.isASCII && ($0.isHexDigit || ":.".contains($0)) }
        }
        return !host.isEmpty && host.utf8.count <= 253
            && host.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || ".-".contains($0)) }
    }

    private static func contents(_ path: String) throws(RegistryError) -> Data {
        do {
            return try Data(contentsOf: URL(fileURLWithPath: path))
        } catch {
            let code = ((error as NSError).userInfo[NSUnderlyingErrorKey] as? NSError)?.code ?? 0
            let reason = code == 0 ? "cannot be read" : String(cString: strerror(Int32(code)))
            throw RegistryError(.invalid, "\(path): \(reason)")
        }
    }

    /// The address of a call at a member.
    func url(_ endpoint: Int, _ path: String) -> String {
        "\(usesTLS ? "https" : "http")://\(endpoints[endpoint])\(path)"
    }

    /// For people.
    var words: String { "etcd at \(endpoints.joined(separator: ", "))" }

    // MARK: Keys

    /// Tells that the prefix is a registry's, and in which version.
    var registryKey: String { prefix + "/registry" }
    /// Gets a name of its own with each change.
    var changeKey: String { prefix + "/change" }
    var volumes: String { prefix + "/volumes/" }
    var owners: String { prefix + "/owners/" }
    var daemons: String { prefix + "/daemons/" }
    var reservations: String { prefix + "/reservations/" }
    /// All pools, in one record.
    var pools: String { prefix + "/pools" }
}
