import ArgumentParser
import Base
import NVMeAuthentication

/// Keys by which hosts and subsystems know each other: the form of nvme-cli, without a Linux host.
struct KeyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "key", abstract: "Make and check keys for authentication (DH-HMAC-CHAP).",
        discussion: """
            Keys have the form DHHC-1:HH:BASE64:, as nvme-cli makes and checks them. "nvme connect" takes one as --dhchap-secret \
            and, for the controller's, as --dhchap-ctrl-secret.

            This command, tercet-volumed and libtercet connect with the key in the file that the variable TERCET_KEY_FILE names; with \
            TERCET_CONTROLLER_KEY_FILE targets have to show that they have that key. In the place of a file a folder will do that has \
            one for each subsystem, under its NQN. Files are read again for each connection.
            """,
        subcommands: [MakeKeyCommand.self, CheckKeyCommand.self])
}

struct MakeKeyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "make", abstract: "Make a key.",
        discussion: """
            The key is printed, or written to a file that only its owner may read. It is made from random numbers, and is the same \
            for every host until a host's name is mixed in: both sides do that themselves, by the hash function that the key names.
            """)

    @Option(name: .long, help: "Hash function that mixes the name in: none, sha256, sha384 or sha512.")
    var hash = KeyHash.sha256
    @Option(name: .long, help: "Bytes: 32, 48 or 64. Default: as many as the hash function has; 32 for none.")
    var bytes: Int?
    @Option(
        name: .shortAndLong,
        help: ArgumentHelp("Write the key to a file, which must not be there.", valueName: "PATH"), completion: .file())
    var output: String?

    func run() throws {
        let key: AuthenticationKey
        do throws(TercetError) {
            key = try AuthenticationKey(random: bytes ?? hash.value?.byteCount ?? 32, hash: hash.value)
        } catch { throw ValidationError("--bytes: \(error)") }
        guard let output else { return print(key.exposedText) }
        try SecretFile.create(output, key.exposedText + "\n")
    }
}

/// Names of hash functions on the command line.
enum KeyHash: String, CaseIterable, ExpressibleByArgument {
    case none
    case sha256
    case sha384
    case sha512

    var value: AuthenticationHash? { AuthenticationHash.allCases.first { $0.name == rawValue } }
}

struct CheckKeyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check", abstract: "Say whether a key is whole.",
        discussion: """
            The key comes from a file or the standard input, for command lines are seen by everybody. Nothing of the key is printed. \
            Exit status: 0 where it is good, 1 where it is not.
            """)

    @Argument(help: "File with the key in its first line; - for the standard input.", completion: .file())
    var path = "-"

    func run() throws {
        let text: String?
        if path == "-" {
            text = readLine()
        } else {
            let bytes = try InputFile(path).contents(limit: 256)
            text = String(decoding: bytes.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
        }
        let key = try AuthenticationKey(parsing: text ?? "")
        print(
            "the key is good: \(key.byteCount) bytes, \(key.hash.map { "made a name's own by \($0.name)" } ?? "used as it is")"
        )
    }
}
