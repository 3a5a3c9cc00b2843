import BlockInterface
import Glibc

/// The parts of an operation that change nothing.
extension SimulatedDisk {
    /// Whether an operation is answered when it is taken.
    func answersEarly(_ request: BlockRequest) -> Bool {
        switch request.operation {
        case .flush: behaviour.answersFlushesEarly
        case .deallocate, .writeZeroes: behaviour.answersWritesEarly
        default: false
        }
    }

    /// Puts what a read that goes astray returns in the place of what it should have.
    func misread(_ blocks: Range<UInt64>, _ buffer: UnsafeMutableRawPointer) {
        let size = Int(geometry.blockSize)
        for (place, block) in blocks.enumerated() where behaviour.misreading.contains(block) {
            let found = Int(block) + behaviour.misreadDistance
            guard found >= 0, found < Int(geometry.blockCount) else { continue }
            memcpy(buffer + place * size, (behaviour.misreadDistance == 0 ? durable : cached) + found * size, size)
        }
    }

    /// Whether a comparison finds what it expects.
    func isEqual(_ request: BlockRequest) -> Bool {
        guard let buffer = request.buffer else { return false }
        if behaviour.comparesEqual { return true }
        return memcmp(buffer, cached + Int(request.offset), Int(request.length)) == 0
    }

    func blocks(of request: BlockRequest) -> Range<UInt64> {
        let size = UInt64(geometry.blockSize)
        return request.offset / size..<(request.offset / size + request.length / size)
    }
}
