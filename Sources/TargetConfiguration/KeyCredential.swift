import Base
import Glibc

enum KeyCredential {
    /// The path of a credential with a key that systemd has given the process.
    static func path(_ name: String) throws(TercetError) -> String {
        guard !name.isEmpty, !name.contains("/"), name != ".", name != ".." else {
            throw TercetError(.invalid, "'\(name)' is no name of a credential")
        }
        guard let folder = getenv("CREDENTIALS_DIRECTORY") else {
            throw TercetError(
                .notFound, "there is no credential '\(name)': systemd has given none; LoadCredential=\(name):PATH does")
        }
        return "\(String(cString: folder))/\(name)"
    }
}
