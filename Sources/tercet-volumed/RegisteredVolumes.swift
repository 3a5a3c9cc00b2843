import Base
import Foundation
import RegistryBackend
import VolumeDriver
import VolumeRegistry
import VolumedConfiguration

/// Volumes that are given by their names in a registry.
enum RegisteredVolumes {
    /// Looks volumes up.
    ///
    /// - Parameter place: the registry as it was given; `nil` for that of the variable `TERCET_REGISTRY`.
    static func find(
        _ names: [String], in place: String?
    ) async throws(TercetError) -> [String: VolumedConfiguration.VolumeEntry] {
        guard !names.isEmpty else { return [:] }
        guard let place = place ?? ProcessInfo.processInfo.environment[RegistryBackend.variable] else {
            throw TercetError(
                .invalid,
                "--volume \(names[0]): no members; allowed: NAME=MEMBER,MEMBER,MEMBER, or a name in a registry, with --registry "
                    + RegistryBackend.allowed)
        }
        do throws(RegistryError) {
            let registry = try await RegistryBackend.open(place)
            var found: [String: VolumedConfiguration.VolumeEntry] = [:]
            for name in names { found[name] = try await volume(name, registry) }
            return found
        } catch {
            throw TercetError(.invalid, error.message)
        }
    }

    /// Looks up the volumes of a configuration that have no members there.
    static func complete(_ configuration: inout VolumedConfiguration) async throws(TercetError) {
        let places = configuration.volumes.indices.filter { configuration.volumes[$0].members.isEmpty }
        let found = try await find(places.map { configuration.volumes[$0].name }, in: configuration.registry)
        for place in places {
            guard let volume = found[configuration.volumes[place].name] else { continue }
            configuration.volumes[place].members = volume.members
            configuration.volumes[place].expected = volume.expected
        }
    }

    /// A volume as the registry has it now. Throws `notFound`; `invalid` where it is being created or removed.
    static func volume(
        _ name: String, _ registry: any Registry
    ) async throws(RegistryError) -> VolumedConfiguration.VolumeEntry {
        guard let entry = try await registry.get(name)?.entry else {
            throw RegistryError(.notFound, "volume \(name): there is none in the registry")
        }
        guard entry.state == .ready else {
            throw RegistryError(
                .invalid,
                "volume \(name): is \(entry.state); if that was interrupted, tercet registry check finishes or removes it"
            )
        }
        var volume = VolumedConfiguration.VolumeEntry(name: name, members: entry.members.map(\.address))
        volume.expected = ExpectedVolume(name: name, volume: entry.uuid, byteCount: entry.size)
        return volume
    }
}
