import EtcdRegistry
import SQLiteRegistry
import VolumeRegistry

/// Registries by their places, as operators write them.
public enum RegistryBackend {
    /// The variable that names the registry where no option does.
    public static let variable = "TERCET_REGISTRY"
    /// For people.
    public static let allowed = "sqlite:PATH, etcd://HOST:PORT[,HOST:PORT...]"

    /// Throws `invalid` if a text is no place of a registry. Nothing is opened.
    public static func validate(_ place: String) throws(RegistryError) {
        if place.hasPrefix(EtcdPlace.scheme) {
            _ = try EtcdPlace(place)
        } else if SQLiteRegistry.path(ofPlace: place) == nil {
            throw RegistryError(.invalid, "\"\(place)\": is no registry; allowed: \(allowed)")
        }
    }

    /// Opens a registry.
    ///
    /// - Parameters:
    ///   - makes: a registry that is not there is made.
    ///   - milliseconds: how long a call waits for the registry, or for others that change it, instead of the usual time.
    public static func open(
        _ place: String, makes: Bool = false, milliseconds: Int? = nil
    ) async throws(RegistryError) -> any Registry {
        try validate(place)
        if let path = SQLiteRegistry.path(ofPlace: place) {
            return try SQLiteRegistry(
                path: path, makes: makes,
                busyMilliseconds: milliseconds.map { Int32(clamping: $0) } ?? SQLiteRegistry.busyMilliseconds)
        }
        return try await EtcdRegistry(try EtcdPlace(place), makes: makes, milliseconds: milliseconds)
    }
}
