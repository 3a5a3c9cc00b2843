import Base
import BlockInterface
import Glibc

/// Checks what every block device promises, whatever it is made of, and returns what does not hold, a line each.
///
/// - Parameters:
///   - device: at least 4 MiB, which are overwritten.
///   - keepsData: `false` for a device that drops what is written to it.
///   - announces: the memory of requests is announced to channels.
///   - seed: of the random part.
public func checkBlockDeviceLaws(
    _ device: any BlockDevice, keepsData: Bool = true, announces: Bool = true, seed: UInt64
) -> [String] {
    let laws = BlockDeviceLaws(device: device, keepsData: keepsData, announces: announces)
    do throws(TercetError) {
        try laws.checkGeometry()
        try laws.checkEachOperation()
        try laws.checkRefusals()
        try laws.checkBatches()
        try laws.checkLongOperations()
        try laws.checkTwoChannels()
        try laws.checkCompareAndWrite()
        if keepsData { try laws.checkCompareAndWriteIsAlone() }
        try laws.checkRandomOperations(seed: seed)
    } catch {
        laws.violations.append("a channel could not be opened: \(error)")
    }
    return laws.violations
}

final class BlockDeviceLaws {
    let device: any BlockDevice
    let keepsData: Bool
    private let announces: Bool
    let block: Int
    var violations: [String] = []

    init(device: any BlockDevice, keepsData: Bool, announces: Bool) {
        self.device = device
        self.keepsData = keepsData
        self.announces = announces
        block = Int(device.geometry.blockSize)
    }

    func law(_ holds: Bool, _ words: @autoclosure () -> String) {
        if !holds { violations.append(words()) }
    }

    func open(depth: Int, byteCount: Int) throws(TercetError) -> ChannelDriver {
        let driver = ChannelDriver(try device.openChannel(depth: depth), byteCount: byteCount)
        if announces { driver.channel.announce(driver.memory) }
        return driver
    }

    func checkGeometry() throws(TercetError) {
        let geometry = device.geometry
        law(BlockGeometry.isBlockSize(geometry.blockSize), "the block size is a power of two from 512 to 65536")
        law(geometry.byteCount >= 4 << 20, "the device under test has at least 4 MiB")
        law(geometry.atomicWriteSize >= geometry.blockSize, "a block is written atomically")
        law(geometry.atomicWriteSize % geometry.blockSize == 0, "an atomic write is whole blocks")
        law(geometry.optimalIOSize % geometry.blockSize == 0, "an optimal I/O is whole blocks")
        law(geometry.memoryAlignment <= 4096, "page-aligned memory is aligned enough")
        law(device.refresh() == .unchanged, "a device that nothing happened to is unchanged")
        if let memory = device.directMemory {
            law(UInt64(memory.count) == geometry.byteCount, "direct memory is the whole device")
        }
    }

    func checkEachOperation() throws(TercetError) {
        let driver = try open(depth: 4, byteCount: 128 << 10)
        let size = 4 * block <= 32 << 10 ? 4 * block : block
        law(driver.channel.running == 0, "nothing runs on a new channel")
        law(driver.poll().isEmpty, "a new channel has no completions")
        driver.fill(0..<size, seed: 1)
        law(driver.run(.write, offset: 0, length: size) == .success, "a write succeeds")
        driver.fill(0..<size, seed: 2)
        law(
            driver.run(.write, .forceUnitAccess, offset: UInt64(size), length: size) == .success, "a FUA write succeeds"
        )
        law(driver.run(.flush) == .success, "a flush succeeds")
        law(driver.run(.verify, offset: 0, length: 2 * size) == .success, "what was written can be verified")
        if keepsData {
            law(driver.run(.read, offset: UInt64(size), length: size, at: size) == .success, "a read succeeds")
            law(driver.isEqual(0..<size, at: size), "a read gives what was written")
            law(driver.run(.compare, offset: UInt64(size), length: size) == .success, "equal data compares as equal")
            driver.memory[size - 1] ^= 1
            let different = driver.run(.compare, offset: UInt64(size), length: size)
            law(different == .compareFailure, "data that differs in its last bit compares as different")
        }
        for (operation, flags) in [
            (.writeZeroes, []), (.writeZeroes, .mayDeallocate), (.writeZeroes, .forceUnitAccess), (.deallocate, []),
        ] as [(BlockOperation, BlockFlags)] {
            driver.fill(0..<size, seed: 3)
            law(driver.run(.write, offset: 0, length: size) == .success, "a write succeeds")
            law(driver.run(operation, flags, offset: 0, length: size) == .success, "\(operation) succeeds")
            law(driver.run(.read, offset: 0, length: size) == .success, "a read after \(operation) succeeds")
            if operation == .writeZeroes || device.geometry.deallocatedReadsZeroes {
                law(
                    driver.memory[..<size].allSatisfy { $0 == 0 },
                    "the range reads as zeroes after \(operation) \(flags)")
            }
        }
        law(driver.channel.running == 0, "nothing runs after the last completion was polled")
    }

    func checkRefusals() throws(TercetError) {
        let driver = try open(depth: 2, byteCount: 2 * block)
        let end = device.geometry.byteCount
        for operation in [.read, .write, .writeZeroes, .deallocate, .compare, .verify] as [BlockOperation] {
            for (offset, length) in [
                (end, block), (end - UInt64(block), 2 * block), (UInt64.max - UInt64(block) + 1, block),
                (UInt64(block / 2), block), (0, block / 2),
            ] {
                let status = driver.run(operation, offset: offset, length: length)
                law(
                    status == .outOfRange,
                    "\(operation) of \(length) bytes at \(offset) is out of range, not \(status as Any)")
            }
            law(driver.run(operation, offset: end, length: 0) == .success, "\(operation) of nothing succeeds")
        }
        law(driver.run(.read, offset: end - UInt64(block), length: block) == .success, "the last block can be read")
        law(!driver.channel.cancel(tag: 12345), "a tag that is not there cannot be cancelled")
    }

    func checkBatches() throws(TercetError) {
        let depth = 8
        let driver = try open(depth: depth, byteCount: depth * block)
        let requests = (0..<depth + 3).map { position in
            BlockRequest(
                tag: UInt64(position), operation: .write, offset: UInt64(position * block), length: UInt64(block),
                buffer: driver.memory.baseAddress.map { $0 + position % depth * block })
        }
        law(driver.submit(requests) == depth, "a channel takes as many requests as its depth and no more")
        law(driver.channel.running == depth, "all that were taken are running until they are polled")
        let none = UnsafeMutableBufferPointer<BlockCompletion>(start: nil, count: 0)
        law(driver.channel.poll(into: none) == 0, "a poll without room gives nothing")
        let tags = driver.wait(for: depth)?.map(\.tag).sorted()
        law(tags == (0..<UInt64(depth)).map { $0 }, "each request ends once: \(tags as Any)")
        law(driver.submit(Array(requests[depth...])) == 3, "there is room again after completions were polled")
        law(driver.wait(for: 3)?.count == 3, "the rest ends too")
    }

    /// Ranges that take more than one step inside.
    func checkLongOperations() throws(TercetError) {
        let size = 2 << 20
        let driver = try open(depth: 16, byteCount: 2 * size)
        driver.fill(0..<size, seed: 4)
        law(driver.run(.write, offset: UInt64(block), length: size) == .success, "2 MiB can be written")
        law(driver.run(.read, offset: UInt64(block), length: size, at: size) == .success, "2 MiB can be read")
        law(driver.run(.verify, offset: UInt64(block), length: size) == .success, "2 MiB can be verified")
        guard keepsData else { return }
        law(driver.isEqual(0..<size, at: size), "2 MiB read as they were written")
        let many = (0..<16).map { position in
            BlockRequest(
                tag: UInt64(position), operation: .compare, offset: UInt64(block), length: UInt64(size),
                buffer: driver.memory.baseAddress)
        }
        law(driver.submit(many) == 16, "16 comparisons of 2 MiB are taken at once")
        let outcome = driver.wait(for: 16)
        law(outcome?.allSatisfy { $0.status == .success } == true, "and all of them find equal data")
        driver.memory[size - 1] ^= 0x80
        let different = driver.run(.compare, offset: UInt64(block), length: size)
        law(different == .compareFailure, "a difference at the end of 2 MiB is found")
    }

    func checkTwoChannels() throws(TercetError) {
        let first = try open(depth: 1, byteCount: block)
        let second = try open(depth: 1, byteCount: block)
        first.fill(0..<block, seed: 5)
        law(first.run(.write, offset: UInt64(3 * block), length: block) == .success, "one channel writes")
        law(second.run(.read, offset: UInt64(3 * block), length: block) == .success, "another channel reads")
        if keepsData { law(first.memory.elementsEqual(second.memory), "a channel sees what another has written") }
    }

    /// Random operations on a small range, several at once, against a model. Operations that run together do not
    /// overlap, because nothing is promised about those.
    func checkRandomOperations(seed: UInt64) throws(TercetError) {
        let lanes = 6
        let laneBlocks = max(4, min(16, (64 << 10) / block))
        let laneSize = laneBlocks * block
        let driver = try open(depth: lanes, byteCount: lanes * laneSize)
        var random = SeededRandom(seed: seed)
        var model = [UInt8](repeating: 0, count: lanes * laneSize)
        law(driver.run(.writeZeroes, offset: 0, length: lanes * laneSize) == .success, "the range is zeroed")
        for round in 0..<40 {
            var requests: [BlockRequest] = []
            for lane in 0..<lanes {
                let from = Int.random(in: 0..<laneBlocks, using: &random)
                let count = Int.random(in: 1...laneBlocks - from, using: &random)
                let start = lane * laneSize + from * block
                let operations: [BlockOperation] = [.read, .write, .writeZeroes, .compare, .write, .flush]
                guard let operation = operations.randomElement(using: &random) else { continue }
                let range = start..<start + count * block
                switch operation {
                case .write:
                    driver.fill(range, seed: random.next())
                    model.replaceSubrange(range, with: driver.memory[range])
                case .writeZeroes: model.replaceSubrange(range, with: repeatElement(0, count: range.count))
                case .compare:
                    model.withUnsafeBytes {
                        UnsafeMutableRawBufferPointer(rebasing: driver.memory[range]).copyMemory(
                            from: .init(rebasing: $0[range]))
                    }
                case .read: driver.fill(range, seed: 0)
                case .flush, .deallocate, .verify, .compareAndWrite: break
                }
                requests.append(
                    BlockRequest(
                        tag: UInt64(lane), operation: operation, offset: UInt64(start), length: UInt64(count * block),
                        buffer: driver.memory.baseAddress.map { $0 + start }))
            }
            law(driver.submit(requests) == requests.count, "round \(round): all are taken")
            let ended = driver.wait(for: requests.count) ?? []
            law(ended.count == requests.count, "round \(round): all end")
            for completion in ended {
                let request = requests[Int(completion.tag)]
                if keepsData || request.operation != .compare {
                    law(
                        completion.status == .success,
                        "round \(round), seed \(seed): \(request) ends in \(completion.status)")
                }
                guard keepsData, request.operation == .read else { continue }
                let range = Int(request.offset)..<Int(request.offset + request.length)
                let isRight = model.withUnsafeBytes { expected in
                    expected.baseAddress.flatMap { base in
                        driver.memory.baseAddress.map {
                            memcmp(base + range.lowerBound, $0 + range.lowerBound, range.count) == 0
                        }
                    }
                }
                law(isRight == true, "round \(round), seed \(seed): \(request) reads as written")
            }
        }
    }
}
