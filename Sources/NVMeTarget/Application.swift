import Base
import BlockInterface
import NVMeSpec
import Synchronization
import TargetInterface

/// A definition that is being brought about: start, reload and retry, simulations and tests go this one road.
///
/// It does what it can and says what it waits for: reactors that have to take a removal on before something comes in its place,
/// a device that is being closed, an address that the first reactor listens at. `Target.apply` waits for that, and `DesiredState`
/// looks whether it has come. For one thread at a time; it may wait for devices.
final class Application {
    private let target: Target
    private let desired: TargetDefinition
    private let before: TargetDefinition
    private var missing: [MissingPart] = []
    /// The steps that are left, the next one last.
    private var steps: [() -> Pending?] = []

    /// How long to wait for a device that is being closed, in seconds: what runs on it has to end.
    private static let closingSeconds = 5.0

    /// Something that the next step has to wait for.
    struct Pending {
        let event: OneTimeEvent
        /// After so many seconds, where there is a limit, it is waited for no longer.
        var limitSeconds: Double?
    }

    /// - Parameter reopened: namespaces that are made anew although nothing of what is said of them differs.
    init(
        _ desired: TargetDefinition, reopening reopened: [TargetPart], at target: Target
    ) throws(TercetError) {
        try desired.check()
        self.target = target
        self.desired = desired
        let reached = target.reached
        // A part that is not there is not removed first.
        let reopened = reopened.filter { part in
            guard case .namespace(let nsid, let nqn) = part else { return false }
            return reached[nqn]?.namespaces.contains { $0.nsid == nsid } == true
        }
        before = reached.leavingOut(reopened + target.lostListeners.map { .listener($0) })
        let change = try DefinitionChange(from: before, to: desired)
        var steps: [() -> Pending?] = []
        for case .namespace(let nsid, let nqn) in reopened {
            steps.append { [unowned self] in remove(nsid, from: nqn) }
        }
        for address in change.removedListeners { steps.append { Pending(event: target.stopListening(at: address)) } }
        steps.append { [unowned self] in
            for referral in change.removedReferrals { self.target.remove(referral: referral) }
            return nil
        }
        for nqn in change.removedSubsystems {
            steps.append {
                target.removeSubsystem(nqn)
                return Pending(event: target.settled)
            }
        }
        for subsystem in change.addedSubsystems {
            steps.append { [unowned self] in
                add(subsystem)
                return nil
            }
        }
        for subsystem in change.changedSubsystems { steps.append { [unowned self] in self.change(subsystem) } }
        steps.append { [unowned self] in
            for referral in change.addedReferrals { self.target.add(referral: referral) }
            return nil
        }
        for address in change.addedListeners { steps.append { [unowned self] in listen(address) } }
        self.steps = steps.reversed()
    }

    /// Does what can be done. Returns what it waits for, after which it is to be called again; `nil` when all is done.
    func proceed() -> Pending? {
        while let step = steps.popLast() {
            if let pending = step(), !pending.event.hasCome { return pending }
        }
        target.reached = desired.leavingOut(missing.map(\.part))
        return nil
    }

    /// The parts that were done, and those that failed; when all is done.
    var report: TargetReport {
        var report = TargetReport()
        report.missing = missing
        report.done = (try? DefinitionChange(from: before, to: target.reached))?.lines ?? []
        return report
    }

    private func fail(_ part: TargetPart, _ reason: String) { missing.append(MissingPart(part: part, reason: reason)) }

    // MARK: Subsystems

    private func add(_ subsystem: SubsystemDefinition) {
        var definition = subsystem
        definition.serialNumber =
            subsystem.serialNumber ?? target.surroundings.serialNumber(of: subsystem.nqn, in: desired)
        do throws(TercetError) { try target.addSubsystem(definition) } catch {
            return fail(.subsystem(subsystem.nqn), error.description)
        }
        add(subsystem.namespaces, to: subsystem.nqn)
    }

    private func change(_ change: SubsystemChange) -> Pending? {
        var removed: [() -> Pending?] = []
        for nsid in change.removedNamespaces {
            removed.append { [unowned self] in remove(nsid, from: change.nqn) }
        }
        // A host that is told that it has a namespace may use it at once, by any of its queues.
        if change.pool != nil { steps.append { [unowned self] in Pending(event: self.target.settled) } }
        steps.append { [unowned self] in
            do throws(TercetError) {
                // A host that is let in anew has to have its keys by then.
                if let keys = change.authentication { try self.target.setAuthentication(keys, of: change.nqn) }
                if let access = change.access { try self.target.setAccess(access, of: change.nqn) }
                if !change.anaStates.isEmpty { try self.target.setANAStates(change.anaStates, of: change.nqn) }
                if let range = change.controllerIDs { try self.target.setControllerIDs(range, of: change.nqn) }
                if let pool = change.pool { try self.target.setPool(pool, of: change.nqn) }
            } catch {
                fail(.subsystem(change.nqn), error.description)
            }
            return nil
        }
        add(change.addedNamespaces, to: change.nqn)
        steps += removed.reversed()
        return nil
    }

    /// Removes a namespace; over when every reactor knows.
    private func remove(_ nsid: UInt32, from nqn: String) -> Pending? {
        target.removeNamespace(nsid, from: nqn)
        return Pending(event: target.settled)
    }

    /// Adds namespaces, as the next steps.
    private func add(_ namespaces: [NamespaceDefinition], to nqn: String) {
        for namespace in namespaces.reversed() {
            steps.append { [unowned self] in
                do throws(TercetError) { try self.target.addNamespace(namespace, to: nqn) } catch {
                    fail(.namespace(namespace.nsid, subsystem: nqn), error.description)
                }
                return nil
            }
            // One that was removed a moment ago stays open until every reactor has ended what runs on it.
            steps.append { [unowned self] in
                self.target.closing(of: namespace.backing).map {
                    Pending(event: $0, limitSeconds: Self.closingSeconds)
                }
            }
        }
    }

    // MARK: Listeners

    private func listen(_ address: SocketAddress) -> Pending {
        let outcome = ListenOutcome()
        steps.append { [unowned self] in
            if let failure = outcome.failure.withLock({ $0 }) {
                fail(.listener(address), "cannot listen at \(address): \(failure)")
            }
            return nil
        }
        target.listen(at: address) { failure in
            outcome.failure.withLock { $0 = failure }
            outcome.event.signal()
        }
        return Pending(event: outcome.event)
    }

    /// A reactor's answer about an address.
    private final class ListenOutcome: Sendable {
        let failure = Mutex<String?>(nil)
        let event = OneTimeEvent()
    }
}

extension Target {
    /// Makes the target what a definition says: compares it with what is there, and changes what differs. A part that fails is
    /// named and left out, and the rest is done. For the control plane, one call at a time; the reactors have to run.
    ///
    /// - Parameter reopened: namespaces that are made anew although nothing of what is said of them differs.
    /// - Throws: where a namespace in memory would lose its contents; nothing has been done then.
    public func apply(
        _ definition: TargetDefinition, reopening reopened: [TargetPart] = [],
        isolation: isolated (any Actor)? = #isolation
    ) async throws(TercetError) -> TargetReport {
        let application = try begin(definition, reopening: reopened)
        while let pending = application.proceed() { _ = await pending.event.wait(seconds: pending.limitSeconds) }
        return application.report
    }

    fileprivate func begin(
        _ definition: TargetDefinition, reopening reopened: [TargetPart] = []
    ) throws(TercetError) -> Application {
        try Application(definition, reopening: reopened, at: self)
    }
}

/// A target in virtual time, and what it is to be: `Target.apply` for a caller that polls its reactors itself.
public final class DesiredState {
    private let target: Target
    /// The target as it is to be, or is.
    public private(set) var definition: TargetDefinition
    private var reopened: [TargetPart] = []
    private var isApplied = true
    private var application: Application?
    private var pending: Application.Pending?
    /// The report of the last definition that was brought about.
    public private(set) var report = TargetReport()

    public init(_ target: Target) {
        self.target = target
        definition = target.reached
    }

    /// Lets the target become something else, once it has become what it was told before.
    public func apply(_ definition: TargetDefinition, reopening reopened: [TargetPart] = []) throws(TercetError) {
        self.definition = definition
        self.reopened += reopened
        isApplied = false
        try proceed()
    }

    /// Changes what the target is to be.
    public func change(_ body: (inout TargetDefinition) -> Void) throws(TercetError) {
        var changed = definition
        body(&changed)
        try apply(changed)
    }

    /// Goes on as far as it can; `true` when the target is what it is to be. After each poll of the reactors.
    @discardableResult
    public func proceed() throws(TercetError) -> Bool {
        while true {
            if let pending, !pending.event.hasCome { return false }
            if application == nil {
                if isApplied { return true }
                application = try target.begin(definition, reopening: reopened)
                reopened = []
                isApplied = true
            }
            pending = application?.proceed()
            if pending == nil, let ended = application {
                report = ended.report
                application = nil
            }
        }
    }
}
