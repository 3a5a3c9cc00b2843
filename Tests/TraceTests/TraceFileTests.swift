import Base
import Glibc
import Testing

@testable import Trace

/// Serialized: a process has one place for its dumps.
@Suite(.serialized) struct TraceFileTests {
    /// A dump of the rings that the process has, and what is in it.
    private func dump() throws -> (path: String, bytes: [UInt8]) {
        TraceDump.prepare(program: "trace-tests", folder: TraceDump.temporaryFolder)
        var path = ""
        let failure = TraceDump.write { path = String(cString: $0) }
        try #require(failure == 0)
        let file = try #require(fopen(path, "r"))
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 64 << 20)
        bytes.removeLast(bytes.count - fread(&bytes, 1, bytes.count, file))
        return (path, bytes)
    }

    @Test func aDumpHoldsTheRingsWithTheirNames() throws {
        let ring = TraceRing(name: "dumped", capacity: 64)
        let other = TraceRing(name: "a name with more bytes than the dump keeps of it", capacity: 64)
        ring.trace.note(.now())
        ring.trace.record(.capsuleIn, 7, 8)
        other.trace.record(.answer, 9, 10)
        let (path, bytes) = try dump()
        defer { unlink(path) }
        var information = stat()
        #expect(stat(path, &information) == 0 && information.st_mode & 0o777 == 0o600)

        let file = try TraceFile(bytes)
        #expect(file.process == UInt32(getpid()))
        #expect(!file.isCutOff)
        let found = try #require(file.rings.first { $0.name == "dumped" })
        #expect(found.events.map(\.a) == [7])
        let time = try #require(found.events.first?.timeNanoseconds)
        #expect(time <= file.monotonicNanoseconds)
        #expect(file.wallNanoseconds(of: time) <= file.wallNanoseconds)
        #expect(file.rings.contains { $0.name == "a name with more bytes than the" && $0.events.map(\.a) == [9] })
    }

    @Test func eachDumpHasAFileOfItsOwn() throws {
        let first = try dump().path
        var second = ""
        TraceDump.write { second = String(cString: $0) }
        #expect(first != second && !second.isEmpty)
        unlink(first)
        unlink(second)
    }

    @Test func aFolderThatIsNotThereIsToldByItsErrorNumber() {
        TraceDump.prepare(program: "trace-tests", folder: "/nowhere/at/all")
        #expect(TraceDump.write { _ in Issue.record("there is no file") } == ENOENT)
    }

    @Test func aFileThatEndsEarlyKeepsItsWholeRings() throws {
        let ring = TraceRing(name: "cut", capacity: 64)
        ring.trace.record(.answer, 1, 1)
        let (path, bytes) = try dump()
        unlink(path)
        let rings = try TraceFile(bytes).rings.count
        for missing in [1, 8, 9, 1000] {
            let cut = try TraceFile(Array(bytes.dropLast(missing)))
            #expect(cut.isCutOff)
            #expect(cut.rings.count == rings - 1)
        }
    }

    @Test func otherFilesAreRefused() {
        #expect(throws: TraceFileError.noDump) { try TraceFile([]) }
        #expect(throws: TraceFileError.noDump) {
            try TraceFile(Array("#!/bin/sh\necho this is a script, no trace\n".utf8))
        }
        var header = TraceFileHeader()
        header.version = 99
        let bytes = withUnsafeBytes(of: header) { Array($0) }
        #expect(throws: TraceFileError.unknownVersion(99)) { try TraceFile(bytes) }
    }

    @Test func bytesThatLieAboutTheirSizesAreHarmless() throws {
        var numbers = SystemRandomNumberGenerator()
        let header = withUnsafeBytes(of: TraceFileHeader()) { Array($0) }
        for _ in 0..<2000 {
            let length = Int.random(in: 0...400, using: &numbers)
            var bytes = header + (0..<length).map { _ in UInt8.random(in: 0...255, using: &numbers) }
            // A capacity that might fit, and positions from anywhere.
            if bytes.count > header.count + 48 {
                for place in 33..<40 { bytes[header.count + place] = 0 }
            }
            let file = try TraceFile(bytes)
            #expect(file.rings.allSatisfy { $0.events.count <= 400 })
        }
    }
}
