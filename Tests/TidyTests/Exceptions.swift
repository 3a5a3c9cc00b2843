/// Places that break a rule for a reason. A test fails where one of these is no longer needed, so that the lists only shrink.
enum Exceptions {
    /// The folder of code that protoc has made: nobody writes or reads it, and its files are as long as their interface is.
    static let generated = "Sources/tercet-csi/Interface/"

    /// Comments that open with a subject clause, by folder: none.
    static let openings: [String: Int] = [:]

    /// `@unchecked Sendable` without a reason beside it, by folder: none.
    static let unchecked: [String: Int] = [:]

    /// Numbers of time without a unit in their names, by folder; upper limits, as above. Replication and its simulation
    /// count in nanoseconds.
    static let units: [String: Int] = [
        "Sources/Replication": 13, "Sources/VolumeSimulation": 5,
        "Tests/MemoryBlockTests": 1,
        // Fields with the names and the units of the specification: RTD3E is in microseconds, CAP.TO in 500 ms.
        "Sources/NVMeSpec": 3, "Sources/NVMeTarget": 1,
    ]

    /// Functions that are too long, by path and name, with the reason.
    static let longFunctions: [String: String] = [
        "Tests/InitiatorCalls/InitiatorCalls.swift func admin": "a list of calls, one after another",
        "Tests/MemoryTests/RegistrationStalenessTests.swift func theDeviceReadsWhatIsMapped":
            "one scene with four threads",
    ]

    /// Files that are too long, by path, with the reason.
    static let longFiles: [String: String] = [:]

    /// Dependencies that are declared and not imported, "TARGET MODULE", with the reason.
    static let dependencies: [String: String] = [:]
}
