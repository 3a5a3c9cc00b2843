import Base

extension HostFacts {
    /// All that is wrong, in the order in which it is mended.
    public var findings: [Finding] {
        rdmaFindings + devices.flatMap { findings(of: $0) } + limitFindings + unitFindings + machineFindings
            + listenerFindings + targets.flatMap { findings(of: $0) }
    }

    // MARK: RDMA

    private var rdmaFindings: [Finding] {
        if hasConnectionManager == false {
            return [
                Finding(
                    .error, "RDMA", "there is no /dev/infiniband/rdma_cm",
                    why: "no connection can be made or accepted", remedy: "modprobe rdma_ucm")
            ]
        }
        if let problem = rdmaProblem ?? (devices.isEmpty ? "there is no RDMA device" : nil) {
            return [
                Finding(
                    .error, "RDMA", problem, why: "neither a target nor an initiator can work",
                    remedy: "load the driver of the network card, or: rdma link add rxe0 type rxe netdev INTERFACE")
            ]
        }
        return []
    }

    private func findings(of device: Device) -> [Finding] {
        var findings = device.ports.flatMap { Self.findings(of: $0, of: device.name) }
        if device.readDepth < Self.goodReadDepth {
            findings.append(
                Finding(
                    .warning, device.name, "it has \(device.readDepth) RDMA READs at once in a queue pair",
                    why: "a target fetches the data of writes by READs: writes at depth are slow",
                    remedy:
                        "raise the driver's limit if it has one (modinfo DRIVER), or spread hosts over more I/O queues")
            )
        }
        guard let needs else { return findings }
        let limits = [
            ("memory regions", device.maxMemoryRegions, needs.reactors * 4, "use fewer reactors"),
            (
                "queue pairs", device.maxQueuePairs, needs.queuePairs,
                "use fewer reactors, or fewer I/O queues (maxIOQueues)"
            ),
            (
                "entries of a shared receive queue", device.sharedReceiveEntries, needs.sharedReceiveEntries,
                "set sharedReceiveEntries to at most \(device.sharedReceiveEntries)"
            ),
        ]
        for (thing, limit, need, remedy) in limits where limit < need {
            findings.append(
                Finding(
                    .error, device.name, "it has \(limit) \(thing), and the configuration needs \(need)",
                    why: "hosts are refused when they are used up", remedy: remedy))
        }
        if let node = device.node, let nodes = needs.nodes, !nodes.isEmpty, !nodes.contains(node) {
            findings.append(
                Finding(
                    .warning, device.name,
                    "it is at NUMA node \(node), and the reactors run at \(Set(nodes).sorted().map(String.init).joined(separator: ", "))",
                    why: "every I/O crosses the link between processors",
                    remedy:
                        "set \"reactors\" to processors of node \(node): cat /sys/devices/system/node/node\(node)/cpulist"
                ))
        }
        return findings
    }

    /// As many READs as common cards have; half of that is where writes at depth 32 begin to wait.
    private static let goodReadDepth = 8

    private static func findings(of port: Port, of device: String) -> [Finding] {
        let name = "\(device) port \(port.number)"
        let interface = port.interface ?? "INTERFACE"
        guard port.isActive else {
            return [
                Finding(
                    .error, name, "it is \(port.state)", why: "nothing goes over this port",
                    remedy: "ip link set \(interface) up; look at the cable and at the switch's port")
            ]
        }
        var findings: [Finding] = []
        if port.activeMTU < port.maxMTU, port.activeMTU < 2048 {
            findings.append(
                Finding(
                    .warning, name, "its packets carry \(port.activeMTU) bytes of \(port.maxMTU)",
                    why: "each packet costs processor time and wire: large I/O is slower",
                    remedy: port.isEthernet
                        ? "ip link set \(interface) mtu 4200, on all hosts and switches of the network"
                        : "raise the MTU of the subnet (opensm partitions.conf)"))
        }
        if port.isEthernet, let types = port.gidTypes, !types.contains(where: { $0.contains("v2") }) {
            findings.append(
                Finding(
                    .error, name, "it has no GID of RoCE v2",
                    why: "connections by IP addresses cannot be made over routers, and not at all with most peers",
                    remedy: "give \(interface) an IP address; cma_roce_mode -d \(device) -p \(port.number) -m 2"))
        }
        return findings
    }

    // MARK: Addresses

    private var rdmaInterfaces: Set<String> { Set(devices.flatMap(\.ports).compactMap(\.interface)) }

    private var listenerFindings: [Finding] {
        (needs?.listeners ?? []).compactMap { listener in
            if listener.host == "0.0.0.0" || listener.host == "::" { return nil }
            guard let own = addresses.first(where: { $0.address == listener.host }) else {
                let known = Set(addresses.map(\.address)).sorted().joined(separator: ", ")
                return Finding(
                    .error, "listener \(listener)", "its address is none of this host; there are: \(known)",
                    why: "the target cannot listen there",
                    remedy: "ip address add \(listener.host)/PREFIX dev INTERFACE")
            }
            guard !rdmaInterfaces.isEmpty, !rdmaInterfaces.contains(own.interface) else { return nil }
            let usable = rdmaInterfaces.sorted().joined(separator: ", ")
            return Finding(
                .error, "listener \(listener)",
                "its interface \(own.interface) has no RDMA device; these have: \(usable)",
                why: "hosts cannot connect there",
                remedy: "listen at an address of \(usable), or: rdma link add rxe0 type rxe netdev \(own.interface)")
        }
    }

    private func findings(of target: Target) -> [Finding] {
        let name = "target \(target.address)"
        if target.interface == nil, target.problem != nil {
            return [
                Finding(
                    .error, name, "there is no route to it", why: "it cannot be reached",
                    remedy: "ip route get \(target.address.host)")
            ]
        }
        if let interface = target.interface, interface != "lo", !rdmaInterfaces.isEmpty,
            !rdmaInterfaces.contains(interface)
        {
            return [
                Finding(
                    .error, name, "packets go there by \(interface), which has no RDMA device",
                    why: "it cannot be reached by RDMA",
                    remedy: "ip route get \(target.address.host); give the RDMA interface the route")
            ]
        }
        if let problem = target.problem {
            return [
                Finding(
                    .error, name, "it is not reached: \(problem)", why: "no path to its volumes",
                    remedy: "ping \(target.address.host); on the target: tercet target show, and tercet doctor")
            ]
        }
        if let seconds = target.roundTripSeconds, seconds > Self.slowRoundTripSeconds {
            return [
                Finding(
                    .warning, name, "its quickest answer took \(Int(seconds * 1e6)) us",
                    why: "each I/O takes longer than that",
                    remedy: "ping -i 0.01 -c 100 \(target.address.host); look for losses: ethtool -S, rdma statistic")
            ]
        }
        return []
    }

    /// An admin command is answered in some 20 microseconds by a card, and in some 200 by Soft-RoCE.
    private static let slowRoundTripSeconds = 0.005
}
