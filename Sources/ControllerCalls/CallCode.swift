import Base

/// The codes that a call answers with (CSI 1.12, "Error Scheme"), by their numbers in gRPC.
public enum CallCode: Int32, CaseIterable, Codable, Sendable {
    case invalidArgument = 3
    case deadlineExceeded = 4
    case notFound = 5
    case alreadyExists = 6
    case permissionDenied = 7
    case resourceExhausted = 8
    case failedPrecondition = 9
    case aborted = 10
    case outOfRange = 11
    case unimplemented = 12
    case `internal` = 13
    case unavailable = 14

    /// The name as the specification writes it.
    public var name: String {
        switch self {
        case .invalidArgument: "INVALID_ARGUMENT"
        case .deadlineExceeded: "DEADLINE_EXCEEDED"
        case .notFound: "NOT_FOUND"
        case .alreadyExists: "ALREADY_EXISTS"
        case .permissionDenied: "PERMISSION_DENIED"
        case .resourceExhausted: "RESOURCE_EXHAUSTED"
        case .failedPrecondition: "FAILED_PRECONDITION"
        case .aborted: "ABORTED"
        case .outOfRange: "OUT_OF_RANGE"
        case .unimplemented: "UNIMPLEMENTED"
        case .internal: "INTERNAL"
        case .unavailable: "UNAVAILABLE"
        }
    }
}

extension CallCode {
    /// An error of the house, as a caller has to take it.
    public init(_ code: TercetError.Code) {
        self =
            switch code {
            case .invalid: .invalidArgument
            case .notFound: .notFound
            case .exists: .alreadyExists
            case .inUse: .failedPrecondition
            case .notPermitted: .permissionDenied
            case .unsupported: .unimplemented
            case .exhausted: .resourceExhausted
            case .unavailable: .unavailable
            case .timedOut: .deadlineExceeded
            case .damaged, .failed: .internal
            }
    }
}
