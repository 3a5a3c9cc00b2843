import NVMeSpec

/// Which namespaces there are.
extension Controller {
    /// Reads the active namespaces anew and tells the queues. Namespaces keep their index.
    func scanNamespaces() async throws(InitiatorError) {
        let identifiers = try await activeNamespaces()
        let known = namespaces
        var places = [UInt32: Int](uniqueKeysWithValues: indices)
        var found: [NamespaceDescription] = []
        for nsid in identifiers {
            let index = places[nsid] ?? places.count
            guard index < Limits.namespaces else { break }
            places[nsid] = index
            found.append(await describe(nsid, index: index))
        }
        indices = places.map { ($0.key, $0.value) }
        publish(found)
        await updateQueues(found, gone: known.filter { old in !found.contains { $0.nsid == old.nsid } })
    }

    private func activeNamespaces() async throws(InitiatorError) -> [UInt32] {
        var identifiers: [UInt32] = []
        while identifiers.count < Limits.namespaces {
            let bytes = try await identify(.activeNamespaces, nsid: identifiers.last ?? 0)
            let list: NamespaceList
            do { list = try bytes.withUnsafeBytes { try NamespaceList(decoding: $0) } } catch {
                throw .invalidResponse("\(error)")
            }
            guard let first = list.identifiers.first else { break }
            guard first > identifiers.last ?? 0 else {
                throw .invalidResponse("a namespace list that does not ascend")
            }
            identifiers += list.identifiers
            if list.identifiers.count < NamespaceList.maxCount { break }
        }
        return identifiers
    }

    /// What is known of one namespace; with the problem where it cannot be used.
    private func describe(_ nsid: UInt32, index: Int) async -> NamespaceDescription {
        var description = NamespaceDescription(index: index, nsid: nsid, identify: IdentifyNamespace())
        do throws(InitiatorError) {
            let bytes = try await identify(.namespace, nsid: nsid)
            do { description.identify = try IdentifyNamespace(decoding: bytes) } catch {
                throw .invalidResponse("\(error)")
            }
            let identify = description.identify
            if identify.size == 0 {
                description.problem = "the namespace is not active"
            } else if identify.formats[identify.formatIndex].metadataSize > 0 {
                description.problem = "the namespace has metadata"
            }
            // Optional for controllers before 1.3: without it the namespace has no UUID.
            if let bytes = try? await self.identify(.namespaceDescriptors, nsid: nsid) {
                description.descriptors = try? bytes.withUnsafeBytes { try NamespaceDescriptors(decoding: $0) }
            }
        } catch {
            description.problem = error.description
        }
        return description
    }

    private func updateQueues(_ namespaces: [NamespaceDescription], gone: [NamespaceDescription]) async {
        for queue in queues {
            await queue.group.onExecutor {
                for namespace in gone { queue.table.pointee.namespaces[namespace.index].isPresent = false }
                for namespace in namespaces {
                    queue.table.pointee.namespaces[namespace.index] = NamespaceSlot(
                        isPresent: namespace.problem == nil, nsid: namespace.nsid,
                        blockShift: UInt8(namespace.blockSize.trailingZeroBitCount),
                        boundary: UInt32(namespace.identify.optimalIOBoundary))
                }
            }
        }
    }
}
