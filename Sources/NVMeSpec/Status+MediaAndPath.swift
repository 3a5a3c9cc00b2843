/// Media and Data Integrity Errors (SCT 2; NVMe Base, "Media and Data Integrity Error Definition").
extension Status {
    /// Write Fault: 80h.
    @inlinable public static var writeFault: Status { Status(.mediaAndDataIntegrity, 0x80) }

    /// Unrecovered Read Error: 81h.
    @inlinable public static var unrecoveredReadError: Status { Status(.mediaAndDataIntegrity, 0x81) }

    /// End-to-end Guard Check Error: 82h.
    @inlinable public static var guardCheckError: Status { Status(.mediaAndDataIntegrity, 0x82) }

    /// End-to-end Application Tag Check Error: 83h.
    @inlinable public static var applicationTagCheckError: Status { Status(.mediaAndDataIntegrity, 0x83) }

    /// End-to-end Reference Tag Check Error: 84h.
    @inlinable public static var referenceTagCheckError: Status { Status(.mediaAndDataIntegrity, 0x84) }

    /// Compare Failure: 85h.
    @inlinable public static var compareFailure: Status { Status(.mediaAndDataIntegrity, 0x85) }

    /// Access Denied: 86h.
    @inlinable public static var accessDenied: Status { Status(.mediaAndDataIntegrity, 0x86) }

    /// Deallocated or Unwritten Logical Block: 87h.
    @inlinable public static var deallocatedOrUnwrittenBlock: Status { Status(.mediaAndDataIntegrity, 0x87) }

    /// End-to-End Storage Tag Check Error: 88h.
    @inlinable public static var storageTagCheckError: Status { Status(.mediaAndDataIntegrity, 0x88) }
}

/// Path Related Status (SCT 3; NVMe Base, "Path Related Status Definition").
extension Status {
    /// Internal Path Error: 00h.
    @inlinable public static var internalPathError: Status { Status(.path, 0x00) }

    /// Asymmetric Access Persistent Loss: 01h.
    @inlinable public static var asymmetricAccessPersistentLoss: Status { Status(.path, 0x01) }

    /// Asymmetric Access Inaccessible: 02h.
    @inlinable public static var asymmetricAccessInaccessible: Status { Status(.path, 0x02) }

    /// Asymmetric Access Transition: 03h.
    @inlinable public static var asymmetricAccessTransition: Status { Status(.path, 0x03) }

    /// Controller Pathing Error: 60h.
    @inlinable public static var controllerPathingError: Status { Status(.path, 0x60) }

    /// Host Pathing Error: 70h.
    @inlinable public static var hostPathingError: Status { Status(.path, 0x70) }

    /// Command Aborted By Host: 71h.
    @inlinable public static var commandAbortedByHost: Status { Status(.path, 0x71) }
}
