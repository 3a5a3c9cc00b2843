import Base
import NVMeSpec

/// A live association's work beside its I/O: keep-alive and asynchronous events.
extension Controller {
    /// Asks for the events that the controller offers and that we act on.
    func configureEvents() async throws(InitiatorError) {
        let wanted: AsyncEventConfiguration =
            options.isDiscovery ? .discoveryLog : [.namespaceAttribute, .anaChange, .firmwareActivation]
        let offered = identify.asyncEvents.intersection(wanted)
        if !offered.isEmpty { try await setFeature(.asyncEventConfiguration, offered.rawValue) }
    }

    /// Starts the tasks of an association; they end with it.
    func watch(_ number: UInt64) {
        if options.keepAliveMilliseconds > 0 {
            Task(executorPreference: home.executor) { await self.keepAlive(number) }
        }
        // A discovery controller without keep-alive is asked and left: it has no time to tell.
        guard !options.isDiscovery || options.keepAliveMilliseconds > 0 else { return }
        for _ in 0..<min(Int(identify.asyncEventRequestLimit) + 1, Limits.asyncEventRequests) {
            Task(executorPreference: home.executor) { await self.awaitEvents(number) }
        }
    }

    /// Sends Keep Alive at half the timeout; where the controller counts any traffic (TBKAS) and there is some, only when there
    /// was none in the last quarter: traffic at a quarter's beginning then leaves half of the time for the command. The time
    /// counts from the sending, not from the answer, and what was seen after a late awakening may be old: two polls in the
    /// timeout are then enough.
    ///
    /// The controllers of a group look at the same moments, a sixteenth of the timeout apart: hundreds of them that are idle wake
    /// their thread sixteen times in a timeout, and not hundreds of times.
    private func keepAlive(_ number: UInt64) async {
        let countsTraffic = identify.attributes.contains(.trafficBasedKeepAlive)
        let half = UInt64(options.keepAliveMilliseconds) / 2
        let quarter = half / 2
        var before = await answers()
        var isBusy = countsTraffic
        var due = look(after: isBusy ? quarter : half)
        while true {
            if home.now < due { await home.sleep(until: due) }
            guard number == self.number, state == .live else { return }
            let seen = await answers()
            let hasTraffic = countsTraffic && seen != before
            if isBusy, hasTraffic, home.now < due.advanced(byMilliseconds: quarter) {
                before = seen
                due = look(after: quarter)
                continue
            }
            // Traffic in the last half may have been at its beginning.
            isBusy = hasTraffic
            due = look(after: isBusy ? quarter : half)
            let entry = SubmissionEntry(.keepAlive, commandID: 0)
            do throws(InitiatorError) {
                _ = try await command(
                    entry, name: "Keep Alive",
                    timeoutMilliseconds: min(options.keepAliveMilliseconds, options.adminTimeoutMilliseconds))
                // Its own answer is no traffic: else every second one would be left out, and the time be up.
                before = await answers()
            } catch {
                // Lost connections have been reported; a refusal ends the association here.
                return failed("\(error)", association: number)
            }
        }
    }

    /// The last of the group's moments within so long from now.
    private func look(after milliseconds: UInt64) -> MonotonicTime {
        home.now.advanced(byMilliseconds: milliseconds)
            .aligned(toMilliseconds: max(1, UInt64(options.keepAliveMilliseconds) / 16))
    }

    /// Answers seen on all queues.
    private func answers() async -> UInt64 {
        var sum = admin.engine.answers
        for queue in queues {
            sum &+= queue.group === home ? queue.engine.answers : await queue.group.run { queue.engine.answers }
        }
        return sum
    }

    /// Keeps one Asynchronous Event Request with the controller.
    private func awaitEvents(_ number: UInt64) async {
        while number == self.number, state == .live {
            let entry = SubmissionEntry(.asynchronousEventRequest, commandID: 0)
            do throws(InitiatorError) {
                let name = "Asynchronous Event Request"
                let result = try await command(entry, name: name, timeoutMilliseconds: 0).result
                guard number == self.number else { return }
                await handle(AsyncEvent(dword0: UInt32(truncatingIfNeeded: result)))
            } catch {
                // The association has ended, or the controller takes fewer requests than it says.
                return
            }
        }
    }

    /// Acts on an event; reading its log page lets the controller report the next of its kind.
    private func handle(_ event: AsyncEvent) async {
        switch event {
        case .namespaceAttributeChanged:
            let bytes = try? await logPage(.changedNamespaces, byteCount: 4096)
            let list = bytes?.withUnsafeBytes { try? NamespaceList(decoding: $0) }
            do throws(InitiatorError) { try await scanNamespaces() } catch { return }
            notify(.namespacesChanged(list?.identifiers ?? []))
        case .anaChange:
            notify(.anaChanged)
        case .discoveryLogChanged:
            notify(.discoveryLogChanged)
        case .reservationLogAvailable:
            await readReservationNotifications()
        default:
            if event.logPage != 0 {
                _ = try? await logPage(LogPageID(rawValue: event.logPage), byteCount: 512)
            }
            notify(.asyncEvent(event))
        }
    }

    /// Each reading takes the oldest notification out of the controller's log (NVM Express Base, "Reservation Notification
    /// Log Page"), so that what is read has to be told.
    private func readReservationNotifications() async {
        // As many as a controller's log can count, also where it tells of more each time.
        for _ in 0...Int(UInt8.max) {
            guard
                let page = try? await logPage(
                    .reservationNotification, byteCount: ReservationNotificationLog.byteCount),
                let notification = try? ReservationNotificationLog(decoding: page), notification.kind != .empty
            else { return }
            notify(.reservationNotification(notification))
            if notification.available == 0 { return }
        }
    }
}
