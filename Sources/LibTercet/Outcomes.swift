import Base
import BlockInterface
import CTercet
import FabricInterface
import Glibc
import InitiatorTransport
import NVMeInitiator
import NVMeSpec
import Replication
import VolumeDriver

// Outcomes of operations, as C callers see them.

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

extension BlockStatus {
    /// 0 or a negative errno.
    @inline(__always) var errno: Int32 {
        switch self {
        case .success: 0
        case .unrecoveredReadError, .writeFault, .compareFailure, .internalError: -EIO
        case .capacityExceeded: -ENOSPC
        case .outOfRange: -EINVAL
        case .unsupported: -EOPNOTSUPP
        case .writeProtected: -EROFS
        case .unavailable: -ENOLINK
        case .fenced: -EBADE
        case .deviceGone: -ESHUTDOWN
        case .aborted: -ECANCELED
        }
    }

    /// The NVMe status that says the same; 0 where no target's answer decided.
    func nvmeStatus(isRead: Bool) -> UInt16 {
        switch self {
        case .success, .unavailable, .deviceGone, .aborted: 0
        case .unrecoveredReadError: Status.unrecoveredReadError.rawValue
        case .writeFault: Status.writeFault.rawValue
        case .internalError: (isRead ? Status.unrecoveredReadError : Status.writeFault).rawValue
        case .capacityExceeded: Status.capacityExceeded.rawValue
        case .outOfRange: Status.lbaOutOfRange.doNotRetry.rawValue
        case .fenced: Status.reservationConflict.doNotRetry.rawValue
        case .compareFailure: Status.compareFailure.doNotRetry.rawValue
        case .unsupported: Status.invalidOpcode.doNotRetry.rawValue
        case .writeProtected: Status.namespaceIsWriteProtected.doNotRetry.rawValue
        }
    }

    /// Whether the operation's effect is known.
    func outcome(isRead: Bool) -> IOOutcome {
        switch self {
        case .deviceGone, .aborted: .surelyNotDone
        case .fenced, .unavailable: isRead ? .surelyNotDone : .unknown
        default: .surelyDone
        }
    }
}

extension InitiatorError {
    /// A negative errno.
    var errno: Int32 {
        switch self {
        case .transport(let error): error.errno == 0 ? -EIO : -error.errno
        case .rejected, .absent: -ECONNREFUSED
        case .status, .connectFailed, .invalidResponse: -EPROTO
        case .timeout: -ETIMEDOUT
        case .connectionLost: -ECONNRESET
        case .resources: -ENOMEM
        case .notAuthenticated: -EACCES
        case .unsupported: -ENOTSUP
        case .closed: -ESHUTDOWN
        }
    }
}

extension OpenFailure {
    /// Why a volume could not be attached.
    init(_ error: VolumeError) {
        message = error.message
        switch error.code {
        case .inUse:
            code = -EBUSY
            if let occupant = error.cause as? VolumeOccupant { message = occupant.objection(consent: "set take_over") }
        case .noMember: code = -ENODEV
        case .timedOut, .notClean: code = -ETIMEDOUT
        case .deposed: code = -EBADE
        case .noMemory: code = -ENOMEM
        case .invalid: code = -EINVAL
        case .notAttachable:
            switch error.cause as? AttachError {
            case .superseded: code = -EBADE
            case .abandoned: code = -ESHUTDOWN
            case .metadata, .epochExhausted, nil: code = -EINVAL
            }
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
    /// The completion in words.
    var text: String {
        if error == 0 { return "success" }
        let reason = String(cString: strerror(-error))
        let said = status == 0 ? reason : "\(Status(rawValue: status))"
        return outcome == UInt16(TERCET_UNKNOWN.rawValue) ? "\(said); whether it was done is not known" : said
    }
}
