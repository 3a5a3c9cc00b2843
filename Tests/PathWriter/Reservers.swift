import Base
import NVMeInitiator
import NVMeSpec

/// Two hosts with paths to one namespace: one reserves it, so that the other may read and not write, whichever path serves.
struct Reservers {
    private let holder: [Path]
    private let other: [Path]

    private static let key: UInt64 = 0x7e2c_e700_0000_0001
    private static let type = ReservationType.writeExclusive
    private static let patience = Duration.seconds(20)

    /// Paths that cannot be connected are left out.
    init(_ addresses: [SocketAddress], _ nqn: String, _ group: InitiatorGroup) async throws {
        func paths(_ number: UInt64) async -> [Path] {
            let host = UUIDBytes(high: 0x6d1a_6a1e_0000_4000, low: 0x8000_0000_0000_0100 + number)
            var paths: [Path] = []
            for address in addresses {
                if let path = try? await Path(address, nqn, group, host: host) { paths.append(path) }
            }
            return paths
        }
        (holder, other) = (await paths(1), await paths(2))
        guard !holder.isEmpty, holder.count == other.count else { throw Wrong("no path can be connected") }
    }

    /// `reserve`, `check` that the reservation holds, or `release` it, and see that it does no more.
    func perform(_ word: String) async throws -> String {
        switch word {
        case "reserve":
            try await command(holder) { controller, nsid in
                try await controller.registerReservation(
                    nsid: nsid, ReservationRegisterCommand(.register), currentKey: 0, newKey: Self.key)
            }
            try await command(holder) { controller, nsid in
                try await controller.acquireReservation(
                    nsid: nsid, ReservationAcquireCommand(.acquire, type: Self.type), currentKey: Self.key)
            }
            return "reserved"
        case "check":
            try await expect(.write, by: holder, .success)
            try await expect(.write, by: other, .reservationConflict)
            try await expect(.read, by: other, .success)
            var keys: [UInt64] = []
            try await command(other) { controller, nsid in
                keys = try await controller.reservationReport(nsid: nsid).registrants.filter(\.holdsReservation).map(
                    \.key)
            }
            guard keys == [Self.key] else { throw Wrong("the keys of holders are \(keys)") }
            return "kept"
        case "release":
            try await command(holder) { controller, nsid in
                try await controller.registerReservation(
                    nsid: nsid, ReservationRegisterCommand(.unregister), currentKey: Self.key, newKey: 0)
            }
            try await expect(.write, by: other, .success)
            return "released"
        default: throw Wrong("\(word): is none of reserve, check and release")
        }
    }

    /// Sends a command by whichever path does it.
    private func command(
        _ paths: [Path], _ body: (Controller, UInt32) async throws -> Void
    ) async throws {
        try await anywhere(paths) { path in
            do { try await body(path.controller, path.namespace.nsid) } catch let error as InitiatorError {
                guard case .status(let status, _) = error, !status.isPathError else { return false }
                throw error
            }
            return true
        }
    }

    private func expect(_ kind: IOKind, by paths: [Path], _ expected: Status) async throws {
        try await anywhere(paths) { path in
            let completion = await path.perform(kind, lane: 0, offset: 0)
            guard completion.outcome == .surelyDone, !completion.status.isPathError else { return false }
            guard completion.status.matches(expected) else {
                throw Wrong("\(kind): \(completion.status), and not \(expected)")
            }
            return true
        }
    }

    private func anywhere(_ paths: [Path], _ body: (Path) async throws -> Bool) async throws {
        let end = ContinuousClock.now + Self.patience
        while ContinuousClock.now < end {
            for path in paths where try await body(path) { return }
            try await Task.sleep(for: .milliseconds(10))
        }
        throw Wrong("no path for \(Self.patience)")
    }
}
