import Base
import NVMeInitiator
import NVMeSpec
import Replication

/// Making a volume of members, and wiping one.
extension MemberProbe {
    /// Formats the members as a new volume: the data of all is zeroed, so that the members are equal, then the metadata is
    /// written.
    ///
    /// Nothing is written before all members have been asked for everything that the volume needs of them. The records come
    /// last, on all members: a creation that dies before leaves no volume, and one that dies among the records leaves one that
    /// was never attached and that the next creation with the same members may do anew.
    ///
    /// - Parameters:
    ///   - beforeWriting: called once all checks have passed, before anything is written; if it throws, nothing is.
    ///   - progress: called with a share from 0 to 1.
    public func create(
        _ creation: VolumeCreation, beforeWriting: () async throws(TercetError) -> Void = {},
        progress: @Sendable (Double) -> Void
    ) async throws(TercetError) -> VolumeGeometry {
        let format = try await checkedFormat(creation)
        try await beforeWriting()
        try await exclusively(fencing: creation.fencing) { () async throws(TercetError) in
            for member in places { try await wipeRecords(member) }
            try await zeroData(format.geometry, progress)
            let maps = format.pageCount - MemberLayout.slotCount
            for member in places { try await write(format, pages: 0..<maps, to: member) }
            for member in places { try await write(format, pages: maps..<format.pageCount, to: member) }
        }
        return format.geometry
    }

    /// Wipes the superblocks: the namespaces are members of nothing afterwards; their data stays.
    ///
    /// - Parameter beforeWriting: called once all checks have passed, before anything is written; if it throws, nothing is.
    public func destroy(
        beforeWriting: () async throws(TercetError) -> Void = {}
    ) async throws(TercetError) {
        for member in places { try checkWritable(member) }
        try await beforeWriting()
        try await exclusively(fencing: .none) { () async throws(TercetError) in
            for member in places { try await wipeRecords(member) }
        }
    }

    /// Gives up reservations that a creation or a destruction has left which died. A member at which anybody else is registered
    /// is left as it is.
    public func clearAbandonedReservations() async throws(TercetError) {
        for member in places {
            guard offersReservations(member), let found = try? await report(member), !found.registrants.isEmpty,
                found.registrants.allSatisfy({ $0.key == Self.key })
            else { continue }
            try await takeOver(member, reserving: false)
            await release(member)
        }
    }

    // MARK: Checks

    /// Asks all members for all that the volume needs of them.
    private func checkedFormat(_ creation: VolumeCreation) async throws(TercetError) -> VolumeFormat {
        var held: [Superblock?] = []
        for member in places {
            try checkWritable(member)
            if creation.fencing == .reservations { try await checkReservations(member) }
            held.append(try await heldRecord(member, creation))
        }
        let isUnfinished = self.isUnfinished(held)
        let candidates = places.map { member in
            MemberCandidate(
                uuid: identity(member), blockSize: blockSize(of: member), blocks: blocks(of: member),
                heldVolume: isUnfinished ? nil : held[member]?.volume)
        }
        do throws(MetadataError) {
            return try VolumeFormat(
                volume: creation.volume, members: candidates, regionSize: creation.regionSize,
                dataBlocks: creation.byteCount.map { $0 / UInt64(blockSize(of: 0)) }, fencing: creation.fencing,
                minimumCopies: creation.minimumCopies, overwrite: creation.overwrite)
        } catch {
            if case .holdsVolume(let member, let volume) = error {
                throw failure(
                    member, .exists, "holds volume \(volume); \(creation.overwriteConsent) if that is to be lost")
            }
            throw TercetError(.invalid, error.description)
        }
    }

    private func checkWritable(_ member: MemberIndex) throws(TercetError) {
        if description(of: member).identify.attributes.contains(.writeProtected) {
            throw failure(member, .notPermitted, "the namespace is write protected")
        }
    }

    /// A volume is fenced by Write Exclusive, Registrants Only (RESCAP bit 3), and members are asked who is registered.
    private func checkReservations(_ member: MemberIndex) async throws(TercetError) {
        guard offersReservations(member) else {
            throw failure(
                member, .unsupported,
                "its target does not offer the reservations that keep a second writer out (Write Exclusive, Registrants "
                    + "Only); ask for fencing none if nothing is to")
        }
        do throws(InitiatorError) { _ = try await report(member) } catch {
            throw failure(member, .failed, "its target does not tell who has the namespace reserved: \(error)")
        }
    }

    /// The record that a member holds; `nil` where it holds none. One that this release cannot read may be a volume's too.
    private func heldRecord(_ member: MemberIndex, _ creation: VolumeCreation) async throws(TercetError)
        -> Superblock?
    {
        switch try await superblock(of: member) {
        case .success(let found): return found
        case .failure(let error):
            switch error {
            case .newerFormat, .invalidField:
                guard !creation.overwrite else { return nil }
                throw TercetError(.exists, "\(error.description); \(creation.overwriteConsent) if it is to be lost")
            default: return nil
            }
        }
    }

    /// Whether what the members hold was left by a creation with these members that came to no end: a volume that nobody has
    /// ever attached, and whose record one of them lacks. There is nothing in it to be lost.
    private func isUnfinished(_ held: [Superblock?]) -> Bool {
        let found = held.compactMap { $0 }
        let identities = places.map { identity($0) }
        return !found.isEmpty && found.count < held.count
            && found.allSatisfy { record in
                record.volume == found[0].volume && record.wasNeverAttached && record.members.map(\.uuid) == identities
            }
    }

    // MARK: Writing

    /// Takes the old records away, of whatever volume, wherever one is told of.
    private func wipeRecords(_ member: MemberIndex) async throws(TercetError) {
        let blockSize = blockSize(of: member)
        let pageBlocks = UInt64(max(4096, blockSize) / blockSize)
        var ends = [blocks(of: member)]
        if let former = await formerSize(member) { ends.append(former) }
        for end in ends {
            guard let start = MemberLayout.slotBlock(0, memberBlocks: end, blockSize: blockSize) else { continue }
            try await zero(member, start: start, count: UInt64(MemberLayout.slotCount) * pageBlocks)
        }
        try await transfer(.flush, member, start: 0, count: 0)
    }

    private func zeroData(
        _ geometry: VolumeGeometry, _ progress: @Sendable (Double) -> Void
    ) async throws(TercetError) {
        let total = Double(geometry.dataBlocks) * Double(addresses.count)
        var done = 0.0
        for member in places {
            var block: UInt64 = 0
            while block < geometry.dataBlocks {
                let count = min(geometry.dataBlocks - block, zeroedAtOnce(member))
                try await zero(member, start: block, count: count)
                block += count
                done += Double(count)
                progress(done / total)
            }
        }
    }

    private func write(
        _ format: VolumeFormat, pages: Range<Int>, to member: MemberIndex
    ) async throws(TercetError) {
        for page in pages {
            let start = format.encode(page: page, member: member, into: pageBuffer(format.geometry.pageSize))
            try await transfer(.write, member, start: start, count: format.geometry.blocksPerPage)
        }
        try await transfer(.flush, member, start: 0, count: 0)
    }

    // MARK: Keeping others out

    /// Lets `body` write to the members, with all others kept out of them all where their targets offer it. Where one cannot
    /// be had, nothing is written to any.
    private func exclusively(
        fencing: FencingMode, _ body: () async throws(TercetError) -> Void
    ) async throws(TercetError) {
        do throws(TercetError) {
            for member in places { try await takeOver(member, reserving: fencing == .reservations) }
            try await body()
        } catch {
            for member in places { await release(member) }
            throw error
        }
        for member in places { await release(member) }
    }

    /// Keeps everybody else out of a member before it is written, also an earlier host whose reservation was left: its
    /// commands have ended when this returns. A target without reservations is written as it is.
    ///
    /// - Parameter reserves: whether the member is reserved where nobody has it reserved, too.
    private func takeOver(_ member: MemberIndex, reserving reserves: Bool) async throws(TercetError) {
        guard offersReservations(member), let found = try? await report(member) else { return }
        guard reserves || !found.registrants.isEmpty else { return }
        let (controller, nsid) = (self.controller(member), addresses[member].nsid)
        let type = ReservationType.writeExclusiveRegistrantsOnly
        do throws(InitiatorError) {
            try await controller.registerReservation(
                nsid: nsid, ReservationRegisterCommand(.register, ignoresExistingKey: true), currentKey: 0,
                newKey: Self.key)
            // The holder first: with its registration goes its reservation.
            for registrant in found.registrants.sorted(by: { $0.holdsReservation && !$1.holdsReservation }) {
                try await controller.acquireReservation(
                    nsid: nsid, ReservationAcquireCommand(.preemptAndAbort, type: type), currentKey: Self.key,
                    preemptKey: registrant.key)
            }
            if reserves, !found.registrants.contains(where: \.holdsReservation) {
                try await controller.acquireReservation(
                    nsid: nsid, ReservationAcquireCommand(.acquire, type: type), currentKey: Self.key)
            }
        } catch {
            throw failure(member, .inUse, "it cannot be reserved for this host: \(error)")
        }
    }

    /// Gives up what `takeOver` took.
    private func release(_ member: MemberIndex) async {
        guard offersReservations(member) else { return }
        // A refusal says that nothing was registered: there is nothing to clear.
        try? await controller(member).releaseReservation(
            nsid: addresses[member].nsid, ReservationReleaseCommand(.clear, type: nil), currentKey: Self.key)
    }

    /// The key of this short-lived registration; attachments have an epoch in its upper half.
    private static let key: UInt64 = 1
}

extension Superblock {
    /// The record is as the volume's creation wrote it: nobody has attached the volume since.
    public var wasNeverAttached: Bool { stamp.attachmentKey == 0 }
}
