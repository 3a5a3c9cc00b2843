import ControllerCalls
import NodeAgent
import Testing

/// Values that callers give, and codes that they get.
@Suite struct NodeValueTests {
    /// Numbers and names of gRPC's status codes.
    @Test func codesAreThoseOfGRPC() {
        let codes: [(NodeCode, Int32, String)] = [
            (.invalidArgument, 3, "INVALID_ARGUMENT"), (.deadlineExceeded, 4, "DEADLINE_EXCEEDED"),
            (.notFound, 5, "NOT_FOUND"), (.alreadyExists, 6, "ALREADY_EXISTS"),
            (.permissionDenied, 7, "PERMISSION_DENIED"), (.resourceExhausted, 8, "RESOURCE_EXHAUSTED"),
            (.failedPrecondition, 9, "FAILED_PRECONDITION"), (.aborted, 10, "ABORTED"),
            (.outOfRange, 11, "OUT_OF_RANGE"),
            (.unimplemented, 12, "UNIMPLEMENTED"), (.internal, 13, "INTERNAL"), (.unavailable, 14, "UNAVAILABLE"),
        ]
        for (code, number, name) in codes {
            #expect(code.rawValue == number)
            #expect(code.name == name)
        }
        #expect(NodeCode.allCases.count == codes.count)
    }

    @Test(arguments: ["a", "pvc-2f0c1c1e-7d4e-4a53-8f2f-9d1b1e6f0a11", "db_1.data", String(repeating: "n", count: 128)])
    func namesOfVolumes(name: String) throws { #expect(try VolumeID(name).name == name) }

    @Test(arguments: ["", "a/b", "..", ".hidden", "a b", "a\nb", "\u{e4}", String(repeating: "n", count: 129)])
    func namesThatNoFileMayHave(name: String) {
        let error = #expect(throws: NodeError.self) { try VolumeID(name) }
        #expect(error?.code == .invalidArgument)
    }
}
