import NVMeSpec

/// Namespaces that are made and deleted, by a host that may (NVMe Base, "Namespace Management command", "Namespace Attachment
/// command"). Each may be called from anywhere; an error status is thrown.
extension Controller {
    /// The namespaces that there are, attached or not.
    public func allocatedNamespaces() async throws(InitiatorError) -> [UInt32] {
        var identifiers: [UInt32] = []
        while true {
            let bytes = try await identify(.allocatedNamespaces, nsid: identifiers.last ?? 0)
            let page: [UInt32]
            do { page = try bytes.withUnsafeBytes { try NamespaceList(decoding: $0) }.identifiers } catch {
                throw .invalidResponse("\(error)")
            }
            guard let first = page.first else { return identifiers }
            guard first > identifiers.last ?? 0, identifiers.count < 1 << 16 else {
                throw .invalidResponse("a list of allocated namespaces that does not ascend, or has no end")
            }
            identifiers += page
            if page.count < NamespaceList.maxCount { return identifiers }
        }
    }

    /// A namespace that there is, attached or not. One that is not there has size 0.
    public func allocatedNamespace(_ nsid: UInt32) async throws(InitiatorError) -> IdentifyNamespace {
        let bytes = try await identify(.allocatedNamespace, nsid: nsid)
        do { return try IdentifyNamespace(decoding: bytes) } catch { throw .invalidResponse("\(error)") }
    }

    /// Makes a namespace, which is not attached; returns its identifier.
    public func createNamespace(_ data: NamespaceCreationData) async throws(InitiatorError) -> UInt32 {
        let entry = SubmissionEntry(.namespaceManagement(NamespaceManagementCommand(.create)), commandID: 0)
        let result = try await command(entry, name: "Namespace Management, create", sending: data.encoded).result
        return UInt32(truncatingIfNeeded: result)
    }

    public func deleteNamespace(_ nsid: UInt32) async throws(InitiatorError) {
        let entry = SubmissionEntry(.namespaceManagement(NamespaceManagementCommand(.delete)), nsid: nsid, commandID: 0)
        _ = try await command(entry, name: "Namespace Management, delete")
    }

    /// Attaches a namespace to this controller; at a Tercet target, to all of its subsystem.
    public func attachNamespace(_ nsid: UInt32) async throws(InitiatorError) {
        guard let controllerID = association?.controllerID else { throw .closed }
        let entry = SubmissionEntry(.namespaceAttachment(NamespaceAttachmentCommand(.attach)), nsid: nsid, commandID: 0)
        _ = try await command(
            entry, name: "Namespace Attachment, attach", sending: ControllerList([controllerID]).encoded)
    }

    /// Gives a namespace more blocks. Only where the target says that it can (`TercetIdentity.Abilities.poolRequests`).
    public func growNamespace(_ nsid: UInt32, blockCount: UInt64) async throws(InitiatorError) {
        let entry = SubmissionEntry(
            .namespaceGrowth(NamespaceGrowthCommand(blockCount: blockCount)), nsid: nsid, commandID: 0)
        _ = try await command(entry, name: "Namespace Growth")
    }
}
