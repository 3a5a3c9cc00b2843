import ArgumentParser
import Base
import NVMeInitiator
import NVMeSpec

struct IdentifyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "identify", abstract: "Show what a controller and its namespaces say of themselves.")

    @OptionGroup var subsystem: SubsystemArguments

    @Option(help: "Only this namespace.") var nsid: UInt32?

    @Flag(help: "Print JSON, with the names of nvme-cli.") var json = false

    func run() async throws {
        let session = try Session()
        defer { session.end() }
        let controller = try await session.connect(try subsystem.options())
        guard let association = controller.association else {
            throw TercetError(.unavailable, "the connection was lost at once")
        }
        var namespaces = controller.namespaces
        if let nsid {
            namespaces = namespaces.filter { $0.nsid == nsid }
            if namespaces.isEmpty { throw TercetError(.notFound, "no namespace \(nsid)") }
        }
        let fields = controllerFields(association)
        let lists = namespaces.map(namespaceFields)
        await controller.close()
        if json {
            return try printJSON(IdentifyResult(controller: fields, namespaces: lists))
        }
        print("Controller")
        for (name, value) in fields { print("  \(pad(name)) \(value)") }
        for list in lists {
            print("Namespace")
            for (name, value) in list { print("  \(pad(name)) \(value)") }
        }
    }

    private func pad(_ name: String) -> String { name + String(repeating: " ", count: max(0, 10 - name.count)) + ":" }

    private func controllerFields(_ association: Association) -> [IdentifyResult.Field] {
        let identify = association.identify
        return [
            ("vid", identify.vendorID), ("ssvid", identify.subsystemVendorID), ("sn", identify.serialNumber),
            ("mn", identify.modelNumber), ("fr", identify.firmwareRevision), ("cmic", identify.multiPath.rawValue),
            ("mdts", identify.maxDataTransferSize), ("cntlid", identify.controllerID),
            ("ver", "\(identify.version)"), ("oaes", identify.asyncEvents.rawValue),
            ("ctratt", identify.attributes.rawValue), ("cntrltype", identify.controllerType.rawValue),
            ("oacs", identify.adminCommands.rawValue), ("acl", identify.abortCommandLimit),
            ("aerl", identify.asyncEventRequestLimit), ("lpa", identify.logPageAttributes.rawValue),
            ("kas", identify.keepAliveGranularity), ("anatt", identify.anaTransitionTime),
            ("anacap", identify.anaCapabilities.rawValue), ("nanagrpid", identify.anaGroupCount),
            ("maxcmd", identify.maxOutstandingCommands), ("nn", identify.namespaceCount),
            ("oncs", identify.nvmCommands.rawValue), ("fuses", identify.fusedOperations),
            ("vwc", identify.volatileWriteCache.rawValue), ("awun", identify.atomicWriteUnit),
            ("sgls", identify.sglSupport.rawValue), ("mnan", identify.maxAllowedNamespaces),
            ("subnqn", identify.subsystemNQN), ("ioccsz", identify.ioCommandCapsuleSize),
            ("iorcsz", identify.ioResponseCapsuleSize), ("icdoff", identify.inCapsuleDataOffset),
            ("msdbd", identify.maxSGLDescriptors), ("mqes", association.capabilities.maxQueueEntries),
        ]
    }

    private func namespaceFields(_ namespace: NamespaceDescription) -> [IdentifyResult.Field] {
        let identify = namespace.identify
        var fields: [IdentifyResult.Field] = [
            ("nsid", namespace.nsid), ("nsze", identify.size), ("ncap", identify.capacity),
            ("nuse", identify.utilization), ("nsfeat", identify.features.rawValue),
            ("blocksize", namespace.blockSize), ("nmic", identify.sharing.rawValue),
            ("rescap", identify.reservations.rawValue), ("noiob", identify.optimalIOBoundary),
            ("anagrpid", identify.anaGroup), ("nsattr", identify.attributes.rawValue),
            ("nguid", identify.nguid.hexadecimal),
        ]
        if let uuid = namespace.descriptors?.uuid { fields.append(("uuid", "\(uuid)")) }
        if let problem = namespace.problem { fields.append(("problem", problem)) }
        return fields
    }
}

/// The result of `identify`, with the names of nvme-cli; the fields of the controller and a list of namespaces as JSON.
struct IdentifyResult: Encodable {
    typealias Field = (name: String, value: any Encodable)

    var controller: [Field]
    var namespaces: [[Field]]

    private struct Name: CodingKey {
        let stringValue: String
        let intValue: Int? = nil
        init(_ name: String) { stringValue = name }
        init(stringValue: String) { self.init(stringValue) }
        init?(intValue: Int) { return nil }
    }

    private struct Fields: Encodable {
        var fields: [Field]
        func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: Name.self)
            for field in fields { try container.encode(field.value, forKey: Name(field.name)) }
        }
    }

    func encode(to encoder: any Encoder) throws {
        try Fields(fields: controller).encode(to: encoder)
        var container = encoder.container(keyedBy: Name.self)
        try container.encode(namespaces.map(Fields.init), forKey: Name("namespaces"))
    }
}
