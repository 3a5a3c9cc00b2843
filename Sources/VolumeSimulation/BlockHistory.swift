import Replication

/// The contents that each block of a volume may have: a register per block, with writes that may or may not have taken effect.
///
/// The rules: what was acknowledged is there; what was acknowledged and not flushed may go only when every member that
/// held it has been down since it held it, and a member that was taken back into sync holds it again; a write whose outcome
/// nobody heard of takes effect once, or never; what has been read is never unread.
package struct BlockHistory {
    /// A write that has not ended: its number and its value.
    package struct Write {
        package var id: UInt64
        package var value: UInt64
    }

    /// A value that may come back if every member loses its cache.
    package struct Older {
        package var value: UInt64
        /// The acknowledgement that superseded it: a flush that was submitted later makes an end of it.
        package var superseded: UInt64
    }

    package struct Block {
        /// Values that the block may have now, those of pending writes included.
        package var candidates: [UInt64] = [0]
        package var pending: [Write] = []
        package var undurable: [Older] = []
        /// Since when each member holds what was acknowledged, in nanoseconds; the end of time where it does not. One that has
        /// been down since then may have lost it.
        var heldSince = SIMD3<UInt64>(repeating: 0)
        /// Raised at each start and end of a write.
        package var version: UInt64 = 0
        /// The attachment whose write was acknowledged last.
        var writer: UInt64 = 0
        /// When the first of the writes began that failed since the last one was acknowledged; the end of time where none did.
        var failedSince: UInt64 = .max
        /// Nothing is known of its contents: the volume has grown, and it was not written since.
        package var isUnknown = false
        /// All values that it may have come to have, in their order.
        var past: [UInt64] = [0]
    }

    /// The contents that a block might have at a moment.
    package struct Snapshot {
        package var candidates: [UInt64]
        var isUnknown: Bool
        var version: UInt64
        /// How many values it had come to have.
        var position: Int
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

    package func snapshot(_ block: Int) -> Snapshot {
        let state = blocks[block]
        return Snapshot(
            candidates: state.candidates, isUnknown: state.isUnknown, version: state.version, position: state.past.count
        )
    }

    private func key(_ id: UInt64, _ block: Int) -> UInt64 { id << 16 | UInt64(block) }

    package mutating func writeStarted(_ block: Int, id: UInt64, value: UInt64) {
        for other in blocks[block].pending {
            concurrent[key(other.id, block), default: []].append(value)
            concurrent[key(id, block), default: []].append(other.value)
        }
        if !blocks[block].candidates.contains(value) { blocks[block].candidates.append(value) }
        blocks[block].pending.append(Write(id: id, value: value))
        blocks[block].past.append(value)
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

        package init(
            id: UInt64, value: UInt64, isDurable: Bool, writer: UInt64, holders: MemberSet, startedAt: UInt64,
            lastStop: [UInt64]
        ) {
            (self.id, self.value, self.isDurable, self.writer) = (id, value, isDurable, writer)
            (self.holders, self.startedAt, self.lastStop) = (holders, startedAt, lastStop)
        }
    }

    /// The write was acknowledged. False when its value had been ruled out before.
    package mutating func writeAcknowledged(_ block: Int, _ write: Acknowledgement) -> Bool {
        sequence += 1
        let concurrents = concurrent.removeValue(forKey: key(write.id, block)) ?? []
        var state = blocks[block]
        let isPossible = state.candidates.contains(write.value) || state.writer > write.writer
        state.pending.removeAll { $0.id == write.id }
        state.heldSince = heldSince(state, write, isAlone: concurrents.isEmpty && state.writer <= write.writer)
        if write.isDurable {
            state.undurable = []
        } else {
            for old in state.candidates where old != write.value { state.supersede(old, at: sequence) }
        }
        if state.writer <= write.writer {
            let others = state.candidates.filter { candidate in
                candidate != write.value
                    && (concurrents.contains(candidate) || state.pending.contains { $0.value == candidate })
            }
            state.candidates = [write.value] + others
            // Its holders may all have lost it before it was acknowledged.
            if !write.isDurable, state.isLost(write.lastStop) { state.bringBack() }
            state.writer = write.writer
            state.isUnknown = state.isUnknown && !write.isDurable
        }
        state.failedSince = .max
        state.version += 1
        blocks[block] = state
        return isPossible
    }

    /// Since when members hold what a write leaves: a member may have lost its cache between its completion and the
    /// acknowledgement. Of writes that ran at the same time nobody knows which was the last.
    private func heldSince(_ state: Block, _ write: Acknowledgement, isAlone: Bool) -> SIMD3<UInt64> {
        var since = SIMD3<UInt64>(repeating: .max)
        let startsAnew = isAlone || state.undurable.isEmpty
        for member in write.holders {
            since[member.number] =
                startsAnew ? write.startedAt : min(write.startedAt, state.heldSince[member.number])
        }
        return since
    }

    /// The write ended without its outcome being known: it may be there or not, once.
    package mutating func writeAbandoned(_ block: Int, id: UInt64) {
        _ = concurrent.removeValue(forKey: key(id, block))
        blocks[block].pending.removeAll { $0.id == id }
        blocks[block].version += 1
    }

    /// The write ended in an error of the media, or was given back unfinished: it may be there, on members that keep it in their caches.
    package mutating func writeFailed(_ block: Int, id: UInt64, startedAt: UInt64) {
        writeAbandoned(block, id: id)
        blocks[block].failedSince = min(blocks[block].failedSince, startedAt)
    }

    /// The write surely did not happen: a comparison before it found something else.
    package mutating func writeRefused(_ block: Int, id: UInt64, value: UInt64) {
        writeAbandoned(block, id: id)
        blocks[block].candidates.removeAll { $0 == value }
        blocks[block].undurable.removeAll { $0.value == value }
    }

    /// A flush that was submitted at `started` was acknowledged.
    package mutating func flushed(since started: UInt64) {
        for block in blocks.indices { blocks[block].undurable.removeAll { $0.superseded <= started } }
    }

    /// Members are not in sync any more: what others acknowledge does not rely on them.
    package mutating func left(_ members: MemberSet) {
        for block in blocks.indices {
            for member in members { blocks[block].heldSince[member.number] = .max }
        }
    }

    /// A member is in sync again: it holds all that was acknowledged, unless it was down since `time`, when it came back.
    package mutating func joined(_ member: MemberIndex, since time: UInt64) {
        for block in blocks.indices { blocks[block].heldSince[member.number] = time }
    }

    /// A member has lost its cache. What all members that held a write have lost before it was flushed may be there or
    /// not.
    ///
    /// - Parameter lastStop: when each member last lost a block, or may have.
    package mutating func cachesLost(_ lastStop: (Int) -> [UInt64]) {
        for block in blocks.indices where !blocks[block].undurable.isEmpty && blocks[block].isLost(lastStop(block)) {
            blocks[block].bringBack()
            blocks[block].version += 1
        }
    }

    /// Checks what a read returned. `snapshot` is what was possible when it was submitted.
    package mutating func readReturned(_ block: Int, _ value: UInt64, snapshot: Snapshot) -> Bool {
        let state = blocks[block]
        let isLegal = state.isUnknown || state.candidates.contains(value) || snapshot.candidates.contains(value)
        // Data that was read is there: a write under way that was seen has taken effect.
        if isLegal, state.version == snapshot.version, state.pending.allSatisfy({ $0.value == value }),
            state.pending.count < 2
        {
            let others = state.candidates.filter { $0 != value }
            if state.failedSince != .max, !others.isEmpty {
                // A write that failed was seen, or not: what it is in the way of comes back if the caches are lost.
                sequence += 1
                for member in 0..<memberCount where state.heldSince[member] != .max {
                    blocks[block].heldSince[member] =
                        state.undurable.isEmpty
                        ? state.failedSince : min(state.failedSince, state.heldSince[member])
                }
                for other in others { blocks[block].supersede(other, at: sequence) }
            }
            blocks[block].candidates = [value]
        }
        return isLegal
    }
}

extension BlockHistory {
    /// Whether a block may have held a value at some time from a snapshot on: all that can be asked of one who reads members
    /// that another initiator has left behind.
    package func wasPossible(_ block: Int, _ value: UInt64, since snapshot: Snapshot) -> Bool {
        snapshot.isUnknown || snapshot.candidates.contains(value)
            || blocks[block].past[snapshot.position...].contains(value)
    }
}

extension BlockHistory {
    /// Whether a block may ever have held a value.
    func isPast(_ block: Int, _ value: UInt64) -> Bool { blocks[block].past.contains(value) }
}

extension BlockHistory.Block {
    /// A write was acknowledged over a value, or it was not what a read found.
    fileprivate mutating func supersede(_ old: UInt64, at sequence: UInt64) {
        undurable.removeAll { $0.value == old }
        undurable.append(BlockHistory.Older(value: old, superseded: sequence))
    }

    /// Whether every member that held what was acknowledged has been down since.
    fileprivate func isLost(_ lastStop: [UInt64]) -> Bool {
        (0..<memberCount).allSatisfy { heldSince[$0] == .max || lastStop[$0] >= heldSince[$0] }
    }

    /// Older values may be there again.
    fileprivate mutating func bringBack() {
        for old in undurable where !candidates.contains(old.value) {
            candidates.append(old.value)
            past.append(old.value)
        }
    }
}
