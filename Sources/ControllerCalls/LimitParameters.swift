import Base

/// Limits of a volume's users as a class has them, of whose parameters they are those that may be changed later.
public struct LimitParameters: Codable, Equatable, Sendable {
    /// 0 for no limit.
    public var iosPerSecond: UInt64?
    /// 0 for no limit.
    public var bytesPerSecond: UInt64?
    /// The weight beside other volumes.
    public var weight: UInt64?

    private static let ios = "iosPerSecond"
    private static let bytes = "bytesPerSecond"
    private static let weight = "weight"
    /// Names of the parameters.
    public static let names = [bytes, ios, weight]
    private static let greatest: UInt64 = 1 << 40
    private static let weights: ClosedRange<UInt64> = 1...10_000

    public init() {}

    /// Throws `invalidArgument`. A name with a domain is an orchestrator's own.
    public init(_ parameters: [String: String]) throws(ControllerAnswer.Failure) {
        for (name, text) in parameters.sorted(by: { $0.key < $1.key }) where !name.contains("/") {
            func wrong(_ allowed: String) -> ControllerAnswer.Failure {
                .init(.invalidArgument, "the parameter \(name) is \"\(text.prefix(140))\"; allowed: \(allowed)")
            }
            let number = name == Self.bytes ? ByteSize.parse(text) : UInt64(text)
            switch name {
            case Self.ios, Self.bytes:
                guard let number, number <= Self.greatest else { throw wrong("0 (no limit) to \(Self.greatest)") }
                if name == Self.ios { iosPerSecond = number } else { bytesPerSecond = number }
            case Self.weight:
                guard let number, Self.weights.contains(number) else {
                    throw wrong("\(Self.weights.lowerBound) to \(Self.weights.upperBound)")
                }
                weight = number
            default:
                throw ControllerAnswer.Failure(
                    .invalidArgument,
                    "the parameter \"\(name.prefix(140))\" cannot be changed later; those that can: \(Self.names.joined(separator: ", "))"
                )
            }
        }
    }

    /// These, and the others where these say nothing.
    public func over(_ others: LimitParameters) -> LimitParameters {
        var merged = self
        merged.iosPerSecond = iosPerSecond ?? others.iosPerSecond
        merged.bytesPerSecond = bytesPerSecond ?? others.bytesPerSecond
        merged.weight = weight ?? others.weight
        return merged
    }

    /// The parameters that are given, by name.
    public var parameters: [String: String] {
        var parameters: [String: String] = [:]
        if let iosPerSecond { parameters[Self.ios] = "\(iosPerSecond)" }
        if let bytesPerSecond { parameters[Self.bytes] = "\(bytesPerSecond)" }
        if let weight { parameters[Self.weight] = "\(weight)" }
        return parameters
    }
}
