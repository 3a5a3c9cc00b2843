import BlockInterface
import Testing
import VolumeDriver
import VolumeSimulation

/// I/O of any length, and its order.
@Suite struct VolumeIOTests {
    private final class Ends: VolumeIOSink {
        var all: [BlockCompletion] = []
        func completed(_ completions: UnsafeBufferPointer<BlockCompletion>) { all += completions }
    }

    private let world = FacadeWorld(seed: 2, dataBlocks: 8192)
    private let attachment: VolumeAttachment
    private let memory: UnsafeMutableRawPointer

    init() throws {
        let world = world
        let attachment = try #require(world.attach(world.options())).get()
        self.attachment = attachment
        memory = try #require(world.wait { await attachment.volume.allocate(8 << 20) } ?? nil).pointer
    }

    private func run(_ io: VolumeIO, _ ends: Ends, _ count: Int) {
        world.run(milliseconds: 10_000) { ends.all.count >= count }
    }

    @Test func aLongOneIsSplitAndLeavesRoomForOthers() {
        let ends = Ends()
        let io = VolumeIO(attachment.volume, depth: 8)
        io.sink = ends
        memory.initializeMemory(as: UInt8.self, repeating: 7, count: 4 << 20)
        #expect(io.submit(BlockRequest(tag: 1, operation: .write, offset: 0, length: 4 << 20, buffer: memory)))
        #expect(io.submit(BlockRequest(tag: 2, operation: .read, offset: 0, length: 512, buffer: memory + (5 << 20))))
        #expect(
            io.submit(
                BlockRequest(tag: 3, operation: .read, offset: 4_190_208, length: 512, buffer: memory + (6 << 20))))
        run(io, ends, 3)
        #expect(ends.all.map(\.status) == [.success, .success, .success])
        // The short ones do not wait for the whole of the long one.
        #expect(ends.all.last?.tag == 1)
        #expect(io.running == 0)
        for member in 0..<3 {
            #expect(world.contents(of: member, isDurable: false)[..<(4 << 20)].allSatisfy { $0 == 7 })
        }
        io.close()
        world.close()
    }

    @Test func whatCannotBeEndsAtOnceAndIsBounded() {
        let ends = Ends()
        let io = VolumeIO(attachment.volume, depth: 2)
        io.sink = ends
        func read(_ tag: UInt64, _ offset: UInt64, _ length: UInt64) -> Bool {
            io.submit(BlockRequest(tag: tag, operation: .read, offset: offset, length: length, buffer: memory))
        }
        #expect(read(1, 8192 * 512, 512))
        #expect(read(2, 100, 512))
        // As many as it may hold have ended and were not told.
        #expect(!read(3, .max - 511, 512))
        run(io, ends, 2)
        #expect(ends.all.map(\.status) == [.outOfRange, .outOfRange])
        #expect(read(3, .max - 511, 512))
        #expect(read(4, 0, 0))
        run(io, ends, 4)
        #expect(ends.all.suffix(2).map(\.status) == [.outOfRange, .success])
        io.close()
        world.close()
    }

    /// More than the volume takes at once, by two users: all end, and neither waits for all of the other.
    @Test func usersTakeTurns() {
        let ends = [Ends(), Ends()]
        let users = ends.map { ends in
            let io = VolumeIO(attachment.volume, depth: 400)
            io.sink = ends
            return io
        }
        for io in users {
            for tag in 0..<400 {
                #expect(
                    io.submit(
                        BlockRequest(
                            tag: UInt64(tag), operation: .write, offset: UInt64(tag) * 4096, length: 4096,
                            buffer: memory)))
            }
        }
        world.run(milliseconds: 10_000) { ends[0].all.count == 400 || ends[1].all.count == 400 }
        // Of two writes of one block the later waits for the earlier.
        #expect(ends.map(\.all.count).min()! > 100)
        for (io, end) in zip(users, ends) {
            run(io, end, 400)
            #expect(end.all.allSatisfy { $0.status == .success })
            #expect(Set(end.all.map(\.tag)).count == 400)
            io.close()
        }
        world.close()
    }
}
