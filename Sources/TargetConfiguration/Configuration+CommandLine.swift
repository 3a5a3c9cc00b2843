import Base
import BlockInterface
import TargetInterface

extension Configuration {
    /// From `--listen ADDRESS[:PORT] --export NQN=PATH`, either of them several times. Any host may connect.
    /// Exports of one NQN are the namespaces 1, 2 and so on of one subsystem.
    public init(listen: [String], exports: [String]) throws(TercetError) {
        self.init()
        for text in listen {
            guard let address = SocketAddress(text, defaultPort: Self.defaultPort), address.port != 0 else {
                throw TercetError(
                    .invalid,
                    "--listen \(text): no address; allowed: ADDRESS, ADDRESS:PORT, [IPV6] or [IPV6]:PORT, in numbers")
            }
            if definition.listeners.contains(address) {
                throw TercetError(.invalid, "--listen \(text): is given twice")
            }
            definition.listeners.append(address)
        }
        if definition.listeners.isEmpty {
            throw TercetError(.invalid, "--listen is missing; allowed: --listen ADDRESS[:PORT]")
        }
        if exports.isEmpty { throw TercetError(.invalid, "--export is missing; allowed: --export NQN=PATH") }
        for text in exports { try add(export: text) }
        if let violation = firstViolation() { throw TercetError(.invalid, "\(violation.path): \(violation.text)") }
    }

    private mutating func add(export text: String) throws(TercetError) {
        guard let separator = text.firstIndex(of: "=") else {
            throw TercetError(
                .invalid,
                "--export \(text): no '='; allowed: NQN=PATH, PATH being a device, a file, ram:SIZE or null:SIZE"
            )
        }
        let nqn = String(text[..<separator])
        if let violation = Self.violation(ofNQN: nqn) { throw TercetError(.invalid, "--export \(violation)") }
        let backing: BlockSpecification
        do throws(TercetError) {
            backing = try BlockSpecification(parsing: String(text[text.index(after: separator)...]))
        } catch {
            throw TercetError(.invalid, "--export \(error.description)")
        }
        let position = definition.subsystems.firstIndex { $0.nqn == nqn } ?? definition.subsystems.count
        if position == definition.subsystems.count { definition.subsystems.append(SubsystemDefinition(nqn: nqn)) }
        let nsid = UInt32(definition.subsystems[position].namespaces.count + 1)
        definition.subsystems[position].namespaces.append(NamespaceDefinition(nsid: nsid, backing: .specified(backing)))
    }
}
