import Replication

/// What each block of a volume may hold: a register per block, with writes that may or may not have taken effect.
///
/// The rules: what was acknowledged is there; what was acknowledged and not flushed may go only when every member that
/// held it has been down since; a write whose outcome nobody heard of takes effect once, or never; what has been read is
/// never unread.
package struct BlockHistory {
    /// A write that has not ended: its number and its value.
    package struct Write {
        package var id: UInt64
        package var value: UInt64
    }

    package struct Block {
        /// Values that the block may have now, those of pending writes included.
        package var candidates: [UInt64] = [0]
        package var pending: [Write] = []
        /// Older values that may come back if every member loses its cache.
        package var undurable: [UInt64] = []
        var undurableSince: UInt64 = 0
        var lastAcknowledged: UInt64 = 0
        /// The members in sync when it was acknowledged.
        var holders: MemberSet = .all
        /// Raised at each start and end of a write.
        package var version: UInt64 = 0
        /// The attachment whose write was acknowledged last.
        var writer: UInt64 = 0
        /// When the first of the writes began that failed since the last one was acknowledged; the end of time where none did.
        var failedSince: UInt64 = .max
        /// Nothing is known of its contents: the volume has grown, and it was not written since.
        package var isUnknown = false
    }

    package private(set) var blocks: [Block]
    /// Acknowledged writes so far: what a flush counts from.
    package private(set) var sequence: UInt64 = 0
    /// Per pending write and block: the values of writes that ran at the same time.
    private var concurrent: [UInt64: [UInt64]] = [:]

    package init(blocks: Int) { self.blocks = Array(repeating: Block(), count: blocks) }

    /// The volume has grown; what the new blocks hold is not known.
    package mutating func grow(to count: Int) {
        var unknown = Block()
        unknown.isUnknown = true
        while blocks.count < count { blocks.append(unknown) }
    }

    private func key(_ id: UInt64, _ block: Int) -> UInt64 { id << 16 | UInt64(block) }

    package mutating func writeStarted(_ block: Int, id: UInt64, value: UInt64) {
        for other in blocks[block].pending {
            concurrent[key(other.id, block), default: []].append(value)
            concurrent[key(id, block), default: []].append(other.value)
        }
        if !blocks[block].candidates.contains(value) { blocks[block].candidates.append(value) }
        blocks[block].pending.append(Write(id: id, value: value))
        blocks[block].version += 1
    }

    /// How a write was acknowledged.
    package struct Acknowledgement {
        package var id: UInt64
        package var value: UInt64
        package var isDurable: Bool
        /// The attachment that acknowledged it: a greater one is a later one.
        package var writer: UInt64
        package var holders: MemberSet
        package var startedAt: UInt64
        /// When each member was last down.
        package var lastStop: [UInt64]
    }

    /// The write was acknowledged. False when its value had been ruled out before.
    package mutating func writeAcknowledged(_ block: Int, _ write: Acknowledgement) -> Bool {
        sequence += 1
        let concurrents = concurrent.removeValue(forKey: key(write.id, block)) ?? []
        var state = blocks[block]
        let isPossible = state.candidates.contains(write.value) || state.writer > write.writer
        state.pending.removeAll { $0.id == write.id }
        if write.isDurable {
            state.undurable = []
        } else {
            // A member may have lost its cache between its completion and the acknowledgement.
            state.undurableSince =
                state.undurable.isEmpty ? write.startedAt : min(write.startedAt, state.undurableSince)
            for old in state.candidates where old != write.value && !state.undurable.contains(old) {
                state.undurable.append(old)
            }
        }
        if state.writer <= write.writer {
            let others = state.candidates.filter { candidate in
                candidate != write.value
                    && (concurrents.contains(candidate) || state.pending.contains { $0.value == candidate })
            }
            state.candidates = [write.value] + others
            // Its holders may all have lost it before it was acknowledged.
            if !write.isDurable,
                (0..<memberCount).allSatisfy({ !write.holders.has($0) || write.lastStop[$0] >= write.startedAt })
            {
                state.candidates += state.undurable.filter { !state.candidates.contains($0) }
            }
            state.writer = write.writer
            state.isUnknown = state.isUnknown && !write.isDurable
        }
        state.lastAcknowledged = sequence
        state.failedSince = .max
        state.holders = write.holders
        state.version += 1
        blocks[block] = state
        return isPossible
    }

    /// The write ended without its outcome being known: it may be there or not, once.
    package mutating func writeAbandoned(_ block: Int, id: UInt64) {
        _ = concurrent.removeValue(forKey: key(id, block))
        blocks[block].pending.removeAll { $0.id == id }
        blocks[block].version += 1
    }

    /// The write ended in an error of the media: it may be there, on members that keep it in their caches.
    package mutating func writeFailed(_ block: Int, id: UInt64, startedAt: UInt64) {
        writeAbandoned(block, id: id)
        blocks[block].failedSince = min(blocks[block].failedSince, startedAt)
    }

    /// The write surely did not happen: a comparison before it found something else.
    package mutating func writeRefused(_ block: Int, id: UInt64, value: UInt64) {
        writeAbandoned(block, id: id)
        blocks[block].candidates.removeAll { $0 == value }
        blocks[block].undurable.removeAll { $0 == value }
    }

    /// A flush that was submitted at `started` was acknowledged.
    package mutating func flushed(since started: UInt64) {
        for block in blocks.indices where blocks[block].lastAcknowledged <= started { blocks[block].undurable = [] }
    }

    /// Members are not in sync any more: what others acknowledge does not rely on them.
    package mutating func left(_ members: MemberSet) {
        for block in blocks.indices { blocks[block].holders.subtract(members) }
    }

    /// A member has lost its cache. What all members that held a write have lost before it was flushed may be there or
    /// not.
    package mutating func cachesLost(_ lastStop: [UInt64]) {
        for block in blocks.indices where !blocks[block].undurable.isEmpty {
            let state = blocks[block]
            guard (0..<memberCount).allSatisfy({ !state.holders.has($0) || lastStop[$0] >= state.undurableSince })
            else { continue }
            for old in state.undurable where !blocks[block].candidates.contains(old) {
                blocks[block].candidates.append(old)
            }
            blocks[block].version += 1
        }
    }

    /// Checks what a read returned. `snapshot` is what was possible when it was submitted, `version` the block's then.
    package mutating func readReturned(
        _ block: Int, _ value: UInt64, snapshot: [UInt64], version: UInt64
    ) -> Bool {
        let state = blocks[block]
        let isLegal = state.isUnknown || state.candidates.contains(value) || snapshot.contains(value)
        // What has been read is there: a write under way that was seen has taken effect.
        if isLegal, state.version == version, state.pending.allSatisfy({ $0.value == value }), state.pending.count < 2 {
            let others = state.candidates.filter { $0 != value && !state.undurable.contains($0) }
            if state.failedSince != .max, !others.isEmpty {
                // A write that failed was seen, or not: what it is in the way of comes back if the caches are lost.
                sequence += 1
                blocks[block].lastAcknowledged = sequence
                blocks[block].undurableSince =
                    state.undurable.isEmpty ? state.failedSince : min(state.failedSince, state.undurableSince)
                blocks[block].undurable += others
            }
            blocks[block].candidates = [value]
        }
        return isLegal
    }
}
