extension VolumeEngine {
    /// The state of the volume and its members, for an operator. Not for the I/O path: it counts bits.
    public var status: VolumeStatusReport {
        VolumeStatusReport(
            phase: phase, epoch: epoch, version: record.version, isRecordValid: record.isValid,
            dirtyRegions: maps.intents.count, unreconciledRegions: maps.unreconciled.count,
            quarantinedRegions: maps.quarantine.count,
            members: MemberSet.all.map {
                MemberStatusReport(
                    phase: members[$0].phase, isInSync: inSync.contains($0), behindRegions: maps.behind($0).count,
                    latency: members[$0].latency, lastLoss: members[$0].lossReason)
            })
    }

    /// Members that hold every acknowledged write.
    public var membersInSync: MemberSet { inSync }

    /// This attachment's reservation key; its high half is the epoch. 0 before it is chosen.
    public var reservationKey: UInt64 { attachmentKey }
}
