/// The rooms from the ground up: a room imports rooms of lower layers only. The map in `Sources/ARCHITECTURE.md` shows the same.
enum Layers {
    static let all: [[String]] = [
        ["CLinux", "CVerbs", "CAIO", "CLibNVMe", "CChecksum", "CUUID", "CTercet"],
        ["Base", "Terminal"],
        ["Trace", "FabricInterface", "BlockInterface", "NVMeSpec"],
        ["Memory", "Reactor", "Replication", "Buffers", "InitiatorTransport", "TargetInterface", "TargetTransport"],
        ["VerbsFabric", "Simulation", "AIOBlock", "MemoryBlock", "RDMATransport"],
        ["BlockBackend"],
        ["TargetConfiguration", "NVMeTarget", "NVMeInitiator"],
        ["VolumeDriver"],
        ["VolumeSimulation", "LibTercet"],
        ["tercetd", "tercet", "tercet-simulate", "tercet-fio"],
    ]
}
