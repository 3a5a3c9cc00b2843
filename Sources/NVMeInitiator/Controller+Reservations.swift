import InitiatorTransport
import NVMeSpec

/// Reservations of a namespace: sent on the first I/O queue. Each may be called from anywhere; an error status is thrown,
/// so also Reservation Conflict.
extension Controller {
    /// Reservation Register: registers, replaces or removes this host's key.
    public func registerReservation(
        nsid: UInt32, _ command: ReservationRegisterCommand, currentKey: UInt64, newKey: UInt64
    ) async throws(InitiatorError) {
        _ = try await ioCommand(
            SubmissionEntry(.reservationRegister(command), nsid: nsid, commandID: 0), name: "Reservation Register",
            sending: ReservationRegisterData(currentKey: currentKey, newKey: newKey).encoded)
    }

    /// Reservation Acquire: acquires, preempts, or preempts and aborts.
    public func acquireReservation(
        nsid: UInt32, _ command: ReservationAcquireCommand, currentKey: UInt64, preemptKey: UInt64 = 0
    ) async throws(InitiatorError) {
        _ = try await ioCommand(
            SubmissionEntry(.reservationAcquire(command), nsid: nsid, commandID: 0), name: "Reservation Acquire",
            sending: ReservationAcquireData(currentKey: currentKey, preemptKey: preemptKey).encoded)
    }

    /// Reservation Release: releases, or clears reservation and registrants.
    public func releaseReservation(
        nsid: UInt32, _ command: ReservationReleaseCommand, currentKey: UInt64
    ) async throws(InitiatorError) {
        let key = ReservationReleaseData(currentKey: currentKey).encoded
        _ = try await ioCommand(
            SubmissionEntry(.reservationRelease(command), nsid: nsid, commandID: 0), name: "Reservation Release",
            sending: key)
    }

    /// Reservation Report: who is registered, and who holds what. Registrants beyond the first 63 are counted only.
    public func reservationReport(nsid: UInt32) async throws(InitiatorError) -> ReservationStatus {
        let length = ControlBuffer.byteCount
        let command = ReservationReportCommand(byteCount: UInt64(length))
        let bytes = try await ioCommand(
            SubmissionEntry(.reservationReport(command), nsid: nsid, commandID: 0), name: "Reservation Report",
            receiving: length)
        do { return try bytes.withUnsafeBytes { try ReservationStatus(decoding: $0, isExtended: true) } } catch {
            throw .invalidResponse("\(error)")
        }
    }

    /// A command on the first I/O queue, with data of the control plane.
    private func ioCommand(
        _ entry: SubmissionEntry, name: String, sending: [UInt8]? = nil, receiving: Int = 0
    ) async throws(InitiatorError) -> [UInt8] {
        guard let queue = queues.first else { throw .unsupported("\(name) needs an I/O queue") }
        let timeout = options.adminTimeoutMilliseconds
        return try await withTaskExecutorPreference(queue.group.executor) { () async throws(InitiatorError) in
            let (completion, data) = try await queue.transfer(
                entry, sending: sending, receiving: receiving, timeoutMilliseconds: timeout, name: name)
            guard completion.status.isSuccess else { throw .status(completion.status, command: name) }
            return data
        }
    }
}
