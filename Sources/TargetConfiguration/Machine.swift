import Glibc

/// The facts that tell this machine from others. A copied disk has the same machine ID; the firmware of a copied virtual machine says
/// another product.
public struct Machine: Equatable, Sendable {
    /// `/etc/machine-id`; `nil` where there is none.
    public var machineID: String?
    /// The UUID that the firmware reports; `nil` where it reports none or only the superuser may read it.
    public var productUUID: String?

    public init(machineID: String?, productUUID: String?) {
        self.machineID = machineID
        self.productUUID = productUUID
    }

    /// This machine. A daemon without privileges gets what only the superuser may read from its service manager, as the credential
    /// `product_uuid` (systemd.exec(5), LoadCredential).
    public static var this: Machine {
        let credentials = getenv("CREDENTIALS_DIRECTORY").map { String(cString: $0) }
        return Machine(
            machineID: firstLine(of: "/etc/machine-id"),
            productUUID: firstLine(of: "/sys/class/dmi/id/product_uuid")
                ?? credentials.flatMap { firstLine(of: $0 + "/product_uuid") })
    }

    /// Nothing tells it from others.
    public var isUnknown: Bool { machineID == nil && productUUID == nil }

    /// Both say something, and not the same.
    public func differs(from other: Machine) -> Bool {
        func differ(_ one: String?, _ two: String?) -> Bool {
            guard let one, let two else { return false }
            return one != two
        }
        return differ(machineID, other.machineID) || differ(productUUID, other.productUUID)
    }

    /// As a name that identifiers are made from.
    var name: String { "\(machineID ?? "")/\(productUUID ?? "")" }

    private static func firstLine(of path: String) -> String? {
        guard let file = fopen(path, "re") else { return nil }
        defer { fclose(file) }
        var buffer = [CChar](repeating: 0, count: 128)
        guard fgets(&buffer, Int32(buffer.count), file) != nil else { return nil }
        let bytes = buffer.prefix { $0 != 0 && $0 != 10 }.map { UInt8(bitPattern: $0) }
        let text = String(decoding: bytes, as: UTF8.self).lowercased()
        // Firmware that was never told who it is says zeroes or ones.
        let isKnown = text.contains { $0 != "0" && $0 != "-" } && text.contains { $0 != "f" && $0 != "-" }
        return isKnown ? text : nil
    }
}
