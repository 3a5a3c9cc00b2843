import VolumeRegistry

extension RegistryLaws {
    func checkPools() async throws(RegistryError) {
        func pool(_ name: String, _ domain: String) -> PoolEntry {
            PoolEntry(
                name: name, addresses: ["192.0.2.1:4420", "[2001:db8::1]:4421"],
                subsystem: "nqn.2026-11.io.example:pool",
                domain: domain)
        }
        let before = try await registry.list()
        law(try await registry.pools() == RegisteredPools(), "there is no pool that was never entered")
        law(
            await conflicts(present: nil) { () async throws(RegistryError) in
                try await registry.put(pools: [], expecting: Revision(1))
            }, "pools that are not there cannot be replaced")
        let first = try await registry.put(pools: [pool("a", "one"), pool("b", "two")], expecting: nil)
        law(
            try await other.pools() == RegisteredPools([pool("a", "one"), pool("b", "two")], revision: first),
            "others read the pools that were written")
        law(
            await conflicts(present: first) { () async throws(RegistryError) in
                try await other.put(pools: [pool("c", "one")], expecting: nil)
            }, "pools are not made twice")
        var changed = pool("a", "three")
        (changed.capacity, changed.unallocated) = (UInt64(Int64.max), 0)
        let second = try await other.put(pools: [changed], expecting: first)
        law(second > first, "each change of the pools has a higher revision")
        law(
            await conflicts(present: second) { () async throws(RegistryError) in
                try await registry.put(pools: [], expecting: first)
            }, "pools that have changed meanwhile are not replaced")
        for bad in [
            [pool("a/b", "x")], [pool("a", "")], [pool("a", "x"), pool("a", "y")],
            [PoolEntry(name: "a", addresses: [], subsystem: "nqn.2026-11.io.example:pool", domain: "x")],
            [PoolEntry(name: "a", addresses: ["nowhere"], subsystem: "nqn.2026-11.io.example:pool", domain: "x")],
            [PoolEntry(name: "a", addresses: ["192.0.2.1"], subsystem: "disk", domain: "x")],
        ] {
            law(
                await fails({ $0 == .invalid }) { () async throws(RegistryError) in
                    try await registry.put(pools: bad, expecting: second)
                }, "pools that break a rule are refused: \(bad)")
        }
        law(
            try await registry.pools() == RegisteredPools([changed], revision: second),
            "what was refused has changed nothing")
        let nodes = [NodeEntry(name: "host-1", domain: "three"), NodeEntry(name: "host 2", domain: nil)]
        let third = try await other.put(pools: [changed], nodes: nodes, expecting: second)
        law(
            try await registry.pools() == RegisteredPools([changed], nodes: nodes, revision: third),
            "others read the nodes that were written")
        let fourth = try await registry.put(pools: [], expecting: third)
        law(
            try await other.pools() == RegisteredPools([], nodes: nodes, revision: fourth),
            "nodes stay when pools are written")
        for bad in [
            [NodeEntry(name: "", domain: nil)], [NodeEntry(name: "a", domain: "")],
            [NodeEntry(name: "a", domain: nil), NodeEntry(name: "a", domain: "x")],
        ] {
            law(
                await fails({ $0 == .invalid }) { () async throws(RegistryError) in
                    try await registry.put(pools: [], nodes: bad, expecting: fourth)
                }, "nodes that break a rule are refused: \(bad)")
        }
        law(try await registry.list().volumes == before.volumes, "pools are no volumes")
    }
}
