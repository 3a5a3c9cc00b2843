import ArgumentParser
import Base
import Succession
import VolumedConfiguration

/// The options of a daemon that shares volumes with others.
extension TercetVolumed {
    /// The daemon's part among others, by the options; `nil` where the daemon is alone.
    func succession() throws(TercetError) -> SuccessionSettings? {
        guard let daemon else {
            guard place == nil, lease == nil, prefer.isEmpty, failBack == nil, stay == nil else {
                throw TercetError(
                    .invalid,
                    "--place, --lease, --prefer, --fail-back and --stay are those of a daemon among several: give --daemon NAME too"
                )
            }
            return nil
        }
        guard let place, SuccessionSettings.places.contains(place) else {
            throw TercetError(.invalid, "--daemon \(daemon): needs a place of its own: --place 0 to 15")
        }
        let seconds = lease ?? Int(SuccessionSettings.usualLeaseSeconds)
        guard SuccessionSettings.leases.contains(seconds) else {
            throw TercetError(.invalid, "--lease \(seconds): is out of range; allowed: 1 to 600 seconds")
        }
        var settings = try SuccessionSettings(name: daemon, place: place, leaseSeconds: Int64(seconds))
        settings.prefers = Set(prefer)
        settings.failBack = failBack ?? settings.failBack
        settings.staySeconds = stay ?? settings.staySeconds
        guard SuccessionSettings.stays.contains(settings.staySeconds) else {
            throw TercetError(.invalid, "--stay \(settings.staySeconds): is out of range; allowed: 1 to 3600 seconds")
        }
        return settings
    }
}

extension FailBack: ExpressibleByArgument {}
