import ArgumentParser
import Base
import Foundation
import RegistryBackend
import VolumeRegistry

/// Which registry of volumes.
struct RegistryArguments: ParsableArguments {
    @Option(
        name: .customLong("registry"),
        help: ArgumentHelp(
            "The registry of volumes: \(RegistryBackend.allowed) (default: TERCET_REGISTRY).", valueName: "place"))
    var option: String?

    /// The registry's place as it was given; `nil` if none was.
    var place: String? {
        if let option { return option }
        let value = ProcessInfo.processInfo.environment[RegistryBackend.variable] ?? ""
        return value.isEmpty ? nil : value
    }

    func validate() throws {
        guard let place else { return }
        do throws(RegistryError) {
            try RegistryBackend.validate(place)
        } catch {
            throw ValidationError("\(option == nil ? RegistryBackend.variable : "--registry") \(error.message)")
        }
    }

    /// - Parameter makes: a registry that is not there is made.
    func open(makes: Bool = false) async throws -> any Registry {
        guard let place else {
            throw ValidationError(
                "no registry is given: --registry, or the variable \(RegistryBackend.variable), says which; allowed: "
                    + RegistryBackend.allowed)
        }
        return try await callRegistry { () async throws(RegistryError) in
            try await RegistryBackend.open(place, makes: makes)
        }
    }
}

extension TercetError {
    /// A registry's error as the command's.
    init(_ error: RegistryError) {
        let code: Code =
            switch error.code {
            case .conflict(.some): .exists
            case .conflict(nil), .notFound: .notFound
            case .compacted, .unknownVersion: .unsupported
            case .invalid: .invalid
            case .damaged: .damaged
            case .inUse: .inUse
            case .notPermitted: .notPermitted
            case .unavailable: .unavailable
            case .leaseLost, .failed: .failed
            }
        self.init(code, error.message)
    }
}

/// Calls a registry. Its errors become the command's.
func callRegistry<Result>(_ body: () async throws(RegistryError) -> Result) async throws(TercetError) -> Result {
    do throws(RegistryError) { return try await body() } catch { throw TercetError(error) }
}
