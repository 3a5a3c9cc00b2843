import InitiatorTransport
import NVMeSpec

/// Admin commands. Each may be called from anywhere; an error status is thrown.
extension Controller {
    /// Sends an admin command and waits for its answer.
    ///
    /// - Returns: dwords 0 and 1 of the completion, and the data received.
    func command(
        _ entry: SubmissionEntry, name: String, sending: [UInt8]? = nil, receiving: Int = 0,
        timeoutMilliseconds: UInt32? = nil
    ) async throws(InitiatorError) -> (result: UInt64, data: [UInt8]) {
        let timeout = timeoutMilliseconds ?? options.adminTimeoutMilliseconds
        return try await onHome { () async throws(InitiatorError) in
            let (completion, data) = try await self.admin.transfer(
                entry, sending: sending, receiving: receiving, timeoutMilliseconds: timeout, name: name)
            guard completion.status.isSuccess else { throw .status(completion.status, command: name) }
            return (completion.result, data)
        }
    }

    // MARK: Properties

    /// Property Get.
    public func property(
        _ property: Property, timeoutMilliseconds: UInt32? = nil
    ) async throws(InitiatorError) -> UInt64 {
        let entry = SubmissionEntry(.propertyGet(PropertyGetCommand(property)), commandID: 0)
        let value = try await command(
            entry, name: "Property Get \(property)", timeoutMilliseconds: timeoutMilliseconds
        ).result
        return property.byteCount == 8 ? value : value & 0xFFFF_FFFF
    }

    /// Property Set.
    func setProperty(
        _ property: Property, _ value: UInt64, timeoutMilliseconds: UInt32? = nil
    ) async throws(InitiatorError) {
        let entry = SubmissionEntry(.propertySet(PropertySetCommand(property, value: value)), commandID: 0)
        _ = try await command(entry, name: "Property Set \(property)", timeoutMilliseconds: timeoutMilliseconds)
    }

    // MARK: Identify

    /// Identify: the 4096 bytes of a structure.
    public func identify(_ structure: IdentifyStructure, nsid: UInt32 = 0) async throws(InitiatorError) -> [UInt8] {
        let entry = SubmissionEntry(.identify(IdentifyCommand(structure)), nsid: nsid, commandID: 0)
        let name = "Identify, CNS \(structure.rawValue)"
        return try await command(entry, name: name, receiving: IdentifyStructure.byteCount).data
    }

    // MARK: Features

    /// Set Features without data; returns dword 0 of the completion.
    @discardableResult
    public func setFeature(_ feature: FeatureID, _ value: UInt32, nsid: UInt32 = 0) async throws(InitiatorError)
        -> UInt64
    {
        let entry = SubmissionEntry(
            .setFeatures(SetFeaturesCommand(feature, value: value)), nsid: nsid, commandID: 0)
        return try await command(entry, name: "Set Features \(feature.rawValue)").result
    }

    /// Get Features: dword 0 of the completion.
    public func feature(
        _ feature: FeatureID, select: FeatureSelect = .current, nsid: UInt32 = 0
    ) async throws(InitiatorError) -> UInt32 {
        let entry = SubmissionEntry(
            .getFeatures(GetFeaturesCommand(feature, select: select)), nsid: nsid, commandID: 0)
        return UInt32(truncatingIfNeeded: try await command(entry, name: "Get Features \(feature.rawValue)").result)
    }

    // MARK: Log pages

    /// Get Log Page: `byteCount` bytes from `offset` on, a multiple of 4; read in pieces of up to 4 KiB.
    public func logPage(
        _ page: LogPageID, byteCount: Int, offset: UInt64 = 0, nsid: UInt32 = 0xFFFF_FFFF, retainsEvent: Bool = false
    ) async throws(InitiatorError) -> [UInt8] {
        var bytes: [UInt8] = []
        let wanted = (byteCount + 3) / 4 * 4
        while bytes.count < wanted {
            let length = min(wanted - bytes.count, ControlBuffer.byteCount)
            let isLast = bytes.count + length == wanted
            let page = GetLogPageCommand(
                page, byteCount: UInt64(length), offset: offset + UInt64(bytes.count),
                retainsEvent: retainsEvent || !isLast)
            let entry = SubmissionEntry(.getLogPage(page), nsid: nsid, commandID: 0)
            let name = "Get Log Page \(page.logPage.rawValue)"
            bytes += try await command(entry, name: name, receiving: length).data
        }
        return bytes
    }

    /// The ANA log: which namespaces are reached well over this controller.
    public func anaLog() async throws(InitiatorError) -> ANALog {
        // Header, one descriptor for each group, one identifier for each namespace; at most what we would believe.
        let groups = min(Int(association?.identify.anaGroupCount ?? 128), 1024)
        let count = min(Int(association?.identify.namespaceCount ?? 1024), Limits.namespaces)
        let bytes = try await logPage(.ana, byteCount: 16 + groups * 32 + count * 4)
        do { return try bytes.withUnsafeBytes { try ANALog(decoding: $0) } } catch {
            throw .invalidResponse("\(error)")
        }
    }

    // MARK: Quiesce

    /// Ends another association of this host with the subsystem, and returns when none of its commands can reach the media
    /// any more. Only where the target says that it does so (`TercetIdentity.Abilities.quiesce`).
    ///
    /// - Parameter controllerID: CNTLID of that association.
    public func quiesce(controllerID: UInt16) async throws(InitiatorError) {
        let entry = SubmissionEntry(.quiesce(QuiesceCommand(controllerID: controllerID)), commandID: 0)
        _ = try await command(entry, name: "Quiesce")
    }

    // MARK: Abort

    /// Asks the controller to end the commands that operations with a tag have under way on a queue. The operations end by
    /// their own completions, aborted or not.
    ///
    /// - Returns: how many commands the controller says it has aborted.
    public func abort(tag: UInt64, on queue: IOQueue) async throws(InitiatorError) -> Int {
        let commands = await queue.group.run { (queue.queueID, queue.engine.commandIDs(tag: tag)) }
        var aborted = 0
        for command in commands.1 where try await abort(queueID: commands.0, commandID: command) { aborted += 1 }
        return aborted
    }

    /// Abort: asks the controller to end a command. Whether it did is in the command's own answer too.
    ///
    /// - Returns: whether the command was aborted.
    public func abort(queueID: UInt16, commandID: UInt16) async throws(InitiatorError) -> Bool {
        let entry = SubmissionEntry(.abort(AbortCommand(sqID: queueID, commandID: commandID)), commandID: 0)
        let result = try await command(entry, name: "Abort").result
        return UInt32(truncatingIfNeeded: result) & AbortCommand.notAborted == 0
    }
}
