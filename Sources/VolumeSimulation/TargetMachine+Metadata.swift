import BlockInterface
import Replication
import Simulation

/// Writing a volume's metadata to a machine's disk, as it was long ago.
extension TargetMachine {
    /// - Parameter second: the disk, where it is that of a second volume's member.
    func write(_ format: VolumeFormat, to second: SimulatedDisk? = nil) {
        for number in 0..<format.pageCount {
            writePage(to: second) { format.encode(page: number, member: index, into: $0) }
        }
    }

    /// Writes a page; `fill` returns its first block.
    func writePage(to second: SimulatedDisk? = nil, _ fill: (UnsafeMutableRawBufferPointer) -> UInt64) {
        let disk = second ?? disk
        let blockSize = Int(disk.geometry.blockSize)
        let page = UnsafeMutableRawBufferPointer.allocate(byteCount: max(4096, blockSize), alignment: 4096)
        defer { page.deallocate() }
        let start = Int(fill(page)) * blockSize
        for memory in [disk.contents, disk.durableContents] {
            UnsafeMutableRawBufferPointer(rebasing: memory[start..<start + page.count]).copyMemory(
                from: UnsafeRawBufferPointer(page))
        }
    }
}
