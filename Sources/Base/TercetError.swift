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
    /// The errno value of the call that failed; 0 if there is none.
    public var errno: Int32 = 0
    /// One line: what is wrong, with what, and what to do about it.
    public var message: String
    /// The error that led to this one; the message does not repeat it.
    public var cause: (any Error)?

    public init(_ code: Code, _ message: String, cause: (any Error)? = nil) {
        self.code = code
        self.message = message
        self.cause = cause
    }

    /// A call of the system, of a library or of a device that failed.
    ///
    /// - Parameters:
    ///   - call: the call and its object, for people: `rdma_bind_addr 192.0.2.1:4420`.
    ///   - errno: its errno value; 0 if there is none.
    ///   - reason: the problem, and what to do about it if something can be done.
    public init(call: String, errno: Int32, reason: String) {
        self.init(Code(errno: errno), "\(call): \(reason)")
        self.errno = errno
    }

    /// The message, and behind a colon its cause.
    public var description: String { cause.map { "\(message): \($0)" } ?? message }
}

extension TercetError: Equatable {
    /// Causes are not compared.
    public static func == (one: TercetError, other: TercetError) -> Bool {
        one.code == other.code && one.errno == other.errno && one.message == other.message
    }
}

extension TercetError.Code {
    /// The code for an errno value of a system call.
    public init(errno code: Int32) {
        self =
            switch code {
            case EINVAL, EISDIR, ENOTDIR, ENAMETOOLONG, ERANGE: .invalid
            case ENOENT, ENODEV, ENXIO, ENOMEDIUM, EADDRNOTAVAIL: .notFound
            case EEXIST: .exists
            case EBUSY, EADDRINUSE: .inUse
            case EACCES, EPERM, EROFS: .notPermitted
            case EOPNOTSUPP, ENOSYS, ENOTTY: .unsupported
            case ENOMEM, EMFILE, ENFILE, ENOSPC, ENOBUFS, EAGAIN: .exhausted
            case ENOTCONN, EHOSTUNREACH, ENETUNREACH, ECONNREFUSED: .unavailable
            case ETIMEDOUT: .timedOut
            case EBADMSG, EILSEQ: .damaged
            default: .failed
            }
    }
}
