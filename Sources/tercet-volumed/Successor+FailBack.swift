import Base
import Succession
import VolumeRegistry
import VolumedConfiguration

/// Words of daemons to each other on the volumes that they prefer to serve.
extension Successor {
    /// Between two looks whether a volume that this daemon prefers could be served here, in milliseconds.
    static let readinessMilliseconds = 1000

    /// Looks for the volumes that this daemon prefers, stands by for, and could serve.
    func lookForReadiness() async {
        for volume in settings.prefers {
            guard let uuid = identities[volume], state.volumes[volume]?.state == .standingBy,
                await daemon.reaches(volume)
            else {
                readiness[volume] = nil
                continue
            }
            readiness[volume] = VolumePreference(
                failBack: settings.failBack.rawValue, hosts: await daemon.hosts(of: uuid))
        }
    }

    /// The words of other daemons on the volumes that are served here.
    func preferences(_ seen: OwnersListing) async -> [String: [Preference]] {
        var found: [String: [Preference]] = [:]
        for other in seen.daemons where other.record.name != settings.name {
            for (volume, preference) in other.record.preferences ?? [:] {
                guard state.volumes[volume]?.isServing == true, let uuid = identities[volume],
                    let failBack = FailBack(rawValue: preference.failBack)
                else { continue }
                // A host that cannot go there would have no path.
                let hosts = await daemon.hosts(of: uuid)
                found[volume, default: []].append(
                    Preference(
                        daemon: other.record.name, failBack: failBack,
                        hasLivingPath: hosts.isSubset(of: preference.hosts)
                    ))
                if failBack == .quiet { await noteUse(volume) }
            }
        }
        return found
    }

    private func noteUse(_ volume: String) async {
        let count = await daemon.uses(volume)
        guard uses.updateValue(count, forKey: volume) != count else { return }
        take(.volume(volume, .used))
    }
}
