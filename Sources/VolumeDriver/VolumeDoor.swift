import Base
import BlockInterface

/// The door through which channels of other reactors reach a volume: who they are, the gate that their I/O goes through, and what is
/// known of the contents that it makes. Belongs to the volume's thread.
final class VolumeDoor {
    private var inlets: [VolumeInlet] = []
    /// The same, for each round: counting references would cost more than the look.
    private var looks: [Unmanaged<VolumeInlet>] = []
    var gate = VolumeGate(nil)
    var known: KnownContents?
    /// Requests wait in channels for the gate.
    private(set) var isGateShut = false
    /// The channel whose turn is first in the next round.
    private var turn = 0

    var isEmpty: Bool { inlets.isEmpty }

    func add(_ inlet: VolumeInlet) {
        inlets.append(inlet)
        looks.append(.passUnretained(inlet))
    }

    /// Takes what channels have left; returns how much that was.
    func collect() -> Int {
        var work = 0
        var isAnyOver = false
        isGateShut = false
        turn = turn + 1 < looks.count ? turn + 1 : 0
        for place in looks.indices {
            looks[(turn + place) % looks.count]._withUnsafeGuaranteedRef { inlet in
                work += inlet.collect()
                isAnyOver = isAnyOver || inlet.isOver
                isGateShut = isGateShut || inlet.isHeld
            }
        }
        if isAnyOver { forgetOver() }
        return work
    }

    private func forgetOver() {
        let over = inlets.filter(\.isOver)
        for inlet in over { inlet.close() }
        inlets.removeAll { inlet in over.contains { $0 === inlet } }
        looks = inlets.map { .passUnretained($0) }
    }

    /// Whether a channel has data on its way to a range.
    func isBeingWritten(_ request: BlockRequest) -> Bool { inlets.contains { $0.isWriting(request) } }
}
