import Base
import Glibc
import SystemPackage

/// The contents that every block of a range may have, in a file that is mapped: it outlives a process that is killed.
///
/// Each operation that changes blocks has a number, which rises over all runs; a block that was written holds the number
/// of its write and its own place. What a killed run had not heard the end of may be there or not, until it has been read.
public final class ExerciseRecord: @unchecked Sendable {
    // Unchecked: the thread of the volume's group alone uses it while the volume is attached.
    private struct Header {
        var magic: UInt64
        var blockSize: UInt64
        var startBlock: UInt64
        var blockCount: UInt64
        var lastNumber: UInt64
    }

    /// Of one block: operations by number, with bit 0 set where the operation zeroes; 0 where there was none.
    private struct Block {
        /// The last that was acknowledged, or found there.
        var acknowledged: UInt64
        /// The last that was submitted.
        var submitted: UInt64
        /// The last that was submitted and zeroes.
        var zeroed: UInt64
    }

    private static let magic: UInt64 = 0x5245_4352_4554_0001
    private static let headerSize = 4096
    private let header: UnsafeMutablePointer<Header>
    private let blocks: UnsafeMutablePointer<Block>
    private let byteCount: Int
    public let blockSize: Int
    public let startBlock: UInt64
    public let blockCount: UInt64

    /// Opens the record at `path`, or makes one of a range that reads as zeroes.
    public init(path: String, blockSize: Int, startBlock: UInt64, blockCount: UInt64) throws {
        self.blockSize = blockSize
        self.startBlock = startBlock
        self.blockCount = blockCount
        let byteCount = Self.headerSize + Int(blockCount) * MemoryLayout<Block>.stride
        self.byteCount = byteCount
        let memory: UnsafeMutableRawPointer
        do {
            let file = try FileDescriptor.open(
                FilePath(path), .readWrite, options: [.create, .closeOnExec],
                permissions: FilePermissions(rawValue: 0o644))
            memory = try file.closeAfter {
                let found = try file.stat()
                guard found.type == .regular, found.size == 0 || found.size == byteCount else {
                    throw TercetError(.invalid, "\(path) is not a record of \(blockCount) blocks")
                }
                try file.resize(to: Int64(byteCount))
                return try Self.map(file, byteCount)
            }
        } catch let error as Errno {
            throw TercetError(TercetError.Code(errno: error.rawValue), "cannot open \(path) as a record", cause: error)
        }
        header = memory.assumingMemoryBound(to: Header.self)
        blocks = (memory + Self.headerSize).assumingMemoryBound(to: Block.self)
        let expected = Header(
            magic: Self.magic, blockSize: UInt64(blockSize), startBlock: startBlock, blockCount: blockCount,
            lastNumber: 0)
        if header.pointee.magic == 0 { header.pointee = expected }
        guard header.pointee.magic == expected.magic, header.pointee.blockSize == expected.blockSize,
            header.pointee.startBlock == expected.startBlock, header.pointee.blockCount == expected.blockCount
        else {
            munmap(memory, byteCount)
            throw TercetError(.invalid, "\(path) is a record of other blocks")
        }
    }

    deinit { munmap(header, byteCount) }

    private static func map(_ file: FileDescriptor, _ byteCount: Int) throws(Errno) -> UnsafeMutableRawPointer {
        guard let memory = mmap(nil, byteCount, PROT_READ | PROT_WRITE, MAP_SHARED, file.rawValue, 0),
            memory != MAP_FAILED
        else { throw Errno(rawValue: errno) }
        return memory
    }

    // MARK: Changing

    /// A new operation on `range`, which counts from the range's first block; to be called before it is submitted.
    func submitted(_ range: Range<UInt64>, zeroes: Bool) -> UInt64 {
        header.pointee.lastNumber += 2
        let number = header.pointee.lastNumber | (zeroes ? 1 : 0)
        for block in range {
            blocks[Int(block)].submitted = number
            if zeroes { blocks[Int(block)].zeroed = number }
        }
        return number
    }

    func acknowledged(_ number: UInt64, _ range: Range<UInt64>) {
        for block in range { blocks[Int(block)].acknowledged = max(blocks[Int(block)].acknowledged, number) }
    }

    /// The number that a read of the block has to find if all changes under way were submitted before it.
    func newest(_ block: UInt64) -> UInt64 { blocks[Int(block)].submitted }

    // MARK: Contents

    /// Fills a block as operation `number` does.
    func fill(_ memory: UnsafeMutableRawPointer, block: UInt64, number: UInt64) {
        let words = memory.assumingMemoryBound(to: UInt64.self)
        words[0] = number
        words[1] = startBlock + block
        var value = number &* 0x9E37_79B9_7F4A_7C15 ^ block
        for index in 2..<blockSize / 8 {
            words[index] = value
            value = value &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        }
    }

    /// The operation that a block's contents are of: 1 for zeroes. `nil` for anything that no operation puts there.
    private func found(_ memory: UnsafeRawPointer, _ block: UInt64) -> UInt64? {
        let words = memory.assumingMemoryBound(to: UInt64.self)
        let number = words[0]
        if number == 0 {
            for index in 0..<blockSize / 8 where words[index] != 0 { return nil }
            return 1
        }
        guard number & 1 == 0, words[1] == startBlock + block else { return nil }
        var value = number &* 0x9E37_79B9_7F4A_7C15 ^ block
        for index in 2..<blockSize / 8 {
            guard words[index] == value else { return nil }
            value = value &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        }
        return number
    }

    /// Checks a block that was read while nothing could change it but `expected`, or what is under way when that is `nil`:
    /// then what it holds is so from now on. Returns what is wrong.
    func problem(_ memory: UnsafeRawPointer, block: UInt64, expected: UInt64?) -> String? {
        let state = blocks[Int(block)]
        let place = "block \(startBlock + block)"
        guard let found = found(memory, block) else {
            return "\(place) holds what was never written there (newest \(state.submitted))"
        }
        if let expected {
            let isRight = found == 1 ? expected & 1 == 1 || expected == 0 : found == expected
            return isRight ? nil : "\(place) holds write \(found), not \(expected)"
        }
        if found == 1 {
            let isZero = state.acknowledged & 1 == 1 || state.acknowledged == 0
            guard isZero || state.zeroed > state.acknowledged else {
                return "\(place) is zero, but \(state.acknowledged) was acknowledged"
            }
            pin(block, isZero ? state.acknowledged : state.zeroed)
        } else {
            guard found >= state.acknowledged, found <= state.submitted else {
                return "\(place) holds write \(found); acknowledged \(state.acknowledged), newest \(state.submitted)"
            }
            pin(block, found)
        }
        return nil
    }

    private func pin(_ block: UInt64, _ number: UInt64) {
        blocks[Int(block)] = Block(acknowledged: number, submitted: number, zeroed: number & 1 == 1 ? number : 0)
    }

    /// Compares a file or device that holds the volume's data from its first byte, when nothing is under way. Returns what
    /// is wrong.
    ///
    /// - Parameters:
    ///   - path: its name, for errors.
    ///   - read: fills the buffer with what comes next, first with block `startBlock`; returns how many bytes there were.
    public func compare(path: String, read: (UnsafeMutableRawBufferPointer) throws -> Int) throws -> String? {
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: blockSize, alignment: 4096)
        defer { memory.deallocate() }
        for block in 0..<blockCount {
            guard try read(memory) == blockSize, let content = memory.baseAddress else {
                throw TercetError(.notFound, "\(path) ends before block \(startBlock + block)")
            }
            if let problem = problem(content, block: block, expected: newest(block)) { return "\(path): \(problem)" }
        }
        return nil
    }
}
