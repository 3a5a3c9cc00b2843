/// The rooms from the ground up: a room imports rooms of lower layers only. The map in `Sources/ARCHITECTURE.md` shows the same.
enum Layers {
    static let all: [[String]] = [
        [
            "CLinux", "CVerbs", "CAIO", "CLibNVMe", "CChecksum", "CLibUUID", "CTLS", "CCrypto", "CSQLite", "CUring",
            "CCurl", "CTercet",
        ],
        ["Base", "JSON", "Terminal"],
        [
            "Trace", "UnixSockets", "HostDiagnosis", "FabricInterface", "BlockInterface", "NVMeSpec", "NBDProtocol",
            "KernelNBD", "DurableFiles", "Succession", "NVMeAuthentication", "ControllerCalls", "Repetition",
        ],
        [
            "Memory", "Reactor", "Replication", "Buffers", "ControlPlane", "Metrics", "InitiatorTransport",
            "TargetInterface", "TargetTransport", "NBDOverTCP", "FabricsConfiguration",
        ],
        [
            "VerbsFabric", "Simulation", "AIOBlock", "MemoryBlock", "RDMATransport", "NBDServer", "UblkServer",
            "NodeAgent", "NamespacePool",
        ],
        ["BlockBackend"],
        ["TargetConfiguration", "NVMeTarget", "NVMeInitiator"],
        ["VolumeDriver"],
        ["VolumeRegistry", "LoadGenerator"],
        ["SQLiteRegistry", "EtcdRegistry", "VolumeSimulation", "LibTercet", "VolumedConfiguration"],
        ["RegistryBackend"],
        ["tercetd", "tercet-volumed", "tercet-node", "tercet", "tercet-simulate", "tercet-fio"],
    ]
}
