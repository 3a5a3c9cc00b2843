import Base
import FabricInterface
import InitiatorTransport
import Memory
import NVMeInitiator
import NVMeSpec
import RDMATransport
import Replication

/// Making and ending the connections to members.
extension Volume {
    /// The facts that a new connection has found out about its member.
    struct Greeting: Sendable {
        var namespace: Int
        var identity: NamespaceIdentity
        var blocks: UInt64
        /// The target's run.
        var run: UInt64
        var cache: CacheInstance
        var controllerID: UInt16?
        /// The target has said that all commands of the association before are over.
        var isQuiesced: Bool
        /// The target has the Write Zeroes command (ONCS bit 3).
        var hasWriteZeroes: Bool
        /// Keep-alive timeouts until the target notices that an association is lost.
        var keepAlivePeriods: UInt64
    }

    func connect(_ link: MemberLink) {
        link.attempt += 1
        let attempt = link.attempt
        let address = link.address
        var controllerOptions = ControllerOptions(
            address: address.address, subsystemNQN: address.subsystemNQN, hostNQN: options.hostNQN,
            hostID: options.hostID, queueEntries: options.queueEntries,
            operationsPerQueue: options.configuration.queueDepth * 2 + 64,
            maxTransferSize: options.configuration.maximumTransfer,
            keepAliveMilliseconds: options.keepAliveMilliseconds,
            connectTimeoutMilliseconds: options.connectTimeoutMilliseconds,
            // No command of the control plane may take longer than a step of taking a member in: a target that went
            // away in the middle of one would keep the member out for as long.
            adminTimeoutMilliseconds: UInt32(clamping: options.configuration.joinTimeout / 1_000_000),
            recovery: .fail)
        controllerOptions.onlyNamespace = address.nsid
        let controller = Controller(controllerOptions, home: group, groups: [group]) { [weak self] event in
            self?.take(event, link, attempt)
        }
        link.controller = controller
        controller.queues[0].sink = link
        let previous = link.controllerID.map { (run: link.run, controllerID: $0) }
        group.spawn { [self] in
            do throws(InitiatorError) {
                let greeting = try await greet(controller, address, after: previous)
                group.send { self.connected(link, attempt, greeting) }
            } catch {
                await controller.close()
                let reason = "\(error)"
                group.send { self.notConnected(link, attempt, reason) }
            }
        }
    }

    /// Takes an event of a member's controller, on the group's thread.
    private func take(_ event: ControllerEvent, _ link: MemberLink, _ attempt: UInt64) {
        guard link.attempt == attempt else { return }
        switch event {
        // Once the association has ended, the controller is done with: the engine decides when the next one is made.
        case .disconnected(_, let reason): lost(link, attempt, reason)
        case .namespacesChanged:
            guard link.association != 0, !link.isEnding,
                let namespace = link.controller?.namespace(link.address),
                // One that could not be looked at, because its connection has just gone, has no size.
                namespace.problem == nil
            else { return }
            guard NamespaceIdentity(namespace) == link.identity || options.deliberateDefect == .exchangedNamespaceKept
            else {
                return lost(link, attempt, "another namespace \(namespace.nsid) is in its place")
            }
            engine.handle(.resized(link.index, blocks: namespace.blockCount), now: group.now)
        case .reservationNotification(let notification):
            guard link.association != 0, !link.isEnding, notification.kind == .registrationPreempted,
                notification.nsid == link.address.nsid || options.deliberateDefect == .preemptionOfAnyNamespace,
                options.deliberateDefect != .preemptionNotTold
            else { return }
            engine.handle(.registrationPreempted(link.index), now: group.now)
        default: break
        }
    }

    /// Ends an attempt to connect that has not come to an association.
    func giveUpConnecting(_ link: MemberLink) {
        guard link.association == 0, !link.isEnding, let controller = link.controller else { return }
        link.attempt += 1
        link.controller = nil
        group.spawn { await controller.close() }
        engine.handle(.disconnected(link.index), now: group.now)
    }

    private func greet(
        _ controller: Controller, _ address: MemberAddress, after previous: (run: UInt64, controllerID: UInt16)?
    ) async throws(InitiatorError) -> Greeting {
        try await controller.connect()
        guard let namespace = controller.namespace(address) else {
            throw .unsupported("the subsystem shows this host no namespace \(address.nsid)")
        }
        if let problem = namespace.problem { throw .unsupported("namespace \(address.nsid): \(problem)") }
        guard namespace.blockSize == Int(options.configuration.blockSize) else {
            throw .unsupported(
                "namespace \(address.nsid) has blocks of \(namespace.blockSize) bytes, the volume "
                    + "\(options.configuration.blockSize)")
        }
        let page = try await controller.identify(.controller)
        // A controller without a volatile write cache has nothing to lose from one run to the next.
        let hasCache = controller.association?.identify.volatileWriteCache.contains(.present) ?? true
        let identity = TercetIdentity(identifyController: page)
        let run = identity?.bootInstance ?? (hasCache ? 0 : 1)
        let countsTraffic =
            controller.association?.identify.attributes.contains(.trafficBasedKeepAlive) ?? true
        let isQuiesced: Bool
        if let identity, let previous, identity.abilities.contains(.quiesce), identity.bootInstance == previous.run {
            try await controller.quiesce(controllerID: previous.controllerID)
            isQuiesced = true
        } else {
            isQuiesced = false
        }
        return Greeting(
            namespace: namespace.index, identity: NamespaceIdentity(namespace), blocks: namespace.blockCount,
            run: run,
            cache: options.deliberateDefect == .runForInstance || namespace.instance == nil
                ? CacheInstance(number: run)
                : CacheInstance(number: namespace.instance ?? run, opening: namespace.opening ?? 0),
            controllerID: controller.association?.controllerID, isQuiesced: isQuiesced,
            hasWriteZeroes: controller.association?.identify.nvmCommands.contains(.writeZeroes) ?? false,
            keepAlivePeriods: countsTraffic ? 2 : 1)
    }

    /// Bytes that one command of the volume zeroes at most: a host's I/O, or two pages of metadata.
    private var longestZeroing: Int {
        max(options.configuration.maximumTransfer, 2 * max(4096, Int(options.configuration.blockSize)))
    }

    private func connected(_ link: MemberLink, _ attempt: UInt64, _ greeting: Greeting) {
        guard link.attempt == attempt, let controller = link.controller, !link.isEnding else { return }
        guard let context = controller.queues[0].device?.context else {
            return lost(link, attempt, "the connection broke")
        }
        // Events are heeded from here on: what has changed since the greeting must not be missed.
        guard controller.namespace(link.address).map(NamespaceIdentity.init) == greeting.identity else {
            return lost(link, attempt, "namespace \(link.address.nsid) has been exchanged")
        }
        do {
            link.keys = try memory.engine.transferKeys(with: context)
            link.device = try hostMemory.device(context)
            link.zeroes = try greeting.hasWriteZeroes ? nil : memory.zeroes(longestZeroing, with: context)
            recentDevice = link.device
        } catch {
            return lost(link, attempt, "the volume's memory cannot be registered: \(error)")
        }
        link.namespace = greeting.namespace
        link.lastAssociation += 1
        link.association = link.lastAssociation
        // A target that has been started anew has no command of the run before.
        let isNewRun = link.run > 1 && greeting.run > 1 && greeting.run != link.run
        let noticed = UInt64(options.keepAliveMilliseconds) * greeting.keepAlivePeriods
        let quiet = noticed + options.commandQuiesceMilliseconds
        let isDead =
            isNewRun || link.association == 1 || greeting.isQuiesced
            || options.deliberateDefect == .formerAssociationCalledDead
        link.deadAt = isDead ? now : link.endedAt.advanced(byMilliseconds: quiet)
        link.run = greeting.run
        link.identity = greeting.identity
        link.controllerID = greeting.controllerID
        engine.handle(
            .connected(
                link.index, association: link.association, cache: greeting.cache, blocks: greeting.blocks),
            now: group.now)
    }

    private func notConnected(_ link: MemberLink, _ attempt: UInt64, _ reason: String) {
        guard link.attempt == attempt else { return }
        if link.reason != reason { tell(.memberUnreachable(link.index, reason: reason)) }
        link.reason = reason
        link.controller = nil
        engine.handle(.disconnected(link.index), now: group.now)
    }

    /// The association has ended, or is to end; the engine is told when nothing of it is under way.
    func lost(_ link: MemberLink, _ attempt: UInt64, _ reason: String) {
        guard link.attempt == attempt, !link.isEnding, let controller = link.controller else { return }
        link.isEnding = true
        link.reason = reason
        // With the controller's closing all its operations have ended, and no device reaches their memory.
        link.outstanding += 1
        mustLook = true
        group.spawn { [self] in
            await controller.close()
            group.send {
                link.outstanding -= 1
                self.mustLook = true
            }
        }
    }

    func disconnect(_ link: MemberLink) {
        guard link.association != 0 else { return }
        lost(link, link.attempt, Volume.givenUp)
    }

    /// The reason of connections that the volume itself ends; why it does is in its notices.
    public static let givenUp = "given up"

    /// All completions of an ending association have been delivered.
    func ended(_ link: MemberLink) {
        link.isEnding = false
        link.controller = nil
        link.association = 0
        link.endedAt = now
        link.deadAt = .distantFuture
        tell(.memberUnreachable(link.index, reason: link.reason))
        engine.handle(.disconnected(link.index), now: now)
    }
}
