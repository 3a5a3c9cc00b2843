import ArgumentParser
import Base
import FabricsConfiguration
import Foundation
import VolumeDriver

/// This host's file of connections, which it shares with nvme-cli 3.
enum FabricsFile {
    /// The variable that names another file.
    private static let variable = "TERCET_FABRICS"

    /// A member as it is given: with its address, or by names alone, whose address the file knows.
    static func member(_ text: String) throws -> MemberAddress {
        if let member = MemberAddress(text) { return member }
        guard text.hasPrefix("nqn."), let slash = text.lastIndex(of: "/"),
            let nsid = UInt32(text[text.index(after: slash)...]), nsid > 0
        else {
            throw ValidationError(
                "a member is ADDRESS:PORT/SUBNQN/NSID, or SUBNQN/NSID where \(FabricsConfiguration.usualPath) knows the subsystem"
            )
        }
        let nqn = String(text[..<slash])
        do throws(TercetError) {
            return MemberAddress(address: try read().address(of: nqn), subsystemNQN: nqn, nsid: nsid)
        } catch {
            throw ValidationError(error.description)
        }
    }

    /// The host's name: the one that is given, which is checked, else that in the file; `nil` where it has none there either.
    static func hostNQN(given: String?) throws -> String? {
        if let given {
            try checkNQN(given, "host NQN")
            return given
        }
        let found: String?
        do throws(TercetError) { found = try read().hostNQN } catch { throw ValidationError(error.description) }
        if let found { try checkNQN(found, "host NQN of \(FabricsConfiguration.usualPath)") }
        return found
    }

    private static func read() throws(TercetError) -> FabricsConfiguration {
        try FabricsConfiguration(
            path: ProcessInfo.processInfo.environment[variable] ?? FabricsConfiguration.usualPath)
    }
}
