import ArgumentParser
import Base
import Foundation
import SQLiteRegistry
import VolumeRegistry

/// Which registry of volumes.
struct RegistryArguments: ParsableArguments {
    @Option(
        name: .customLong("registry"),
        help: ArgumentHelp("The registry of volumes (default: TERCET_REGISTRY).", valueName: "sqlite:PATH"))
    var option: String?

    /// The variable that names the registry where the option does not.
    static let variable = "TERCET_REGISTRY"

    /// The registry's place as it was given; `nil` if none was.
    var place: String? {
        if let option { return option }
        let value = ProcessInfo.processInfo.environment[Self.variable] ?? ""
        return value.isEmpty ? nil : value
    }

    func validate() throws {
        guard let place else { return }
        guard SQLiteRegistry.path(ofPlace: place) != nil else {
            let source = option == nil ? Self.variable : "--registry"
            throw ValidationError("\(source) \"\(place)\": is no registry; allowed: sqlite:PATH")
        }
    }

    /// - Parameter makes: a registry that is not there is made.
    func open(makes: Bool = false) throws -> any Registry {
        guard let path = place.flatMap({ SQLiteRegistry.path(ofPlace: $0) }) else {
            throw ValidationError("no registry is given: --registry sqlite:PATH, or the variable \(Self.variable)")
        }
        do throws(RegistryError) {
            return try SQLiteRegistry(path: path, makes: makes)
        } catch { throw TercetError(error) }
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
            case .failed: .failed
            }
        self.init(code, error.message)
    }
}

/// Calls a registry. Its errors become the command's.
func callRegistry<Result>(_ body: () async throws(RegistryError) -> Result) async throws(TercetError) -> Result {
    do throws(RegistryError) { return try await body() } catch { throw TercetError(error) }
}
