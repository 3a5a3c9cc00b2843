import Base

extension Attachment {
    /// Takes in a member that has come back to a volume that is served: it is behind, and gets all metadata, then all
    /// writes (invariant 8).
    mutating func admit(_ member: MemberIndex, _ volume: inout VolumeState) -> [Effect] {
        let record = volume.members[member].joining.found
        if volume.rules.mustRefuseReplaced,
            volume.record.isReplaced(member, record, by: volume.record.uuids[member])
        {
            return [.refuse(member, .replaced(member: member))]
        }
        if let record, !volume.record.fresh.contains(member) || !volume.rules.mustCopyAllToReplacements {
            if record.stamp.attachmentKey > volume.record.attachmentKey {
                volume.notice(.newerEpoch(member, record.stamp.epoch))
                return [.depose(.superseded(member: member))]
            }
            if let maps = found[member], volume.rules.mustMarkLosses {
                volume.maps.addOwn(maps.intents, of: member)
            }
        } else {
            volume.maps.addEverything(to: member)
        }
        volume.notice(.memberReturning(member))
        if let effect = startJoining(member, &volume) { return [effect] }
        return [.mayHaveJoined(member)]
    }

    /// Has all bitmap pages written to a member, and what it has cached flushed.
    mutating func startJoining(_ member: MemberIndex, _ volume: inout VolumeState) -> Effect? {
        // A record that was found where the volume has data may be data by now.
        if let start = volume.slotsBlock(blocks: volume.members[member].joining.staleBlocks),
            start < volume.maps.geometry.dataBlocks
        {
            volume.members[member].joining.staleBlocks = 0
        }
        // Metadata stays where it is, unless the volume has another size by now: then it moves to the member's end.
        let (layout, blocks) = (volume.members[member].joining.layout, volume.members[member].connection.blocks)
        if layout?.geometry != volume.maps.geometry {
            if let layout, layout.memberBlocks != blocks {
                volume.members[member].joining.staleBlocks = layout.memberBlocks
            }
            do throws(MetadataError) {
                volume.members[member].joining.layout = try MemberLayout(
                    member: member, memberBlocks: blocks, geometry: volume.maps.geometry)
            } catch {
                return .refuse(member, error)
            }
        }
        found[member]?.free()
        found[member] = nil
        volume.become(member, .joining)
        volume.members[member].record.refusedSince = .distantFuture
        volume.maps.admit(member)
        // The record that follows may drop the only other member that has cached what this one has.
        volume.members[member].joining.step = .flush
        volume.members[member].joining.pending = 1
        volume.send(Tag(.join, member: member), .flush)
        return nil
    }

    /// Makes a member active once it has all pages, and where the volume is being served the record too: from then on data
    /// may be written where its metadata was before the volume grew.
    mutating func checkJoined(_ member: MemberIndex, _ volume: inout VolumeState) -> Effect? {
        guard volume.members[member].phase == .joining, volume.members[member].joining.pending == 0,
            !volume.pages.isWriting(to: member), volume.maps.isUpToDate(member)
        else { return nil }
        if volume.life.takesIn, volume.members[member].record.confirmedVersion == 0 {
            volume.writeRecord(to: member)
            return nil
        }
        volume.become(member, .active)
        volume.members.use(member)
        if volume.life.takesIn {
            volume.writeRecord(to: member)
            _ = volume.reviewRecord()
            volume.agenda.formUnion([.acknowledgements, .copies])
            return .reviewService
        }
        if volume.life.mustDecide, volume.life.isDeciding, !restartsDecision, volume.members.those(in: .joining) == [] {
            volume.changeRecord()
        }
        return nil
    }
}
