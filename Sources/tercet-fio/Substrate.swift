import Foundation
import SystemPackage

/// The carrier of RDMA.
enum Substrate {
    /// The RDMA stack in user space; the path of its library.
    case softverbs(String)
    /// A device of this machine, hardware or Soft-RoCE, and its first IPv4 address.
    case device(address: String)

    var address: String {
        switch self {
        case .softverbs: "127.0.0.1"
        case .device(let address): address
        }
    }

    /// Variables that a program's environment needs.
    var environment: [String: String] {
        switch self {
        case .softverbs(let library): ["LD_PRELOAD": library]
        case .device: [:]
        }
    }

    /// The first IPv4 address of an RDMA device, from its table of GIDs: those of RoCE v2 hold mapped addresses.
    static func deviceAddress() -> String? {
        let root = "/sys/class/infiniband"
        for device in (try? FileManager.default.contentsOfDirectory(atPath: root).sorted()) ?? [] {
            for index in 0..<16 {
                guard let text = readFile("\(root)/\(device)/ports/1/gids/\(index)")?.trimmingCharacters(in: .newlines),
                    text.hasPrefix("0000:0000:0000:0000:0000:ffff:")
                else { continue }
                let words = text.split(separator: ":").suffix(2).compactMap { UInt16($0, radix: 16) }
                guard words.count == 2 else { continue }
                return words.flatMap { [$0 >> 8, $0 & 0xFF] }.map(String.init).joined(separator: ".")
            }
        }
        return nil
    }
}

/// The programs and libraries that a run consists of, beside this one or in the project's tree.
struct Programs {
    var tercetd: String
    var tercet: String
    var engine: String
    /// `nil` where it has not been built.
    var softverbs: String?
    /// The library that cuts the link of a target on a device; `nil` if it has not been built.
    var link: String?

    /// - Parameter engine: where the user says that the engine is.
    init(engine given: String?) throws(Failure) {
        let own =
            (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? CommandLine.arguments[0]
        let folder = String(own[..<(own.lastIndex(of: "/") ?? own.startIndex)])
        // The folder of the program is .build/TRIPLE/release in the project.
        let places = [folder] + (1...3).map { folder + String(repeating: "/..", count: $0) + "/Tools" }
        func find(_ names: [String]) -> String? {
            for place in places {
                for name in names where access("\(place)/\(name)", R_OK) == 0 {
                    return URL(fileURLWithPath: "\(place)/\(name)").standardized.path
                }
            }
            return nil
        }
        tercetd = folder + "/tercetd"
        tercet = folder + "/tercet"
        guard let engine = given ?? find(["tercet-fio-engine.so", "fio/engine/build/tercet-fio-engine.so"]) else {
            throw Failure("the engine has not been built: make -C Tools/fio/engine")
        }
        guard access(engine, R_OK) == 0 else { throw Failure("\(engine): \(Errno(rawValue: errno))") }
        self.engine = engine
        softverbs = find(["libsoftverbs.so", "softverbs/build/libsoftverbs.so"])
        link = find(["libtercet-link.so", "fio/link/build/libtercet-link.so"])
    }
}
