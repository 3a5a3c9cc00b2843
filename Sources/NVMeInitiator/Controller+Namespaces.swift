import NVMeSpec

/// The part of a namespace that stays the same for as long as its `Controller` lives.
struct NamespacePlace {
    /// Its place in the queues' tables.
    let index: Int
    /// Bytes of a block, from the first time that the namespace could be used.
    var blockSize: Int?
}

/// Which namespaces there are.
extension Controller {
    /// Reads the active namespaces anew and tells the queues. Namespaces keep their index. Scans that several events ask
    /// for are made one after the other, so that what is known in the end is what was read last. On the home group's
    /// executor.
    func scanNamespaces() async throws(InitiatorError) {
        while isScanning { await withCheckedContinuation { scanWaiters.append($0) } }
        isScanning = true
        defer {
            isScanning = false
            if !scanWaiters.isEmpty { scanWaiters.removeFirst().resume() }
        }
        let identifiers = try await activeNamespaces()
        let known = namespaces
        var found: [NamespaceDescription] = []
        for nsid in identifiers {
            guard let index = place(of: nsid) else { break }
            found.append(try await describe(nsid, index: index))
        }
        publish(found)
        await updateQueues(found, gone: known.filter { old in !found.contains { $0.nsid == old.nsid } })
    }

    /// The namespace's place in the queues' tables, its own for good; `nil` where they are full.
    private func place(of nsid: UInt32) -> Int? {
        if let known = places[nsid] { return known.index }
        guard places.count < Limits.namespaces else { return nil }
        places[nsid] = NamespacePlace(index: places.count)
        return places.count - 1
    }

    private func activeNamespaces() async throws(InitiatorError) -> [UInt32] {
        if let only = options.onlyNamespace {
            guard only > 0 else { return [] }
            // The list begins behind the identifier that is given.
            return try await namespaceList(behind: only - 1).first == only ? [only] : []
        }
        var identifiers: [UInt32] = []
        while identifiers.count < Limits.namespaces {
            let list = try await namespaceList(behind: identifiers.last ?? 0)
            guard let first = list.first else { break }
            guard first > identifiers.last ?? 0 else {
                throw .invalidResponse("a namespace list that does not ascend")
            }
            identifiers += list
            if list.count < NamespaceList.maxCount { break }
        }
        return identifiers
    }

    /// A page of the active namespaces, from the first one behind an identifier.
    private func namespaceList(behind nsid: UInt32) async throws(InitiatorError) -> [UInt32] {
        let bytes = try await identify(.activeNamespaces, nsid: nsid)
        do { return try bytes.withUnsafeBytes { try NamespaceList(decoding: $0) }.identifiers } catch {
            throw .invalidResponse("\(error)")
        }
    }

    /// Describes one namespace; with the problem where it cannot be used.
    private func describe(_ nsid: UInt32, index: Int) async throws(InitiatorError) -> NamespaceDescription {
        var description = NamespaceDescription(index: index, nsid: nsid, identify: IdentifyNamespace())
        do throws(InitiatorError) {
            let bytes = try await identify(.namespace, nsid: nsid)
            do { description.identify = try IdentifyNamespace(decoding: bytes) } catch {
                throw .invalidResponse("\(error)")
            }
            let identity = TercetNamespaceIdentity(identifyNamespace: bytes)
            description.instance = identity?.instance
            description.opening = identity?.opening
            let identify = description.identify
            if identify.size == 0 {
                description.problem = "the namespace is not active"
            } else if identify.formats[identify.formatIndex].metadataSize > 0 {
                description.problem = "the namespace has metadata"
            } else {
                // Users have computed block addresses with the first size.
                let size = places[nsid]?.blockSize ?? description.blockSize
                places[nsid]?.blockSize = size
                if size != description.blockSize {
                    description.problem =
                        "the namespace's blocks had \(size) bytes, and now have \(description.blockSize); it must be opened "
                        + "anew"
                }
            }
            // Optional for controllers before 1.3: without it the namespace has no UUID.
            if let bytes = try? await self.identify(.namespaceDescriptors, nsid: nsid) {
                description.descriptors = try? bytes.withUnsafeBytes { try NamespaceDescriptors(decoding: $0) }
            }
        } catch {
            // That says nothing of the namespace: the next connection's scan will.
            if case .connectionLost = error { throw error }
            description.problem = error.description
        }
        return description
    }

    private func updateQueues(_ namespaces: [NamespaceDescription], gone: [NamespaceDescription]) async {
        let reformatted = namespaces.filter { namespace in
            places[namespace.nsid]?.blockSize.map { $0 != namespace.identify.blockSize } ?? false
                && namespace.identify.size > 0
        }
        for queue in queues {
            await queue.group.onExecutor {
                for namespace in gone { queue.engine.removeNamespace(namespace.index) }
                for namespace in namespaces {
                    queue.engine.setNamespace(
                        namespace.index,
                        NamespaceSlot(
                            isPresent: namespace.problem == nil, nsid: namespace.nsid,
                            blockShift: UInt8(namespace.blockSize.trailingZeroBitCount),
                            boundary: UInt32(namespace.identify.optimalIOBoundary),
                            mayDeallocateZeroes: namespace.identify.deallocation.contains(.writeZeroesDeallocates)))
                }
                for namespace in reformatted { queue.engine.abandonOperations(of: namespace.nsid) }
            }
        }
    }
}
