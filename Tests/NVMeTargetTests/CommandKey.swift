import CLibNVMe
import InProcessTransport

/// The kind of a command: its opcode, and with Fabrics commands, Identify, logs and features which one of them it is.
struct CommandKey: Hashable, Comparable, CustomStringConvertible {
    let description: String

    init(_ command: RawCommand, queueID: UInt16) {
        let opcode = UInt32(command.bytes[0])
        // Of dword 10: CNS, LID and FID.
        let which = String(command.bytes[40], radix: 16)
        description =
            switch opcode {
            // FCTYPE is where others have the namespace.
            case nvme_admin_fabrics.rawValue: "Fabrics \(String(command.bytes[4], radix: 16))h"
            case _ where queueID > 0: "I/O \(String(opcode, radix: 16))h"
            case nvme_admin_identify.rawValue, nvme_admin_get_log_page.rawValue, nvme_admin_get_features.rawValue,
                nvme_admin_set_features.rawValue:
                "Admin \(String(opcode, radix: 16))h, \(which)h"
            default: "Admin \(String(opcode, radix: 16))h"
            }
    }

    static func < (one: CommandKey, other: CommandKey) -> Bool { one.description < other.description }

    /// Everything that a target does for a host that may manage its pool, found by asking for all that there could be.
    static func accepted(by world: EngineWorld) throws -> Set<CommandKey> {
        let host = try world.attach()
        let discovery = try world.admin(nqn: EngineWorld.discovery, keepAlive: 100_000)
        var accepted: Set<CommandKey> = []
        /// Asks for it; `nil` where it is held.
        func answer(_ command: RawCommand, _ bytes: Int = 0, on queue: InProcessQueue) -> InProcessAnswer? {
            let id = world.send(command, bytes > 0 ? .toHost(bytes) : .none, on: queue)
            return world.answer(to: id, on: queue)
        }
        func note(_ command: RawCommand) { accepted.insert(CommandKey(command, queueID: 0)) }
        let detailed = [
            nvme_admin_fabrics, nvme_admin_identify, nvme_admin_get_log_page, nvme_admin_get_features,
            nvme_admin_set_features,
        ].map(\.rawValue)
        for number in 0...255 as ClosedRange<UInt32> {
            let commands =
                [.fabrics(nvme_fctype(number))] + (detailed.contains(number) ? [] : [RawCommand(opcode: number)])
            for command in commands
            where answer(command, on: host.admin)?.status != .refused(NVME_SC_INVALID_OPCODE) { note(command) }
            for nsid in [0, 1] as [UInt32] {
                let command = RawCommand.identify(nvme_identify_cns(number), nsid: nsid)
                if answer(command, 4096, on: host.admin)?.isSuccess == true { note(command) }
            }
            for queue in [host.admin, discovery] {
                let command = RawCommand.getLog(nvme_cmd_get_log_lid(number), bytes: 64)
                if answer(command, 64, on: queue)?.isSuccess == true { note(command) }
            }
            // SEL 3: what can be done with the feature; bit 2 of the answer: it can be changed.
            let feature = RawCommand.getFeature(nvme_features_id(number), nsid: 1)
            if let answer = answer(feature.with(10, number | 3 << 8), on: host.admin), answer.isSuccess {
                note(feature)
                if answer.dword0 & 1 << 2 != 0 { note(.setFeature(nvme_features_id(number), 0)) }
            }
        }
        return accepted
    }
}
