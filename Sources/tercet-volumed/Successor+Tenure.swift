import Base
import Logging
import NVMeSpec
import Succession
import VolumeDriver
import VolumeRegistry
import VolumedConfiguration

/// A volume is attached as the registry has it now: it may have grown, or have another member, since this daemon began.
extension Successor {
    func attach(
        _ volume: String, _ fencing: VolumeSuccession.Fencing, during term: ServingTerm
    ) async -> Bool {
        var present: VolumedConfiguration.VolumeEntry?
        do throws(RegistryError) { present = try await RegisteredVolumes.volume(volume, registry) } catch {
            // Then the entry that is known has to do: the members have the last word.
            guard error.code == .unavailable || error.code == .inUse else {
                note(volume, .error, "cannot be attached: \(error.message)")
                return false
            }
        }
        return await daemon.attachOwned(volume, present, takesOver: fencing == .fences, during: term)
    }
}

/// Reservations of hosts belong to the volume: each owner takes on what the one before it has kept, and keeps what hosts change.
extension Successor {
    private static let retryMilliseconds = 100

    /// Asks for the reservation that is kept. The volume is this daemon's: nobody changes it until it is served.
    func askForReservation(_ volume: String) {
        guard let uuid = identities[volume] else { return }
        reservations[volume] = Task { [registry] in
            do throws(RegistryError) { return .success(try await registry.hostReservation(of: uuid)) } catch {
                return .failure(error)
            }
        }
    }

    /// Takes on the reservation that is kept. Returns `false` where it is not known, or the volume is not this daemon's any more: without it
    /// a host that others have fenced could write.
    func takeOnReservation(_ volume: String) async -> Bool {
        guard let uuid = identities[volume] else { return false }
        var early = reservations.removeValue(forKey: volume)
        while state.volumes[volume]?.isServing == true {
            do {
                let answer = early
                early = nil
                let kept =
                    if let answer { try await answer.value.get() } else { try await registry.hostReservation(of: uuid) }
                try await daemon.takeOnOwned(kept, of: uuid)
                return true
            } catch let error as RegistryError where error.code == .unavailable || error.code == .inUse {
                // Until it answers, or the lease has ended.
                try? await Task.sleep(for: .milliseconds(Self.retryMilliseconds))
            } catch {
                let reason = (error as? RegistryError)?.message ?? "\(error)"
                note(volume, .error, "cannot be served: its hosts' reservation is not known: \(reason)")
                return false
            }
        }
        return false
    }

    /// Keeps the reservation of a volume's hosts for the owners to come. Returns what went wrong.
    func keep(_ reservation: [UInt8]?, ofHostsAt subsystem: String) async -> String? {
        guard
            let (volume, uuid) = identities.first(where: { NQN.uuid($0.value) == subsystem }).map({ ($0.key, $0.value) }
            ),
            case .serving(let claim) = state.volumes[volume]?.state
        else { return "the volume is not served here any more" }
        do throws(RegistryError) {
            try await registry.keep(
                hostReservation: reservation, of: uuid, volume, claim: Revision(claim.number))
            return nil
        } catch { return error.message }
    }
}
