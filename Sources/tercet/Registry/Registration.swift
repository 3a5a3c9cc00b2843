import Base
import Replication
import VolumeDriver
import VolumeRegistry

/// A volume's entry in a registry, as a command found it and goes on with it.
final class Registration {
    let registry: any Registry
    private(set) var present: RegisteredVolume
    var entry: VolumeEntry { present.entry }

    private init(_ registry: any Registry, _ present: RegisteredVolume) {
        self.registry = registry
        self.present = present
    }

    /// Finds an entry.
    static func find(_ name: String, in list: any Registry) async throws(TercetError) -> Registration {
        guard let found = try await callRegistry({ () async throws(RegistryError) in try await list.get(name) }) else {
            throw TercetError(
                .notFound, "volume \(name): there is none in the registry; tercet volume list shows those that are")
        }
        return Registration(list, found)
    }

    /// Makes an entry; refuses if there is one of this name.
    static func make(_ entry: VolumeEntry, in list: any Registry) async throws(TercetError) -> Registration {
        if let found = try await callRegistry({ () async throws(RegistryError) in try await list.get(entry.name) }) {
            let state =
                found.entry.operation == nil ? "" : "; something was left half done there: tercet registry check"
            throw TercetError(
                .exists,
                "volume \(entry.name): is in the registry already, as \(found.entry.uuid), \(found.entry.state)\(state)"
            )
        }
        let revision = try await callRegistry { () async throws(RegistryError) in
            try await list.put(entry, expecting: nil)
        }
        return Registration(list, RegisteredVolume(entry, revision))
    }

    /// Announces an operation: until it is over others leave the volume to it, and a check finishes it if its worker dies.
    ///
    /// - Parameter takesOver: an operation whose worker cannot be seen from here is taken for dead.
    func begin(
        _ operation: VolumeOperation, state: VolumeEntry.State? = nil, takesOver: Bool = false
    ) async throws(TercetError) {
        if let other = entry.operation {
            try Self.checkDead(other, entry.name, takesOver: takesOver)
            guard other.kind == operation.kind, other.address == operation.address, other.member == operation.member
            else {
                throw TercetError(
                    .inUse,
                    "volume \(entry.name): \(other.words) was left half done: tercet registry check, then try again")
            }
        }
        try await change { entry in
            entry.operation = operation
            if let state { entry.state = state }
        }
    }

    /// Throws while an operation's worker is alive, or may be.
    static func checkDead(
        _ operation: VolumeOperation, _ name: String, takesOver: Bool
    ) throws(TercetError) {
        switch operation.worker.isAlive {
        case false: return
        case true:
            throw TercetError(.inUse, "volume \(name): \(operation.worker.words) is at work on \(operation.words)")
        case nil:
            guard !takesOver else { return }
            throw TercetError(
                .inUse,
                "volume \(name): \(operation.worker.words) was at work on \(operation.words), and from here it cannot be seen whether "
                    + "it has ended: look there, and say --take-over to tercet registry check if it has")
        }
    }

    /// Changes the entry as it was read; refuses if another program has changed it since.
    func change(_ body: (inout VolumeEntry) -> Void) async throws(TercetError) {
        var entry = present.entry
        body(&entry)
        let (list, revision) = (registry, present.revision)
        let next = try await callRegistry { () async throws(RegistryError) in
            try await list.put(entry, expecting: revision)
        }
        present = RegisteredVolume(entry, next)
    }

    /// Takes the entry out of the registry.
    func remove() async throws(TercetError) {
        let (list, name, revision) = (registry, entry.name, present.revision)
        let volume = entry.uuid
        _ = try await callRegistry { () async throws(RegistryError) in
            // Before the entry goes: nobody would know of it afterwards.
            try await list.forgetHostReservation(of: volume)
            return try await list.delete(name, expecting: revision)
        }
    }

    /// The volume that the members have to hold.
    var expected: ExpectedVolume { ExpectedVolume(name: entry.name, volume: entry.uuid, byteCount: entry.size) }
}

extension VolumeOperation {
    /// For people.
    var words: String {
        switch kind {
        case .create: "its creation"
        case .destroy: "its end"
        case .replace: "the replacement of member \(member ?? 0) with \(address?.description ?? "another")"
        case .grow: "its growth"
        }
    }
}

extension VolumeGeometry {
    /// Size of the volume, in bytes.
    var byteCount: UInt64 { dataBlocks * UInt64(blockSize) }
}
