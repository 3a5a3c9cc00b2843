import Base

extension VolumeEngine {
    /// What the engine is waiting for, in lines of text: for the trace of a failing seed.
    package var internals: String {
        var lines = [
            "phase \(phase), record \(record.version) valid \(record.isValid), in sync \(inSync), active \(active), "
                + "copies \(copies.running), copied \(copied.count), flushing \(housekeeping.isRunning)"
        ]
        for index in 0..<pool.capacity where slots[index].state != .free {
            let slot = slots[index]
            lines.append(
                "slot \(index): \(slot.kind) \(slot.state) \(slot.start)+\(slot.count) blockers \(slot.blockers) "
                    + "pending \(slot.pending) done \(slot.done)")
        }
        for member in MemberSet.all {
            lines.append(
                "member \(member): \(members[member].phase) \(members[member].step) outstanding "
                    + "\(members[member].outstanding) copies again at \(members[member].copyRetryAt.nanoseconds)")
        }
        return lines.joined(separator: "\n")
    }
}
