import AIOBlock
import Base
import BlockInterface
import Glibc
import Testing

@Suite("Devices that fail")
struct FailureTests {
    @Test("Failures are counted, those for lack of room apart")
    func counts() throws {
        let file = try TemporaryFile(byteCount: 1 << 20)
        let device = try AIODevice(path: file.path)
        #expect(device.failures == DeviceFailures())
        device.noteFailure(EIO)
        device.noteFailure(ENOSPC)
        device.noteFailure(EDQUOT)
        #expect(device.failures == DeviceFailures(count: 3, noSpaceCount: 2, lastError: EDQUOT))
    }

    @Test("A device that has failed is stale when another file is at its path, and not else")
    func stale() throws {
        let file = try TemporaryFile(byteCount: 1 << 20)
        let other = try TemporaryFile(byteCount: 2 << 20)
        let device = try AIODevice(path: file.path)
        let full = try AIODevice(path: other.path)
        #expect(!device.isStale)
        device.noteFailure(EIO)
        full.noteFailure(ENOSPC)
        #expect(!device.isStale, "it can be read")
        try #require(rename(other.path, file.path) == 0)
        #expect(device.isStale)
        #expect(!full.isStale, "a file system that is full is no reason")
    }

    @Test("A device tells when it has been closed")
    func closing() async throws {
        let file = try TemporaryFile(byteCount: 1 << 20)
        var device: AIODevice? = try AIODevice(path: file.path)
        let closing = try #require(device?.closing)
        #expect(await !closing.wait(seconds: 0.05))
        let waiting = Task { await closing.wait(seconds: 30) }
        device = nil
        #expect(await waiting.value)
        #expect(await closing.wait(seconds: 30))
        _ = try AIODevice(path: file.path)
    }
}
