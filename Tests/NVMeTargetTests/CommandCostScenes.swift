import CLibNVMe
import InProcessTransport
import NVMeAuthentication
import Testing

/// The commands that a host can send, each in a state in which it costs most.
extension CommandCosts {
    func measureAll() throws {
        let admin = try measureConnects()
        try measureQueuesThatEnd(admin)
        for row in Self.structures + Self.logs + Self.features + Self.others {
            for _ in 0..<rounds { try run(row, on: admin) }
        }
        try measureEvents(admin)
        // Each change of 65,536 namespaces takes the process a while.
        for _ in 0..<min(rounds, 5) {
            for controllers in [1, 2047] { try measurePool(admin, controllers: controllers) }
        }
        try measureDiscovery()
        for transaction in 0..<rounds { try measureAuthentication(UInt16(transaction)) }
    }

    private func measureConnects() throws -> InProcessQueue {
        var admin = world.open()
        var id: UInt16 = 0
        for number in 0..<rounds {
            if number > 0 { admin = world.open() }
            let connect = RawConnect()
            let row = Row(name: "Connect, admin queue", command: connect.command, data: .fromHost(connect.data))
            id = UInt16(truncatingIfNeeded: try #require(try run(row, on: admin)).dword0)
        }
        try run(Row(name: "Property Set, enable", command: .enable), on: admin)
        for _ in 0..<rounds {
            let command = RawCommand.setFeature(NVME_FEAT_FID_NUM_QUEUES, 0)
            try run(Row(name: "Set Features 7h, Number of Queues", command: command), on: admin)
        }
        let connect = RawConnect(controllerID: id, queueID: 1)
        let row = Row(name: "Connect, first I/O queue", command: connect.command, data: .fromHost(connect.data))
        let io = world.open(queueID: 1)
        try run(row, on: io)
        try measureReservations(io)
        return admin
    }

    private func measureReservations(_ io: InProcessQueue) throws {
        for (name, opcode, dword10, keys) in [
            ("Register", nvme_cmd_resv_register, 0, [0, 5]), ("Acquire", nvme_cmd_resv_acquire, 1 << 8, [5, 0]),
            ("Report, 4096 bytes", nvme_cmd_resv_report, 1023, []),
            ("Report, 262208 bytes", nvme_cmd_resv_report, 65551, []),
            ("Register, another key", nvme_cmd_resv_register, 2, [5, 6]),
            ("Release", nvme_cmd_resv_release, 1 << 8, [6]),
            ("Register, unregister", nvme_cmd_resv_register, 1, [6, 0]),
            ("Register", nvme_cmd_resv_register, 0, [0, 6]),
            // All registrants hold it; those with key 1 are preempted, then all others; then nobody is registered any more.
            ("Acquire, all registrants", nvme_cmd_resv_acquire, 6 << 8, [6, 0]),
            ("Acquire, preempt half", nvme_cmd_resv_acquire, 1 | 6 << 8, [6, 1]),
            ("Acquire, preempt and abort all", nvme_cmd_resv_acquire, 2 | 6 << 8, [6, 0]),
            ("Release, clear", nvme_cmd_resv_release, 1 | 6 << 8, [6]),
        ] as [(String, nvme_io_opcode, UInt32, [UInt64])] {
            // A report has a structure of its own (EDS, bit 0 of dword 11), and is read.
            let isReport = keys.isEmpty
            let command = RawCommand(opcode: opcode.rawValue, nsid: 1).with(10, dword10).with(11, isReport ? 1 : 0)
            let data: InProcessData =
                isReport ? .toHost(Int(dword10 + 1) * 4) : .fromHost(keys.flatMap { little($0, 8) })
            let row = Row(name: "Reservation \(name)", command: command, data: data)
            for _ in 0..<(isReport ? rounds : 1) { try run(row, on: io) }
        }
    }

    private func measureQueuesThatEnd(_ admin: InProcessQueue) throws {
        for _ in 0..<rounds {
            // The same host again, over another association.
            let other = try world.attach(ioQueues: 1)
            let disconnect = Row(name: "Disconnect, I/O queue", command: .fabrics(nvme_fabrics_type_disconnect))
            try run(disconnect, on: other.io[0])
            // Opcode C0h, the controller's identifier in dword 10.
            let again = try world.attach(ioQueues: 1)
            let quiesce = RawCommand(opcode: 0xC0).with(10, UInt32(again.controllerID))
            try run(Row(name: "Quiesce, another association", command: quiesce), on: admin)
            try run(Row(name: "Quiesce, an association that has ended", command: quiesce), on: admin)
            // CC.EN is taken back; CC.SHN asks for a normal shutdown.
            for (name, configuration) in [("reset", 0x0046_0000), ("shutdown", 0x0046_4001)] as [(String, UInt32)] {
                let host = try world.attach(ioQueues: 1)
                try run(Row(name: "Property Set, \(name)", command: .configure(configuration)), on: host.admin)
                host.leave()
                world.settle()
            }
            // No command, and a host's deed.
            let lost = try world.attach(ioQueues: 1)
            lost.admin.disconnect()
            try watch("A lost admin connection") { lost.io[0].isClosed }
        }
    }

    private func measureEvents(_ admin: InProcessQueue) throws {
        let row = Row(name: "Asynchronous Event Request, held", command: .event, isHeld: true)
        for _ in 0..<rounds {
            try run(row, on: admin)
            try run(Row(name: "Abort, an event request", command: .abort(world.lastID, sq: 0)), on: admin)
        }
    }

    /// A namespace comes and goes, and all hosts wait to hear of it.
    ///
    /// - Parameter controllers: so many are in the list of an attachment, which has room for 2047.
    private func measurePool(_ admin: InProcessQueue, controllers: Int) throws {
        let nsid = UInt32(size.namespaces)
        // Each of them is there.
        let list = InProcessData.list((0..<controllers).map { crowd[$0 % crowd.count].controllerID })
        let grow = RawCommand(opcode: 0xC4, nsid: nsid).with(10, 16384)
        let event = RawCommand.getLog(NVME_LOG_LID_CHANGED_NS, bytes: 4096)
        listen()
        for row in [
            Row(name: "Namespace Management, create", command: .manage(NVME_NS_MGMT_SEL_CREATE), data: .create(8192)),
            Row(
                name: "Namespace Attachment, attach, a list of \(controllers)",
                command: .attachment(NVME_NS_ATTACH_SEL_CTRL_ATTACH, nsid: nsid), data: list),
            Row(name: "Namespace growth", command: grow),
            Row(name: "Get Log Page 4h, a change", command: event, data: .toHost(4096)),
            Row(
                name: "Namespace Attachment, detach, a list of \(controllers)",
                command: .attachment(NVME_NS_ATTACH_SEL_CTRL_DEATTACH, nsid: nsid), data: list),
            Row(name: "Asynchronous Event Request, an event waits", command: .event),
            Row(name: "Get Log Page 4h, a change", command: event, data: .toHost(4096)),
            Row(
                name: "Namespace Management, delete", command: .manage(NVME_NS_MGMT_SEL_DELETE, nsid: nsid)),
        ] { try run(row, on: admin) }
    }

    private func measureDiscovery() throws {
        let discovery = try world.admin(nqn: EngineWorld.discovery, keepAlive: 100_000)
        for (place, bytes) in [(0, 4096), (1024, 1024), (4096, 4096), (40960, 4096), (1024, 1 << 18)] {
            let command = RawCommand.getLog(NVME_LOG_LID_DISCOVER, bytes: bytes, nsid: 0).with(12, UInt32(place))
            let row = Row(name: "Get Log Page 70h, \(bytes) bytes at \(place)", command: command, data: .toHost(bytes))
            for _ in 0..<rounds { try run(row, on: discovery) }
        }
    }

    /// A host shows who it is. The arithmetic is done elsewhere.
    private func measureAuthentication(_ transaction: UInt16) throws {
        let queue = world.open()
        let connect = RawConnect(host: Self.keyedHost)
        let row = Row(name: "Connect, a host with keys", command: connect.command, data: .fromHost(connect.data))
        try run(row, on: queue)
        var exchange = HostExchange(
            hostNQN: Self.keyedHost.nqn, subsystemNQN: EngineWorld.nqn, keys: keys, transaction: transaction)
        var number = 0
        func send(_ bytes: [UInt8]) throws {
            number += 1
            let command = RawCommand.authentication(nvme_fabrics_type_auth_send, bytes.count)
            try run(
                Row(name: "Authentication Send, message \(number)", command: command, data: .fromHost(bytes)),
                on: queue)
        }
        try send(exchange.begin())
        while true {
            number += 1
            let command = RawCommand.authentication(nvme_fabrics_type_auth_receive, 4096)
            let row = Row(
                name: "Authentication Receive, message \(number)", command: command, data: .toHost(4096))
            let answer = try #require(try run(row, on: queue))
            switch answer.data.withUnsafeBytes({ exchange.received($0) }) {
            case .send(let message): try send(message)
            case .authenticated(let last):
                if let last { try send(last) }
                return queue.disconnect()
            case .failed(let failure, _): throw WorldError("not authenticated: \(failure)")
            }
        }
    }

    // MARK: Commands that can be repeated

    private static var structures: [Row] {
        let lists: [UInt32] = [2, 7, 0x10]
        let structures = [0, 1, 2, 3, 5, 6, 7, 8, 0x10, 0x11, 0x12, 0x13, 0x1C] as [UInt32]
        return structures.map { structure in
            let command = RawCommand.identify(nvme_identify_cns(structure), nsid: lists.contains(structure) ? 0 : 1)
            return Row(
                name: "Identify CNS \(String(structure, radix: 16))h", command: command, data: .toHost(4096))
        }
    }

    private static var logs: [Row] {
        [
            (NVME_LOG_LID_SUPPORTED_LOG_PAGES, 1024), (NVME_LOG_LID_ERROR, 64), (NVME_LOG_LID_SMART, 512),
            (NVME_LOG_LID_FW_SLOT, 512), (NVME_LOG_LID_CHANGED_NS, 4096), (NVME_LOG_LID_CMD_EFFECTS, 4096),
            (NVME_LOG_LID_ANA, 4096), (NVME_LOG_LID_ANA, 256 << 10), (NVME_LOG_LID_RESERVATION, 64),
        ].map { page, bytes in
            Row(
                name: "Get Log Page \(String(page.rawValue, radix: 16))h, \(bytes) bytes",
                command: .getLog(page, bytes: bytes), data: .toHost(bytes))
        }
    }

    private static var features: [Row] {
        let settable: [(UInt32, UInt32)] = [
            (0x01, 0), (0x02, 0), (0x04, 0x0157), (0x05, 0), (0x06, 1), (0x08, 0), (0x09, 0), (0x0A, 0),
            (0x0B, 0x100), (0x0F, 0), (0x82, 2),
        ]
        let sets = settable.map { feature, value in
            Row(
                name: "Set Features \(String(feature, radix: 16))h",
                command: .setFeature(nvme_features_id(feature), value).with(1, feature == 0x82 ? 1 : 0))
        }
        let gets = (settable.map(\.0) + [0x07, 0x83]).map { feature in
            Row(
                name: "Get Features \(String(feature, radix: 16))h",
                command: .getFeature(nvme_features_id(feature), nsid: feature >= 0x82 ? 1 : 0))
        }
        let behaviour = [UInt8](repeating: 0, count: 512)
        return sets + gets + [
            Row(
                name: "Set Features 82h, all namespaces",
                command: .setFeature(NVME_FEAT_FID_RESV_MASK, 2).with(1, 0xFFFF_FFFF)),
            Row(
                name: "Set Features 16h", command: .setFeature(nvme_features_id(0x16), 0),
                data: .fromHost(behaviour)),
            Row(name: "Get Features 16h", command: .getFeature(nvme_features_id(0x16)), data: .toHost(512)),
            // EXHID, bit 0 of dword 11: the identifier has 128 bits.
            Row(
                name: "Get Features 81h", command: .getFeature(nvme_features_id(0x81)).with(11, 1),
                data: .toHost(16)),
        ]
    }

    private static var others: [Row] {
        [
            Row(name: "Keep Alive", command: .keepAlive),
            Row(name: "Abort, no such command", command: .abort(0xFFFF, sq: 0)),
            Row(name: "Property Get", command: .getProperty(NVME_REG_CSTS)),
            Row(name: "Property Set", command: .enable),
        ]
    }
}
