import Base
import BlockInterface
import NVMeInitiator
import NVMeSpec
import Reactor
import Replication

/// A volume that this process has attached: from the look at its members to the detach.
///
/// Its state belongs to the group's thread; what is `async` may be called from anywhere, and takes its time from the group,
/// so that the simulation runs the same code in virtual time.
public final class VolumeAttachment: @unchecked Sendable {
    // Unchecked: the group's thread writes and reads all that changes.
    public let volume: Volume
    /// I/O of any length on the volume, for `async` callers.
    public let calls: VolumeCalls
    /// The newest record on the members.
    public let superblock: Superblock
    let group: InitiatorGroup
    private let host: any PollerHost
    private let news: VolumeNews

    /// How long a detach, and the end of the connections after it, may take without coming any further.
    public static let detachPatienceMilliseconds: UInt64 = 10_000

    private init(
        _ volume: Volume, _ superblock: Superblock, _ group: InitiatorGroup, _ host: any PollerHost, _ news: VolumeNews
    ) {
        self.volume = volume
        self.superblock = superblock
        self.group = group
        self.host = host
        self.news = news
        calls = VolumeCalls(volume, group)
    }

    // MARK: Opening

    /// Looks at the members, refuses where another host has the volume, attaches it, and returns when it is served.
    ///
    /// Nothing is left behind where this throws.
    ///
    /// - Parameters:
    ///   - hostMemory: what buffers of I/O are; `nil` for buffers that the volume's own memory gives out.
    ///   - host: polls the volume behind the group.
    ///   - observer: hears of the volume's events, on the group's thread.
    public static func open(
        _ options: VolumeAttachmentOptions, group: InitiatorGroup, hostMemory: HostMemory? = nil,
        host: any PollerHost, observer: @escaping @Sendable (VolumeEvent) -> Void = { _ in }
    ) async throws(VolumeError) -> VolumeAttachment {
        let result = await group.onExecutor { () async -> Result<VolumeAttachment, VolumeError> in
            do throws(VolumeError) {
                return .success(try await attached(options, group, hostMemory, host, observer))
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    private static func attached(
        _ options: VolumeAttachmentOptions, _ group: InitiatorGroup, _ hostMemory: HostMemory?, _ host: any PollerHost,
        _ observer: @escaping @Sendable (VolumeEvent) -> Void
    ) async throws(VolumeError) -> VolumeAttachment {
        let deadline =
            options.attachTimeoutMilliseconds.map { group.now.advanced(byMilliseconds: $0) } ?? .distantFuture
        let surveys = try await survey(options, group, deadline)
        if let problem = options.expected?.objection(options.members, surveys, excluded: options.excluded) {
            throw VolumeError(.invalid, problem)
        }
        let superblock = try newest(surveys)
        guard group.now < deadline else {
            throw VolumeError(.timedOut, "the members took all the time to say what they hold")
        }
        let news = VolumeNews(group)
        let volume: Volume
        do {
            volume = try Volume(options.volume(superblock), group: group, hostMemory: hostMemory) { event in
                news.take(event)
                if !news.isMuted { observer(event) }
            }
        } catch {
            throw VolumeError(.noMemory, "memory for the volume: \(error)", cause: error)
        }
        host.add(volume)
        let attachment = VolumeAttachment(volume, superblock, group, host, news)
        do throws(VolumeError) {
            try await attachment.attach(options, deadline)
        } catch {
            news.isMuted = true
            volume.engine.abandon(now: group.now)
            await attachment.disconnect()
            throw error
        }
        return attachment
    }

    /// Surveys the members that can be reached, once no other host has the volume, or may be fenced.
    private static func survey(
        _ options: VolumeAttachmentOptions, _ group: InitiatorGroup, _ deadline: MonotonicTime
    ) async throws(VolumeError) -> [MemberSurvey] {
        let end = min(group.now.advanced(byMilliseconds: VolumeOccupant.patienceMilliseconds), deadline)
        // Members are asked one after the other. Where each fails in one step, half of the time is left to attach.
        var step = MemberProbe.surveyStepMilliseconds
        if let total = options.attachTimeoutMilliseconds {
            step = min(step, UInt32(clamping: max(total / UInt64(2 * memberCount), 1)))
        }
        while true {
            let surveys = await MemberProbe.survey(
                options.members, hostNQN: options.hostNQN, hostID: options.hostID, group: group,
                formattedBytes: options.formattedBytes, stepMilliseconds: step)
            guard !options.takesOver, let occupant = VolumeOccupant(options.members, surveys.map(\.presentHosts)) else {
                return surveys
            }
            guard group.now < end else {
                throw VolumeError(.inUse, occupant.objection(consent: "take it over"), cause: occupant)
            }
            await group.sleep(milliseconds: 100)
        }
    }

    /// Looks at the members of a volume that another host may have, and leaves everything as it is. Returns the newest record.
    public static func look(
        _ options: VolumeAttachmentOptions, group: InitiatorGroup
    ) async throws(VolumeError) -> Superblock {
        let surveys = await group.onExecutor {
            await MemberProbe.survey(
                options.members, hostNQN: options.hostNQN, hostID: options.hostID, group: group,
                formattedBytes: options.formattedBytes)
        }
        if let problem = options.expected?.objection(options.members, surveys) { throw VolumeError(.invalid, problem) }
        return try newest(surveys)
    }

    /// Looks at the members of a volume that another host may have. Returns how many of them answer, and hold it.
    public static func reach(_ options: VolumeAttachmentOptions, group: InitiatorGroup) async -> Int {
        let surveys = await group.onExecutor {
            await MemberProbe.survey(
                options.members, hostNQN: options.hostNQN, hostID: options.hostID, group: group,
                formattedBytes: options.formattedBytes)
        }
        let found = surveys.compactMap { try? $0.superblock.get() }
        let newest = found.max { $0.stamp < $1.stamp }
        return found.count { $0.volume == newest?.volume }
    }

    /// The newest of the records that were found.
    private static func newest(_ surveys: [MemberSurvey]) throws(VolumeError) -> Superblock {
        let found = surveys.map(\.superblock)
        if let newest = found.compactMap({ try? $0.get() }).max(by: { $0.stamp < $1.stamp }) { return newest }
        let problems = found.compactMap { result -> TercetError? in
            if case .failure(let error) = result { return error }
            return nil
        }
        throw VolumeError(
            .noMember, "no member can be read: " + problems.map(\.description).joined(separator: "; "),
            cause: problems.first)
    }

    /// Waits until the volume is served.
    private func attach(_ options: VolumeAttachmentOptions, _ deadline: MonotonicTime) async throws(VolumeError) {
        volume.engine.attach(nonce: options.nonce ?? .random(in: 1...UInt32.max), now: group.now)
        var seen: Set<[MemberPhase]> = []
        var patienceEnd = MonotonicTime.distantFuture
        while true {
            let status = volume.currentStatus
            if status.phase == .serving || options.mayBeSuspended && status.phase == .suspended { return }
            try checkFailure()
            // The members' phases are finite: what has been seen before is no progress.
            if seen.insert(status.members.map(\.phase)).inserted, let patience = options.patienceMilliseconds {
                patienceEnd = group.now.advanced(byMilliseconds: patience)
            }
            let end = min(deadline, patienceEnd)
            guard group.now < end else {
                throw VolumeError(.timedOut, notServed(options, isStalled: patienceEnd < deadline))
            }
            await news.next(before: end)
        }
    }

    private func notServed(_ options: VolumeAttachmentOptions, isStalled: Bool) -> String {
        let found = currentObstacles
        return "the volume cannot be served yet"
            + (isStalled ? ", and nothing came any further for \((options.patienceMilliseconds ?? 0) / 1000) s" : "")
            + ": " + (found.isEmpty ? "the members do not come together" : found.joined(separator: "; "))
    }

    /// Throws where the volume is of no more use to this attachment.
    private func checkFailure() throws(VolumeError) {
        if let failure = news.failure {
            throw VolumeError(.notAttachable, "the volume cannot be attached: \(failure.explanation)", cause: failure)
        }
        if news.isDeposed { throw Self.deposed }
    }

    private static var deposed: VolumeError {
        VolumeError(.deposed, "another host has attached the volume: this one is deposed")
    }

    // MARK: What it is

    /// Connections to members lost so far. On the group's thread.
    public var losses: UInt64 { news.losses }

    /// The last thing that went wrong with a member, for people; empty where nothing has. On the group's thread.
    public var lastProblem: String { news.lastProblem }

    /// Reasons why members are not in sync, or the volume is not served, a sentence each; empty where all is well.
    public func obstacles() async -> [String] { await group.run { self.currentObstacles } }

    private var currentObstacles: [String] {
        news.troubles.obstacles(volume.currentStatus, volume.links.map(\.address))
    }

    /// The reservation keys of this attachment, and of the one that it has taken the volume over from.
    public func keys() async -> (own: UInt64, predecessor: UInt64) {
        await group.run { (self.volume.engine.reservationKey, self.volume.engine.predecessorKey) }
    }

    // MARK: Contents

    /// The mark of the volume's contents, as it is durable.
    public func contents() async -> VolumeContents { await group.run { self.volume.engine.contents } }

    /// Marks the volume's contents, and returns when the mark is durable. It only becomes greater: `invalid` where the volume's is
    /// greater already. A first write marks a blank volume as written by itself.
    ///
    /// - Parameter patienceMilliseconds: how long it may wait for the members.
    public func mark(
        _ contents: VolumeContents, patienceMilliseconds: UInt64 = detachPatienceMilliseconds
    ) async throws(VolumeError) {
        let result = await group.onExecutor { () async -> Result<Void, VolumeError> in
            do throws(VolumeError) { return .success(try await self.marked(contents, patienceMilliseconds)) } catch {
                return .failure(error)
            }
        }
        try result.get()
    }

    private func marked(_ contents: VolumeContents, _ patienceMilliseconds: UInt64) async throws(VolumeError) {
        let end = group.now.advanced(byMilliseconds: patienceMilliseconds)
        while volume.engine.contents != contents || !volume.engine.mark(contents, now: group.now) {
            let present = volume.engine.contents
            guard present <= contents else {
                throw VolumeError(
                    .invalid, "the volume is marked as \(present.words), and cannot become \(contents.words) again")
            }
            try checkFailure()
            guard group.now < end else {
                throw VolumeError(
                    .timedOut,
                    "the mark was not durable on enough members within \(patienceMilliseconds / 1000) s: "
                        + currentObstacles.joined(separator: "; "))
            }
            _ = volume.engine.mark(contents, now: group.now)
            // The engine's requests leave with the volume's next round.
            group.send {}
            await news.next(before: min(end, group.now.advanced(byMilliseconds: 100)))
        }
    }

    // MARK: Ending

    /// Has the members make durable what was written, while the volume is in use: so a detach behind it, for which users wait, has little
    /// left to flush. Returns when they have, or when the time is up.
    public func prepareDetach(milliseconds: UInt64 = prepareMilliseconds) async {
        await group.onExecutor {
            let token = SleepToken(self.group)
            self.group.spawn {
                _ = await self.calls.perform(.flush)
                token.cancel()
                // So that the group's next round looks at who sleeps.
                self.group.send {}
            }
            await self.group.sleep(until: self.group.now.advanced(byMilliseconds: milliseconds), token)
        }
    }

    /// How long members are given to flush before a detach.
    public static let prepareMilliseconds: UInt64 = 5000

    /// How long the steps of the detach took.
    public func detachTimes() async -> DetachTimes { await group.run { self.volume.engine.detachTimes } }

    /// Detaches in order: completes what is under way, flushes, marks the volume clean, and ends the connections. Where it
    /// does not come any further for a while, the volume is let go as a crash would leave it, and this throws `notClean`;
    /// `deposed` where another host has it.
    ///
    /// - Parameters:
    ///   - patienceMilliseconds: how long it may go on without coming any further.
    ///   - leavesReservations: the members' reservations stay, for another host that attaches at once and takes them away: this one does
    ///     not wait until the members have stored that they are given up.
    public func detach(
        patienceMilliseconds: UInt64 = detachPatienceMilliseconds, leavesReservations: Bool = false
    ) async throws(VolumeError) {
        let result = await group.onExecutor { () async -> Result<Void, VolumeError> in
            self.volume.beginDetach(leavesReservations: leavesReservations)
            do throws(VolumeError) { return .success(try await self.detached(patienceMilliseconds)) } catch {
                return .failure(error)
            }
        }
        try result.get()
    }

    private func detached(_ patienceMilliseconds: UInt64) async throws(VolumeError) {
        var least = Int.max
        var end = group.now.advanced(byMilliseconds: patienceMilliseconds)
        while volume.currentPhase != .detached, !news.isDeposed {
            // Progress is less work than ever before: so it ends, also where members come and go.
            let left = volume.engine.detachWorkLeft
            if left < least {
                least = left
                end = group.now.advanced(byMilliseconds: patienceMilliseconds)
            }
            guard group.now < end else { break }
            await news.next(before: min(end, group.now.advanced(byMilliseconds: 100)))
        }
        let status = volume.currentStatus
        let isDeposed = news.isDeposed
        // Its user knows: what it tells of the end of connections from here on is no news.
        news.isMuted = status.phase != .detached && !isDeposed
        volume.engine.abandon(now: group.now)
        await disconnect()
        if isDeposed { throw Self.deposed }
        guard status.phase != .detached else { return }
        let missing = MemberSet(MemberSet.all.filter { status.members[$0].phase != .active })
        throw VolumeError(
            .notClean,
            "the volume was not detached within \(patienceMilliseconds / 1000) s"
                + (missing == [] ? "" : ": members \(missing) could not be used")
                + "; it is left as after a crash of this host, and the next attach makes its members equal")
    }

    /// Lets the volume go without making it clean, as a crash would, and ends the connections.
    public func abandon() async {
        await group.onExecutor {
            self.news.isMuted = true
            self.volume.engine.abandon(now: self.group.now)
            await self.disconnect()
        }
    }

    /// Waits until nothing reaches memory any more; targets that do not answer get the time that connections take.
    private func disconnect() async {
        let end = group.now.advanced(byMilliseconds: Self.detachPatienceMilliseconds)
        while !volume.isDisconnected, group.now < end { await group.sleep(milliseconds: 5) }
        if volume.isDisconnected { host.remove(volume) }
    }
}
