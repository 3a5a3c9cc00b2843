import Replication

/// The contents that each block may have: a register per block, with writes that may or may not have taken effect.
struct ModelOracle {
    /// A write that has not ended: its number and its value.
    struct Write {
        var id: UInt64
        var value: UInt64
    }

    struct Block {
        /// Values that the block may have now, those of pending writes included.
        var candidates: [UInt64] = [0]
        var pending: [Write] = []
        /// Older values that may come back if every member loses its cache.
        var undurable: [UInt64] = []
        var undurableSince: UInt64 = 0
        var lastAcknowledged: UInt64 = 0
        /// The members in sync when it was acknowledged.
        var holders: MemberSet = .all
        /// Raised at each start and end of a write.
        var version: UInt64 = 0
        /// The attachment whose write was acknowledged last.
        var writer: UInt64 = 0
    }

    var blocks: [Block]
    var sequence: UInt64 = 0
    /// Per pending write and block: the values of writes that ran at the same time.
    private var concurrent: [UInt64: [UInt64]] = [:]

    init(blocks: Int) { self.blocks = Array(repeating: Block(), count: blocks) }

    private func key(_ id: UInt64, _ block: Int) -> UInt64 { id << 16 | UInt64(block) }

    mutating func writeStarted(_ block: Int, id: UInt64, value: UInt64) {
        for other in blocks[block].pending {
            concurrent[key(other.id, block), default: []].append(value)
            concurrent[key(id, block), default: []].append(other.value)
        }
        if !blocks[block].candidates.contains(value) { blocks[block].candidates.append(value) }
        blocks[block].pending.append(Write(id: id, value: value))
        blocks[block].version += 1
    }

    /// The write was acknowledged. False when its value had been ruled out before.
    mutating func writeAcknowledged(
        _ block: Int, id: UInt64, value: UInt64, durable: Bool, writer: UInt64, holders: MemberSet, startedAt: UInt64,
        lastStop: [UInt64]
    ) -> Bool {
        sequence += 1
        let concurrents = concurrent.removeValue(forKey: key(id, block)) ?? []
        var state = blocks[block]
        let isPossible = state.candidates.contains(value) || state.writer > writer
        state.pending.removeAll { $0.id == id }
        if durable {
            state.undurable = []
        } else {
            // A member may have lost its cache between its completion and the acknowledgement.
            state.undurableSince = state.undurable.isEmpty ? startedAt : min(startedAt, state.undurableSince)
            for old in state.candidates where old != value && !state.undurable.contains(old) {
                state.undurable.append(old)
            }
        }
        if state.writer <= writer {
            let others = state.candidates.filter { candidate in
                candidate != value
                    && (concurrents.contains(candidate) || state.pending.contains { $0.value == candidate })
            }
            state.candidates = [value] + others
            // Its holders may all have lost it before it was acknowledged.
            if !durable, MemberSet.all.allSatisfy({ !holders.contains($0) || lastStop[$0] >= startedAt }) {
                state.candidates += state.undurable.filter { !state.candidates.contains($0) }
            }
            state.writer = writer
        }
        state.lastAcknowledged = sequence
        state.holders = holders
        state.version += 1
        blocks[block] = state
        return isPossible
    }

    /// The write ended without its outcome being known: it may be there or not, once.
    mutating func writeAbandoned(_ block: Int, id: UInt64) {
        _ = concurrent.removeValue(forKey: key(id, block))
        blocks[block].pending.removeAll { $0.id == id }
        blocks[block].version += 1
    }

    /// A flush that was submitted at `started` was acknowledged.
    mutating func flushed(since started: UInt64) {
        for block in blocks.indices where blocks[block].lastAcknowledged <= started { blocks[block].undurable = [] }
    }

    /// Members are not in sync any more: what others acknowledge does not rely on them.
    mutating func left(_ members: MemberSet) {
        for block in blocks.indices { blocks[block].holders.subtract(members) }
    }

    /// A member has lost its cache. What all members that held a write have lost before it was flushed may be there or not.
    mutating func cachesLost(_ lastStop: [UInt64]) {
        for block in blocks.indices where !blocks[block].undurable.isEmpty {
            let state = blocks[block]
            guard MemberSet.all.allSatisfy({ !state.holders.contains($0) || lastStop[$0] >= state.undurableSince })
            else {
                continue
            }
            for old in state.undurable where !blocks[block].candidates.contains(old) {
                blocks[block].candidates.append(old)
            }
            blocks[block].version += 1
        }
    }

    /// Checks what a read returned. `snapshot` is what was possible when it was submitted, `version` the block's then.
    mutating func readReturned(_ block: Int, _ value: UInt64, snapshot: [UInt64], version: UInt64) -> Bool {
        let state = blocks[block]
        let isLegal = state.candidates.contains(value) || snapshot.contains(value)
        // Data that was read is there: a write under way that was seen has taken effect.
        if isLegal, state.version == version, state.pending.allSatisfy({ $0.value == value }), state.pending.count < 2 {
            blocks[block].candidates = [value]
        }
        return isLegal
    }
}
