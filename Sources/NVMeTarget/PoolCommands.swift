import Base
import NVMeSpec
import Synchronization
import TargetInterface

/// Namespace Management and Namespace Attachment (NVMe Base), for the hosts that may manage a pool.
///
/// A reactor only judges the command. What it asks for is written to files: the process does that elsewhere, and tells the
/// target; then the command is answered.
///
/// Controllers come and go with their connections, so an attachment is the namespace's and not a controller's: one that is attached
/// to a controller is attached to all of the subsystem's, those that connect later too.
struct PoolCommands {
    let target: Target
    let engines: EngineTable

    func reply(to command: NamespaceManagementCommand, _ request: ControlRequest) -> ControlReply {
        do throws(RefusedCommand) {
            let pool = try pool(of: request.controller)
            return ask(for: try change(command, request, pool), request)
        } catch { return .refused(error.status) }
    }

    func reply(to command: NamespaceAttachmentCommand, _ request: ControlRequest) -> ControlReply {
        do throws(RefusedCommand) {
            _ = try pool(of: request.controller)
            try checkControllers(request)
            let nsid = try namespace(of: request)
            return ask(for: command.action == .attach ? .attach(nsid) : .detach(nsid), request)
        } catch { return .refused(error.status) }
    }

    func reply(to command: NamespaceGrowthCommand, _ request: ControlRequest) -> ControlReply {
        do throws(RefusedCommand) {
            _ = try pool(of: request.controller)
            return ask(for: .grow(try namespace(of: request), blockCount: command.blockCount), request)
        } catch { return .refused(error.status) }
    }

    /// A change has been made, or not. Closing the admin queue may have ended the held request.
    func finish(
        _ ticket: RequestTicket, _ outcome: Result<UInt32, PoolRefusal>, of controller: Controller, returns: Bool
    ) {
        let reply: ControlReply =
            switch outcome {
            case .success(let nsid): returns ? .result(UInt64(nsid)) : .done
            case .failure(let refusal): .refused(refusal.status)
            }
        engines.request(of: ticket)?.finish(reply, controller)
    }

    private func ask(for change: PoolChange, _ request: ControlRequest) -> ControlReply {
        guard let keeper = target.surroundings.pools else { return .refused(.invalidOpcode) }
        let (here, controller) = (target.group(engines.group), request.controller)
        let ticket = engines.ticket(of: request.reference)
        // It waits for a disk: the capsule's buffer is for others meanwhile.
        request.reference.hold()
        request.reference.setAside()
        var returns = false
        if case .create = change { returns = true }
        keeper.change(pool: controller.subsystem.nqn, change, for: controller.hostNQN) { [returns] outcome in
            here.send { $0.poolChanged(ticket, outcome, of: controller, returns: returns) }
        }
        return .later
    }

    // MARK: What a command asks for

    private func pool(of controller: Controller) throws(RefusedCommand) -> PoolDefinition {
        guard let pool = controller.pool else { throw RefusedCommand(.invalidOpcode) }
        guard pool.managers.contains(controller.hostNQN) else { throw RefusedCommand(.operationDenied) }
        return pool
    }

    private func change(
        _ command: NamespaceManagementCommand, _ request: ControlRequest, _ pool: PoolDefinition
    ) throws(RefusedCommand) -> PoolChange {
        guard command.action == .create else {
            if request.nsid == NamespaceManagementCommand.allNamespaces { return .deleteAll }
            return .delete(try namespace(of: request))
        }
        guard command.commandSet == .nvm else { throw RefusedCommand(.ioCommandSetNotSupported) }
        guard request.nsid == 0 else { throw RefusedCommand(.invalidField) }
        let data = request.reference.data
        guard data.count >= NamespaceCreationData.byteCount else { throw RefusedCommand(.dataSGLLengthInvalid) }
        guard let wanted = try? NamespaceCreationData(decoding: data) else { throw RefusedCommand(.invalidField) }
        // There is one format, one NVM set and one endurance group, without protection information.
        guard wanted.formattedLBASize == 0, wanted.protection == 0 else { throw RefusedCommand(.invalidFormat) }
        guard wanted.nvmSet == 0, wanted.enduranceGroup == 0, wanted.size > 0, wanted.capacity <= wanted.size else {
            throw RefusedCommand(.invalidField)
        }
        guard wanted.anaGroup <= 1 else { throw RefusedCommand(.anaGroupIdentifierInvalid) }
        // Files take room as they are written to, but nobody counts that for each write.
        guard wanted.capacity == wanted.size else { throw RefusedCommand(.thinProvisioningNotSupported) }
        return .create(blockCount: wanted.size, uuid: wanted.uuid.isZero ? nil : wanted.uuid)
    }

    private func namespace(of request: ControlRequest) throws(RefusedCommand) -> UInt32 {
        guard request.nsid >= 1, request.nsid <= UInt32(target.options.maxNamespaces) else {
            throw RefusedCommand(.invalidNamespaceOrFormat.doNotRetry)
        }
        return request.nsid
    }

    /// Refuses a controller list that is empty, or names a controller that is not there.
    private func checkControllers(_ request: ControlRequest) throws(RefusedCommand) {
        let data = request.reference.data
        guard data.count >= IdentifyStructure.byteCount else { throw RefusedCommand(.dataSGLLengthInvalid) }
        guard let list = try? ControllerList(decoding: data), !list.identifiers.isEmpty else {
            throw RefusedCommand(.controllerListInvalid)
        }
        guard request.controller.subsystem.hasControllers(list.identifiers) else {
            throw RefusedCommand(.controllerListInvalid)
        }
    }
}

/// A command that is refused before anything is asked for.
private struct RefusedCommand: Error {
    let status: Status

    init(_ status: Status) { self.status = status }
}

extension Controller {
    /// The pool that its subsystem is.
    var pool: PoolDefinition? { subsystem.state.withLock { $0.definition.pool } }

    /// The pool, if its host may make and delete namespaces.
    var managedPool: PoolDefinition? { pool.flatMap { $0.managers.contains(hostNQN) ? $0 : nil } }
}

extension PoolRefusal {
    /// The status that a host is told (NVMe Base, "Namespace Management command", "Namespace Attachment command").
    var status: Status {
        switch self {
        case .empty, .cannotShrink: .invalidField
        case .insufficientCapacity: .namespaceInsufficientCapacity
        case .noIdentifier: .namespaceIdentifierUnavailable
        case .uuidInUse: .identifierUnavailable
        case .notFound: .invalidNamespaceOrFormat
        case .alreadyAttached: .namespaceAlreadyAttached
        case .notAttached: .namespaceNotAttached
        case .unavailable, .failed: .internalError
        }
    }
}
