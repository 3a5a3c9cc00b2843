import NVMeSpec
import Replication

/// Why a volume could not be attached, used or detached.
public struct VolumeError: Error, CustomStringConvertible, Sendable {
    /// The kind of failure, for a program to act on.
    public enum Code: Equatable, Sendable {
        /// Another host has the volume attached; nothing was changed. `cause` is the `VolumeOccupant`. Taking over fences it.
        case inUse
        /// No member can be read. `cause` is the failure of the first one. Trying again may help.
        case noMember
        /// The members did not come together in time. Trying again may help.
        case timedOut
        /// The members do not make up a volume that can be served. `cause` is the `AttachError`.
        case notAttachable
        /// Another host has taken the volume over. It is of no more use to this attachment.
        case deposed
        /// The volume was let go without being clean, as after a crash: the next attach makes the members equal.
        case notClean
        /// There is no memory for the volume.
        case noMemory
        /// It is asked for what cannot be.
        case invalid
    }

    public var code: Code
    /// One line for people: what is wrong, with what, and where it helps, what to do.
    public var message: String
    /// The error that led to this one.
    public var cause: (any Error)?

    public init(_ code: Code, _ message: String, cause: (any Error)? = nil) {
        self.code = code
        self.message = message
        self.cause = cause
    }

    public var description: String { message }
}
