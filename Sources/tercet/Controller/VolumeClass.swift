import Base
import ControllerCalls
import VolumeDriver
import VolumeRegistry

/// A class of volumes, by its parameters.
struct VolumeClass {
    var spread = PoolSpread.required
    /// `nil` for all.
    var pools: Set<String>?
    var creation = VolumeCreation(volume: .random())

    private static let allowed = ["minimumCopies", "pools", "regionSize", "spread"]

    /// Throws `invalidArgument`. A key with a domain is an orchestrator's own.
    init(_ parameters: [String: String]) throws {
        for (key, value) in parameters.sorted(by: { $0.key < $1.key }) where !key.contains("/") {
            func wrong(_ allowed: String) -> ControllerAnswer.Failure {
                .init(.invalidArgument, "the parameter \(key) is \"\(value.prefix(140))\"; allowed: \(allowed)")
            }
            switch key {
            case "spread":
                guard let found = PoolSpread(rawValue: value) else { throw wrong("required, preferred") }
                spread = found
            case "pools":
                let names = value.split { $0 == "," || $0 == " " }.map(String.init)
                guard !names.isEmpty else { throw wrong("names of pools, with commas between") }
                pools = Set(names)
            case "minimumCopies":
                guard let copies = Int(value), (1...3).contains(copies) else { throw wrong("1, 2 or 3") }
                creation.minimumCopies = copies
            case "regionSize":
                guard let bytes = ByteSize.parse(value), bytes >= 4096, bytes <= 1 << 30, bytes.nonzeroBitCount == 1
                else {
                    throw wrong("a power of two from 4K to 1G")
                }
                creation.regionSize = UInt32(bytes)
            default:
                throw ControllerAnswer.Failure(
                    .invalidArgument,
                    "the parameter \"\(key.prefix(140))\" is not known; allowed: \(Self.allowed.joined(separator: ", "))"
                )
            }
        }
    }

    /// The parameters in one form: two classes that mean the same have one.
    var canonical: String {
        "minimumCopies=\(creation.minimumCopies) regionSize=\(creation.regionSize) spread=\(spread.rawValue)"
            + (pools.map { " pools=\($0.sorted().joined(separator: ","))" } ?? "")
    }
}
