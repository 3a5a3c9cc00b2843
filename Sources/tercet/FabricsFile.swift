import ArgumentParser
import Base
import FabricsConfiguration
import VolumeDriver

/// This host's file of connections, which it shares with nvme-cli 3, as the options of commands use it.
enum FabricsFile {
    /// A member as it is given: with its address, or by names alone, whose address the file knows.
    static func member(_ text: String) throws -> MemberAddress {
        do throws(TercetError) {
            return try MemberAddress(text) { nqn throws(TercetError) in
                try FabricsConfiguration.ofThisHost().address(of: nqn)
            }
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
        do throws(TercetError) { found = try FabricsConfiguration.ofThisHost().hostNQN } catch {
            throw ValidationError(error.description)
        }
        if let found { try checkNQN(found, "host NQN of \(FabricsConfiguration.usualPath)") }
        return found
    }
}
