import Base
import NVMeSpec

/// When an operation that was answered with an error status is done again.
///
/// Only statuses that speak of the moment count, and never with Do Not Retry. Those of a controller that cannot do the
/// command now (Command Interrupted, Namespace Not Ready, the path statuses, any with a Command Retry Delay) are repeated
/// until the operation's deadline; failures of the device itself a few times, as Linux does (`nvme_max_retries`): a broken
/// sector is to be told in a fraction of a second.
struct RetryRule: BitwiseCopyable {
    /// Command Retry Delay Times 1 to 3, in milliseconds (Identify Controller, CRDT).
    private var delays: (UInt64, UInt64, UInt64) = (0, 0, 0)
    /// Nothing is repeated where it is false: for who has another copy to turn to.
    private var isEnabled = false

    /// Repeats nothing.
    init() {}

    init(_ identify: IdentifyController) {
        isEnabled = true
        delays = (
            UInt64(identify.commandRetryDelay1) * 100, UInt64(identify.commandRetryDelay2) * 100,
            UInt64(identify.commandRetryDelay3) * 100
        )
    }

    /// Repetitions after a failure of the device.
    static let deviceRetries = 5
    /// Delays if the controller asks for none; each is twice the one before, up to the last.
    private static let firstDelayMilliseconds: UInt64 = 5
    private static let lastDelayMilliseconds: UInt64 = 1000

    /// Milliseconds to wait before an operation is repeated; `nil` where it is not.
    ///
    /// - Parameter retries: how often it has been repeated.
    func delay(_ status: Status, retries: Int) -> UInt64? {
        guard isEnabled, !status.isDoNotRetry else { return nil }
        let isOfTheMoment =
            status.commandRetryDelay > 0 || status.isPathError || status.matches(.commandInterrupted)
            || status.matches(.namespaceNotReady)
        let isOfTheDevice =
            (status.isMediaError && !status.matches(.compareFailure)) || status.matches(.internalError)
            || status.matches(.dataTransferError)
        guard isOfTheMoment || isOfTheDevice && retries < Self.deviceRetries else { return nil }
        let asked =
            switch status.commandRetryDelay {
            case 1: delays.0
            case 2: delays.1
            case 3: delays.2
            default: UInt64(0)
            }
        return asked > 0
            ? asked : min(Self.firstDelayMilliseconds << UInt64(min(retries, 8)), Self.lastDelayMilliseconds)
    }
}
