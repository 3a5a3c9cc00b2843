import Base
import BlockInterface
import Glibc

extension BlockDeviceLaws {
    private func compareAndWrite(_ driver: ChannelDriver, offset: UInt64, length: Int) -> BlockRequest {
        BlockRequest(
            tag: driver.tag(), operation: .compareAndWrite, offset: offset, length: UInt64(length),
            buffer: driver.memory.baseAddress, replacement: driver.memory.baseAddress.map { $0 + length })
    }

    /// Expected data is at the beginning of the driver's memory, the data that replaces it behind it.
    func checkCompareAndWrite() throws(TercetError) {
        let size = Int(device.geometry.atomicWriteSize)
        let driver = try open(depth: 2, byteCount: 3 * size)
        func swap() -> BlockStatus? {
            let request = compareAndWrite(driver, offset: UInt64(size), length: size)
            return driver.submit([request]) == 1 ? driver.wait(for: 1)?.first?.status : nil
        }
        law(driver.run(.writeZeroes, offset: UInt64(size), length: size) == .success, "zeroes are written")
        driver.fill(size..<2 * size, seed: 11)
        law(swap() == .success, "what is as expected is replaced")
        if keepsData {
            law(driver.run(.read, offset: UInt64(size), length: size, at: 2 * size) == .success, "a read succeeds")
            law(driver.isEqual(size..<2 * size, at: 2 * size), "a read gives the replacement")
            law(swap() == .compareFailure, "what is not as expected stays")
            driver.memory.baseAddress.map { _ = memcpy($0, $0 + size, size) }
            driver.memory[size - 1] ^= 1
            driver.fill(size..<2 * size, seed: 12)
            law(swap() == .compareFailure, "a difference in the last bit is found")
            driver.memory[size - 1] ^= 1
            law(driver.run(.compare, offset: UInt64(size), length: size) == .success, "and nothing was written")
            law(swap() == .success, "it is replaced a second time")
        } else {
            driver.memory[size - 1] = 1
            law(swap() == .compareFailure, "a device without content holds zeroes")
        }
    }

    /// A write that runs at the same time comes before the comparison, which then fails, or after the replacement: it is
    /// there in the end. It cannot come in between, and be lost.
    func checkCompareAndWriteIsAlone() throws(TercetError) {
        let first = try open(depth: 2, byteCount: 3 * block)
        let second = try open(depth: 2, byteCount: block)
        let offset = UInt64(5 * block)
        var swapped = 0
        for round in 0..<200 {
            first.fill(0..<block, seed: 21)
            first.fill(block..<2 * block, seed: 22)
            second.fill(0..<block, seed: 23)
            law(first.run(.write, offset: offset, length: block) == .success, "what is expected is written")
            let swap = compareAndWrite(first, offset: offset, length: block)
            let other = BlockRequest(
                tag: second.tag(), operation: .write, offset: offset, length: UInt64(block),
                buffer: second.memory.baseAddress)
            if round % 4 == 0 { law(second.submit([other]) == 1, "a write is taken") }
            law(first.submit([swap]) == 1, "a comparison and write is taken")
            if round % 4 != 0 { law(second.submit([other]) == 1, "a write is taken") }
            var ended: [BlockStatus] = []
            var written: [BlockStatus] = []
            let deadline = time(nil) + 10
            while ended.isEmpty || written.isEmpty {
                ended += first.poll().map(\.status)
                written += second.poll().map(\.status)
                if time(nil) > deadline { return law(false, "round \(round): both end") }
            }
            law(written == [.success], "round \(round): the write succeeds")
            law(ended == [.success] || ended == [.compareFailure], "round \(round): it was equal or not: \(ended)")
            if ended == [.success] { swapped += 1 }
            law(first.run(.read, offset: offset, length: block, at: 2 * block) == .success, "a read succeeds")
            let isThere = memcmp(first.memory.baseAddress! + 2 * block, second.memory.baseAddress!, block) == 0
            law(isThere, "round \(round): the write is not lost")
        }
        law(swapped > 0, "some comparisons came first")
    }
}
