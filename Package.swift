// swift-tools-version: 6.3
import PackageDescription

// One module per room; arrows go down only. Sources/ARCHITECTURE.md is the map.
let strict: [SwiftSetting] = [
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    // That no two accesses to a stored property overlap is checked while it runs in debug builds only: in a release build
    // the check costs the I/O path more instructions than the target's own work.
    .unsafeFlags(["-enforce-exclusivity=unchecked"], .when(configuration: .release)),
]

/// Settings of a room that answers people and other programs, and does nothing for an I/O. The optimiser takes four fifths of the
/// time that such a room needs to compile, and nobody would see what it does there.
let unhurried = strict + [.unsafeFlags(["-Onone"], .when(configuration: .release))]

/// Error numbers with their texts, and file descriptors.
let system: Target.Dependency = .product(name: "SystemPackage", package: "swift-system")

/// A room of the house: a Swift library module.
func room(_ name: String, _ dependencies: [Target.Dependency] = [], _ settings: [SwiftSetting] = strict) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: settings)
}

/// The tests of a room, in a folder of the room's name.
func tests(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .testTarget(name: name, dependencies: dependencies, swiftSettings: strict)
}

let package = Package(
    name: "tercet",
    products: [
        .library(name: "Tercet", type: .dynamic, targets: ["LibTercet"]),
        // For Sources/tercet-csi, a package of its own.
        .library(name: "NodeAgent", targets: ["Base", "ControllerCalls", "NodeAgent", "Terminal", "UnixSockets"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
        .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
        .package(url: "https://github.com/jpsim/Yams.git", from: "6.2.2"),
        .package(url: "https://github.com/swiftlang/swift-subprocess", from: "1.0.2"),
    ],
    targets: [
        // Header-only shims: only what Swift cannot import.
        .systemLibrary(name: "CVerbs", path: "Sources/CVerbs"),
        .systemLibrary(name: "CLinux", path: "Sources/CLinux"),
        .systemLibrary(name: "CAIO", path: "Sources/CAIO"),
        .systemLibrary(name: "CLibNVMe", path: "Sources/CLibNVMe"),
        .systemLibrary(name: "CChecksum", path: "Sources/CChecksum"),
        .systemLibrary(name: "CLibUUID", path: "Sources/CLibUUID"),
        .systemLibrary(name: "CTLS", path: "Sources/CTLS"),
        .systemLibrary(name: "CCrypto", path: "Sources/CCrypto"),
        .systemLibrary(name: "CSQLite", path: "Sources/CSQLite"),
        .systemLibrary(name: "CUring", path: "Sources/CUring"),
        .systemLibrary(name: "CCurl", path: "Sources/CCurl"),

        // The rules of Sources/STYLE.md that a program can check, on the whole tree.
        tests("TidyTests", []),

        // What every room stands on.
        room("Base", ["CLinux"]),
        room("FabricInterface", ["Base"]),
        room("BlockInterface", ["Base"]),
        room("NVMeSpec", ["Base"]),
        tests("NVMeSpecTests", ["Base", "CLibNVMe", "LibNVMeCapture", "NVMeSpec"]),
        // What must hold for any bytes, for the tests and for Tools/fuzz.
        .target(name: "Fuzzing", path: "Tests/Fuzzing", swiftSettings: strict),
        .target(
            name: "NVMeSpecFuzz", dependencies: ["Base", "Fuzzing", "NVMeSpec"], path: "Tests/NVMeSpecFuzz",
            swiftSettings: strict),
        .target(
            name: "DocumentFuzz",
            dependencies: [
                "Base", "BlockInterface", "FabricsConfiguration", "Fuzzing", "NBDOverTCP", "Replication",
                "TargetConfiguration", "VolumeDriver", "VolumeRegistry", "VolumedConfiguration",
            ], path: "Tests/DocumentFuzz", swiftSettings: strict),
        .target(
            name: "EngineFuzz",
            dependencies: [
                "Base", "FabricInterface", "Fuzzing", "InProcessTransport", "MemoryBlock", "NVMeAuthentication",
                "NVMeSpec", "NVMeTarget", "RDMATransport", "Reactor", "Simulation", "TargetInterface",
                "TargetTransport",
            ], path: "Tests/EngineFuzz", swiftSettings: strict),
        .target(
            name: "DaemonFuzz",
            dependencies: [
                "Base", "ControlPlane", "Fuzzing", "JSON", "Metrics", "NamespacePool", "TargetInterface", "UblkServer",
            ], path: "Tests/DaemonFuzz", swiftSettings: strict),
        .executableTarget(
            name: "fuzz-parsers",
            dependencies: [
                "DaemonFuzz", "DocumentFuzz", "EngineFuzz", "Fuzzing", "NBDProtocolFuzz", "NVMeSpecFuzz",
            ],
            path: "Tests/FuzzDriver", swiftSettings: strict),
        tests(
            "FuzzingTests",
            ["Base", "DaemonFuzz", "DocumentFuzz", "EngineFuzz", "Fuzzing", "NBDProtocolFuzz", "NVMeSpecFuzz"]),
        // Catches the commands that libnvme builds, for comparison.
        .target(name: "LibNVMeCapture", path: "Tests/LibNVMeCapture"),
        // In-band authentication: messages and arithmetic of both sides, no I/O.
        room("NVMeAuthentication", ["Base", "CCrypto", "CLinux"]),
        tests("NVMeAuthenticationTests", ["Base", "NVMeAuthentication"]),
        // What each thread did last, always recorded, and its dump.
        room("Trace", ["Base", "CLinux"]),
        tests("TraceTests", ["Base", "Trace"]),
        room("Reactor", ["Base", "CLinux", "Trace", system]),
        tests("ReactorTests", ["Base", "CLinux", "Reactor"]),
        // Any value of JSON.
        room("JSON"),
        // Buffers cut from memory that is given.
        room("Buffers", ["Base"]),

        room("Memory", ["Base", "CLinux", "FabricInterface", system]),
        tests("MemoryTests", ["AllocationProbe", "Base", "Buffers", "CLinux", "FabricInterface", "Memory"]),

        // The fabrics.
        room("VerbsFabric", ["Base", "CLinux", "CVerbs", "FabricInterface", system]),
        tests("VerbsFabricTests", ["Base", "CVerbs", "FabricInterface", "VerbsFabric"]),

        // What every fabric has to keep, and the check of a verbs device against it.
        .target(
            name: "FabricLaws", dependencies: ["AllocationProbe", "Base", "FabricInterface", "Memory"],
            path: "Tests/FabricLaws", swiftSettings: strict),
        .executableTarget(
            name: "verbs-fabric-laws", dependencies: ["Base", "FabricInterface", "FabricLaws", "VerbsFabric"],
            path: "Tests/VerbsFabricLaws", swiftSettings: strict),

        // A world in one process, in virtual time.
        room("Simulation", ["Base", "BlockInterface", "FabricInterface", "Reactor"]),
        tests(
            "SimulationTests", ["Base", "BlockInterface", "BlockLaws", "FabricInterface", "FabricLaws", "Simulation"]),

        // Whole volumes in such a world: real targets, initiators and volumes, faults and oracles.
        room(
            "VolumeSimulation",
            [
                "Base", "BlockInterface", "Buffers", "FabricInterface", "InitiatorTransport", "Memory", "NVMeInitiator",
                "NVMeSpec", "NVMeTarget", "RDMATransport", "Reactor", "Replication", "Simulation", "Succession",
                "TargetInterface", "TargetTransport", "VolumeDriver", "VolumeRegistry",
            ]),
        .executableTarget(
            name: "tercet-simulate",
            dependencies: [
                "Terminal", "VolumeSimulation", .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ], swiftSettings: unhurried),
        tests(
            "VolumeSimulationTests",
            [
                "Base", "BlockInterface", "CChecksum", "NVMeTarget", "Replication", "Simulation", "TargetInterface",
                "VolumeDriver", "VolumeSimulation",
            ]),

        // Block devices.
        room("AIOBlock", ["Base", "BlockInterface", "CAIO", "CLinux", system]),
        room("MemoryBlock", ["Base", "BlockInterface", "CLinux", system]),
        room("BlockBackend", ["AIOBlock", "Base", "BlockInterface", "MemoryBlock"]),
        tests("AIOBlockTests", ["AIOBlock", "AllocationProbe", "Base", "BlockInterface", "BlockLaws", "CLinux"]),
        tests(
            "MemoryBlockTests",
            ["AllocationProbe", "Base", "BlockInterface", "BlockLaws", "DurableFiles", "MemoryBlock"]),
        tests("BlockBackendTests", ["Base", "BlockBackend", "BlockInterface"]),

        // What every block device has to keep, and a count of a thread's allocations for the tests of hot paths.
        .target(
            name: "BlockLaws", dependencies: ["AllocationProbe", "Base", "BlockInterface", "CLinux"],
            path: "Tests/BlockLaws",
            swiftSettings: strict),
        .executableTarget(
            name: "block-device-laws", dependencies: ["AIOBlock", "Base", "BlockInterface", "BlockLaws"],
            path: "Tests/BlockDeviceLaws", swiftSettings: strict),
        .target(name: "AllocationProbe", path: "Tests/AllocationProbe"),

        // What a target is to be: plain values, for whoever tells it.
        room("TargetInterface", ["Base", "BlockInterface", "NVMeAuthentication", "NVMeSpec"], unhurried),
        // The wall between NVMe and what carries it: values that cross it, and the interface of a target's transport.
        room("TargetTransport", ["Base", "NVMeSpec"]),
        // NVMe over RDMA; knows no subsystem.
        room(
            "RDMATransport",
            [
                "Base", "FabricInterface", "InitiatorTransport", "Memory", "NVMeSpec", "TargetInterface",
                "TargetTransport",
            ]),

        // The target: commands, on any transport.
        room(
            "NVMeTarget",
            [
                "Base", "BlockInterface", "Buffers", "CChecksum", "NVMeAuthentication", "NVMeSpec", "Reactor",
                "TargetInterface", "TargetTransport", "Trace",
            ]),

        // A transport without a fabric, for the tests of command engines.
        .target(
            name: "InProcessTransport", dependencies: ["Base", "NVMeSpec", "TargetInterface", "TargetTransport"],
            path: "Tests/InProcessTransport", swiftSettings: strict),
        tests(
            "NVMeTargetTests",
            [
                "AllocationProbe", "Base", "BlockInterface", "CLibNVMe", "CLinux", "FabricInterface",
                "InProcessTransport",
                "MemoryBlock", "NVMeAuthentication", "NVMeSpec", "NVMeTarget", "NamespacePool", "RDMATransport",
                "Reactor", "Simulation", "TargetInterface", "TargetTransport",
            ]),

        // The NBD protocol: bytes and rules, no I/O.
        room("NBDProtocol"),
        .target(
            name: "NBDProtocolFuzz", dependencies: ["Base", "Fuzzing", "NBDProtocol"], path: "Tests/NBDProtocolFuzz",
            swiftSettings: strict),
        tests("NBDProtocolTests", ["NBDProtocol"]),
        // Serves any block device to NBD clients, on a reactor.
        room("NBDServer", ["Base", "BlockInterface", "Buffers", "CLinux", "NBDProtocol", "Reactor"]),
        tests(
            "NBDServerTests",
            ["AllocationProbe", "Base", "BlockInterface", "MemoryBlock", "NBDProtocol", "NBDServer"]),

        // NBD over TCP: sockets that listen, and TLS with pre-shared keys on a thread of its own.
        room("NBDOverTCP", ["Base", "CLinux", "CTLS", "NBDProtocol"]),
        tests("NBDOverTCPTests", ["Base", "NBDOverTCP"]),

        // Block devices of the kernel's NBD client, by generic netlink.
        room("KernelNBD", ["Base", "CLinux"], unhurried),
        tests("KernelNBDTests", ["Base", "KernelNBD"]),

        // Block devices of the kernel's ublk driver: their requests are done on a reactor.
        room("UblkServer", ["Base", "BlockInterface", "CLinux", "CUring", "Reactor"]),

        // How often a log tells what comes again and again.
        room("Repetition", ["Base"], unhurried),
        tests("RepetitionTests", ["Base", "Repetition"]),

        // Small files that are replaced as a whole.
        room("DurableFiles", ["Base"], unhurried),
        tests("DurableFilesTests", ["Base", "DurableFiles"]),
        // The namespaces of a pool, kept in a folder.
        room("NamespacePool", ["Base", "DurableFiles", "TargetInterface"], unhurried),
        tests("NamespacePoolTests", ["Base", "DurableFiles", "NamespacePool", "TargetInterface"]),
        // The connections that this host is to have, in nvme-cli's form.
        room("FabricsConfiguration", ["Base", "DurableFiles"], unhurried),
        tests("FabricsConfigurationTests", ["Base", "FabricsConfiguration"]),

        // What a target is told, from a file or a command line.
        room(
            "TargetConfiguration",
            [
                "Base", "BlockInterface", "CLinux", "CLibUUID", "DurableFiles", "NVMeAuthentication", "NVMeSpec",
                "TargetInterface",
                system, .product(name: "Yams", package: "Yams"),
            ], unhurried),
        tests(
            "TargetConfigurationTests",
            [
                "Base", "BlockInterface", "NVMeAuthentication", "NVMeSpec", "TargetConfiguration", "TargetInterface",
            ]),

        // What the programs share with the terminal.
        .target(
            name: "Terminal",
            dependencies: [
                "CLinux", .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
            ], swiftSettings: unhurried),

        // Unix sockets that listen, and the control methods of a daemon on one.
        room("UnixSockets", ["Base", "CLinux"], unhurried),
        room("ControlPlane", ["Base", "JSON", "UnixSockets"], unhurried),
        tests("ControlPlaneTests", ["Base", "ControlPlane", "JSON", "UnixSockets"]),
        // Metrics and health of a daemon, by HTTP.
        room("Metrics", ["Base", "UnixSockets"]),
        tests("MetricsTests", ["Base", "Metrics", "UnixSockets"]),

        // The list of volumes that programs share, whatever keeps it, and the laws that every such list has to keep.
        room("VolumeRegistry", ["Base", "JSON", "VolumeDriver"]),
        .target(
            name: "RegistryLaws", dependencies: ["Base", "VolumeDriver", "VolumeRegistry"], path: "Tests/RegistryLaws",
            swiftSettings: unhurried),
        tests("VolumeRegistryTests", ["Base", "RegistryLaws", "VolumeDriver", "VolumeRegistry"]),
        // That list in one SQLite file.
        room("SQLiteRegistry", ["Base", "CSQLite", "DurableFiles", "VolumeRegistry"]),
        tests(
            "SQLiteRegistryTests",
            ["Base", "CSQLite", "RegistryLaws", "SQLiteRegistry", "VolumeDriver", "VolumeRegistry"]),
        // That list in etcd.
        room("EtcdRegistry", ["Base", "CCurl", "VolumeRegistry"], unhurried),
        tests("EtcdRegistryTests", ["Base", "EtcdRegistry", "RegistryLaws", "VolumeDriver", "VolumeRegistry"]),
        // A registry of whichever kind a place names.
        room("RegistryBackend", ["EtcdRegistry", "SQLiteRegistry", "VolumeRegistry"], unhurried),
        .executableTarget(
            name: "registry-writer", dependencies: ["Base", "SQLiteRegistry", "VolumeDriver", "VolumeRegistry"],
            path: "Tests/RegistryWriter", swiftSettings: unhurried),

        .executableTarget(
            name: "path-writer",
            dependencies: [
                "Base", "FabricInterface", "InitiatorTransport", "Memory", "NVMeInitiator", "NVMeSpec", "RDMATransport",
                "Reactor", "VerbsFabric",
            ], path: "Tests/PathWriter", swiftSettings: unhurried),
        // Which of several daemons serves a volume: values in, values out.
        room("Succession", ["Base"]),
        tests("SuccessionTests", ["Base", "Succession"]),

        // What is wrong with a host for targets and volumes, from facts that are given.
        room("HostDiagnosis", ["Base"], unhurried),
        tests("HostDiagnosisTests", ["Base", "HostDiagnosis"]),

        // What the volume daemon is told, from a file or a command line.
        room(
            "VolumedConfiguration",
            [
                "Base", "BlockInterface", "FabricsConfiguration", "NVMeAuthentication", "NVMeSpec", "Succession",
                "TargetConfiguration", "VolumeDriver",
                "VolumeRegistry",
            ], unhurried),
        tests(
            "VolumedConfigurationTests",
            ["BlockInterface", "TargetConfiguration", "VolumeDriver", "VolumedConfiguration"]),
        // Volumes as devices: attached, and served to NBD clients.
        .executableTarget(
            name: "tercet-volumed",
            dependencies: [
                "Base", "BlockBackend", "BlockInterface", "ControlPlane", "DurableFiles", "KernelNBD", "Metrics",
                "NBDOverTCP",
                "NBDProtocol",
                "NBDServer", "NVMeAuthentication", "NVMeInitiator", "NVMeSpec", "NVMeTarget", "RDMATransport",
                "Reactor", "Replication",
                "RegistryBackend", "Succession", "TargetConfiguration", "TargetInterface", "Terminal", "Trace",
                "UblkServer", "UnixSockets", "VerbsFabric", "VolumeDriver", "VolumeRegistry", "VolumedConfiguration",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
            ], swiftSettings: unhurried),

        // The calls of a CSI controller, as values: between the driver, and the program that does them.
        room("ControllerCalls", ["Base"], unhurried),
        // Volumes of tercet-volumed as CSI's node service has them: staged, published, looked at; and the same as a command.
        room(
            "NodeAgent",
            [
                "Base", "ControlPlane", "ControllerCalls", "DurableFiles", system,
                .product(name: "Subprocess", package: "swift-subprocess"),
            ], unhurried),
        tests("NodeAgentTests", ["ControllerCalls", "NodeAgent"]),
        .executableTarget(
            name: "tercet-node",
            dependencies: [
                "ControllerCalls", "NodeAgent", "Terminal",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ], swiftSettings: unhurried),

        .executableTarget(
            name: "tercetd",
            dependencies: [
                "Base", "BlockBackend", "BlockInterface", "CLinux", "ControlPlane", "DurableFiles", "FabricInterface",
                "JSON",
                "Metrics",
                "NVMeSpec", "NVMeTarget", "NamespacePool", "RDMATransport", "Reactor", "Repetition",
                "TargetConfiguration", "TargetInterface", "Terminal", "Trace", "UnixSockets", "VerbsFabric",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
            ], swiftSettings: unhurried),

        // One controller of any NVMe-oF target: commands, without a fabric.
        room("InitiatorTransport", ["Base", "NVMeSpec"]),
        room("NVMeInitiator", ["Base", "InitiatorTransport", "NVMeAuthentication", "NVMeSpec", "Reactor", "Trace"]),
        // The same, and volumes, for programs in C: libtercet.so and Sources/CTercet/include/tercet.h. The package manager
        // names the file libTercet.so, as a product may not share the name of the executable; Tools/library adds the link
        // with the name that programs are built against.
        .systemLibrary(name: "CTercet", path: "Sources/CTercet/include"),
        .target(
            name: "LibTercet",
            dependencies: [
                "Base", "BlockInterface", "CLinux", "CTercet", "FabricInterface", "InitiatorTransport", "Memory",
                "NVMeAuthentication", "NVMeInitiator", "NVMeSpec", "RDMATransport", "Reactor", "Replication",
                "VerbsFabric",
                "VolumeDriver",
            ], swiftSettings: strict,
            linkerSettings: [.unsafeFlags(["-Xlinker", "-soname", "-Xlinker", "libtercet.so"])]),
        tests(
            "NVMeInitiatorTests",
            [
                "Base", "CLibNVMe", "FabricInterface", "InitiatorTransport", "Memory", "NVMeInitiator", "NVMeSpec",
                "RDMATransport", "Simulation", "Trace",
            ]),
        // Every call of the initiator against a target of any make.
        .executableTarget(
            name: "initiator-calls",
            dependencies: [
                "Base", "FabricInterface", "InitiatorTransport", "Memory", "NVMeInitiator", "NVMeSpec", "RDMATransport",
                "Reactor", "VerbsFabric",
            ],
            path: "Tests/InitiatorCalls", swiftSettings: unhurried),
        // A target that offers little more than what is mandatory, for volumes on targets of any make.
        .executableTarget(
            name: "bare-target",
            dependencies: [
                "Base", "FabricInterface", "NVMeSpec", "VerbsFabric",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ], path: "Tests/BareTarget", swiftSettings: unhurried),

        // Workers that load a queue or a volume and check what they read, for the benches and exercises of tercet.
        room(
            "LoadGenerator",
            [
                "Base", "BlockInterface", "FabricInterface", "InitiatorTransport", "Memory", "NVMeInitiator",
                "RDMATransport", "Reactor", "Replication", "VolumeDriver", system,
                .product(name: "Histogram", package: "hdrhistogram-swift"),
            ]),
        .executableTarget(
            name: "tercet",
            dependencies: [
                "Base", "BlockInterface", "ControlPlane", "ControllerCalls", "FabricInterface", "FabricsConfiguration",
                "HostDiagnosis", "InitiatorTransport", "JSON",
                "LoadGenerator", "NVMeAuthentication", "NVMeInitiator", "NVMeSpec", "RDMATransport", "Reactor",
                "RegistryBackend", "Replication", "TargetConfiguration", "TargetInterface", "Terminal", "Trace",
                "VerbsFabric", "VolumeDriver",
                "VolumeRegistry",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Histogram", package: "hdrhistogram-swift"),
                .product(name: "SystemPackage", package: "swift-system"),
            ], swiftSettings: unhurried),

        // Stock fio on targets that it starts, breaks and compares; its engine is Tools/fio/engine.
        .executableTarget(
            name: "tercet-fio",
            dependencies: [
                "CLinux", "Terminal", .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "SystemPackage", package: "swift-system"),
            ], swiftSettings: strict),

        // One volume over three members.
        room("Replication", ["Base", "BlockInterface", "CChecksum"]),
        tests("ReplicationTests", ["Replication", "Base", "CChecksum"]),
        room(
            "VolumeDriver",
            [
                "Base", "BlockInterface", "Buffers", "CLinux", "FabricInterface", "InitiatorTransport", "Memory",
                "NVMeInitiator", "NVMeSpec", "RDMATransport", "Reactor", "Replication", "Trace",
            ]),
        tests(
            "VolumeDriverTests",
            [
                "AllocationProbe", "Base", "BlockInterface", "BlockLaws", "NVMeInitiator", "NVMeSpec", "Reactor",
                "Replication",
                "VolumeDriver", "VolumeSimulation",
            ]),
        // The book of holes that others have published: one test for each, against our target, initiator and NBD server, in the
        // worlds of these.
        .testTarget(
            name: "HostileTests",
            dependencies: [
                "CChecksum", "CLibNVMe", "InProcessTransport", "MemoryBlock", "NBDProtocol", "NBDServer",
                "NBDServerTests", "NVMeAuthentication", "NVMeInitiator", "NVMeInitiatorTests", "NVMeSpec",
                "NVMeTarget", "NVMeTargetTests", "Simulation", "TargetInterface",
            ], path: "Tests/Hostile", exclude: ["README.md"], swiftSettings: strict),
    ],
    swiftLanguageModes: [.v6]
)
