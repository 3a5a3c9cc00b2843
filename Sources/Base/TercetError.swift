import Glibc

/// An error with a code that a program can act on, and a message for people.
public struct TercetError: Error, CustomStringConvertible, Sendable {
    /// The kinds of errors, by what a caller can do. Raw values are printed for programs and keep their meaning.
    public enum Code: String, CaseIterable, Sendable {
        /// An argument or a setting is wrong. The same call fails again.
        case invalid
        /// There is no such thing.
        case notFound
        /// There is such a thing already.
        case exists
        /// Somebody else uses it. It may be free later.
        case inUse
        /// The process, or the host, has no right to do it.
        case notPermitted
        /// This system, device or peer cannot do it.
        case unsupported
        /// Memory, descriptors, or other resources are used up. It may work when some are given back.
        case exhausted
        /// It is away at present. It may work later.
        case unavailable
        /// It did not end within its time.
        case timedOut
        /// Data that is there is not what was written.
        case damaged
        /// The system or the device failed.
        case failed
    }

    public var code: Code
    /// One line: what is wrong, with what, and what to do about it.
    public var message: String
    /// The error that led to this one; the message does not repeat it.
    public var cause: (any Error)?

    public init(_ code: Code, _ message: String, cause: (any Error)? = nil) {
        self.code = code
        self.message = message
        self.cause = cause
    }

    /// The message, and behind a colon its cause.
    public var description: String { cause.map { "\(message): \($0)" } ?? message }
}

extension TercetError.Code {
    /// The code for an errno value of a system call.
    public init(errno code: Int32) {
        self =
            switch code {
            case EINVAL, EISDIR, ENOTDIR, ENAMETOOLONG, ERANGE: .invalid
            case ENOENT, ENODEV, ENXIO, ENOMEDIUM: .notFound
            case EEXIST: .exists
            case EBUSY, EADDRINUSE, EWOULDBLOCK: .inUse
            case EACCES, EPERM, EROFS: .notPermitted
            case EOPNOTSUPP, ENOSYS, ENOTTY: .unsupported
            case ENOMEM, EMFILE, ENFILE, ENOSPC, ENOBUFS: .exhausted
            case ENOTCONN, EHOSTUNREACH, ENETUNREACH, ECONNREFUSED: .unavailable
            case ETIMEDOUT: .timedOut
            case EBADMSG, EILSEQ: .damaged
            default: .failed
            }
    }
}
