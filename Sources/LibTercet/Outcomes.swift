import CTercet
import FabricInterface
import Glibc
import NVMeInitiator
import NVMeSpec
import Replication

// What C callers see of how operations end.

extension IOOutcome {
    /// `enum tercet_outcome`.
    @inline(__always) var code: UInt16 {
        switch self {
        case .surelyDone: UInt16(TERCET_DONE.rawValue)
        case .surelyNotDone: UInt16(TERCET_NOT_DONE.rawValue)
        case .unknown: UInt16(TERCET_UNKNOWN.rawValue)
        }
    }
}

extension IOCompletion {
    /// 0 or a negative errno, where there is one that says it as Linux's block layer does.
    @inline(__always) var errno: Int32 {
        if isSuccess { return 0 }
        guard outcome == .surelyDone else {
            return switch failure {
            case .timeout: -ETIMEDOUT
            case .closed: -ESHUTDOWN
            default: -ENOTCONN
            }
        }
        return switch status {
        case _ where status.matches(.reservationConflict): -EBADE
        case _ where status.matches(.capacityExceeded): -ENOSPC
        case _ where status.matches(.namespaceIsWriteProtected): -EROFS
        case _ where status.matches(.invalidOpcode): -EOPNOTSUPP
        case _ where status.matches(.lbaOutOfRange): -EINVAL
        default: -EIO
        }
    }
}

extension HostStatus {
    /// 0 or a negative errno.
    @inline(__always) var errno: Int32 {
        switch self {
        case .success: 0
        case .mediaError: -EIO
        case .noSpace: -ENOSPC
        case .outOfRange: -EINVAL
        case .deposed: -EBADE
        case .suspended: -ENOLINK
        case .detached: -ESHUTDOWN
        case .miscompare: -EIO
        }
    }

    /// The NVMe status that says the same; 0 where no target's answer decided.
    func nvmeStatus(isRead: Bool) -> UInt16 {
        switch self {
        case .success, .suspended, .detached: 0
        case .mediaError: (isRead ? Status.unrecoveredReadError : Status.writeFault).rawValue
        case .noSpace: Status.capacityExceeded.rawValue
        case .outOfRange: Status.lbaOutOfRange.doNotRetry.rawValue
        case .deposed: Status.reservationConflict.doNotRetry.rawValue
        case .miscompare: Status.compareFailure.doNotRetry.rawValue
        }
    }

    /// Whether the operation's effect is known.
    func outcome(isRead: Bool) -> IOOutcome {
        switch self {
        case .success, .mediaError, .noSpace, .outOfRange, .miscompare: .surelyDone
        case .detached: .surelyNotDone
        case .deposed, .suspended: isRead ? .surelyNotDone : .unknown
        }
    }
}

extension InitiatorError {
    /// A negative errno.
    var errno: Int32 {
        switch self {
        case .fabric(let error): error.code == 0 ? -EIO : -error.code
        case .rejected: -ECONNREFUSED
        case .status, .connectFailed, .invalidResponse: -EPROTO
        case .timeout: -ETIMEDOUT
        case .connectionLost: -ECONNRESET
        case .resources: -ENOMEM
        case .unsupported: -ENOTSUP
        case .closed: -ESHUTDOWN
        }
    }
}

extension AttachError {
    /// A negative errno.
    var errno: Int32 {
        switch self {
        case .metadata, .epochExhausted: -EINVAL
        case .superseded: -EBADE
        case .abandoned: -ESHUTDOWN
        }
    }
}

/// Copies a text into an array of characters, cut to its size, with its end.
func copy<Characters>(_ text: String, to characters: inout Characters) {
    withUnsafeMutableBytes(of: &characters) { copy(text, to: $0) }
}

/// Copies a text into memory, cut to its size, with its end.
func copy(_ text: String, to memory: UnsafeMutableRawBufferPointer) {
    guard !memory.isEmpty else { return }
    var text = text
    text.withUTF8 { characters in
        let length = min(characters.count, memory.count - 1)
        memory.copyBytes(from: characters[..<length])
        memory[length] = 0
    }
}

extension tercet_completion {
    /// What the completion says, for people.
    var text: String {
        if error == 0 { return "success" }
        let reason = String(cString: strerror(-error))
        let said = status == 0 ? reason : "\(Status(rawValue: status))"
        return outcome == UInt16(TERCET_UNKNOWN.rawValue) ? "\(said); whether it was done is not known" : said
    }
}
