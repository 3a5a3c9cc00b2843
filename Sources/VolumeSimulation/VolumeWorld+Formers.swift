import Base
import BlockInterface
import Glibc
import Replication
import Simulation
import VolumeDriver

/// Namespaces that were members' before others took their places, and come back.
extension VolumeWorld {
    /// Somebody else has used a namespace since it was a member's: what it was used for, chance decides. The machine is down.
    func useOtherwise(_ target: TargetMachine, choice: UInt64) {
        switch choice % 5 {
        case 0: break
        // The volume's record is left on it, with a map that knows of nothing.
        case 1: overwrite(target, 0..<format.geometry.dataBlocks, choice)
        case 2:
            let maps = layouts[target.index].mapsStart
            overwrite(target, maps..<target.disk.geometry.blockCount, choice)
        case 3: overwrite(target, 0..<target.disk.geometry.blockCount, choice)
        default:
            overwrite(target, 0..<format.geometry.dataBlocks, choice)
            writeOtherVolume(to: target)
        }
        trace { "target \(target.index) has been used otherwise: \(choice % 5)" }
    }

    /// Writes over some of these blocks: with what was never a block of the volume, or with zeroes.
    private func overwrite(_ target: TargetMachine, _ blocks: Range<UInt64>, _ choice: UInt64) {
        let size = Int(profile.blockSize)
        var random = SeededRandom(seed: choice)
        let fill: Int32 = choice & 1 == 0 ? 0 : 0x5A
        // All of them, or half.
        let isWhole = choice & 2 == 0
        for block in profile.places.written(in: blocks.upperBound).joined()
        where block >= blocks.lowerBound && (isWhole || Bool.random(using: &random)) {
            for memory in [target.disk.contents, target.disk.durableContents] {
                guard let base = memory.baseAddress else { continue }
                memset(base + Int(block) * size, fill, size)
            }
        }
    }

    /// Another volume is created on the namespace: it has that one's records and maps, which are clean.
    private func writeOtherVolume(to target: TargetMachine) {
        let candidates = registeredBlocks.enumerated().map { place, blocks in
            MemberCandidate(
                uuid: UUIDBytes(high: 8, low: UInt64(place)), blockSize: profile.blockSize,
                blocks: place == target.index.number ? target.disk.geometry.blockCount : blocks)
        }
        guard
            let other = try? VolumeFormat(
                volume: UUIDBytes(high: 2, low: 2), members: candidates, regionSize: profile.regionSize,
                dataBlocks: format.geometry.dataBlocks, minimumCopies: profile.minimumCopies)
        else { return }
        target.write(other)
    }

    /// The namespace that a member had before is in its place for a while, as when somebody puts a drive back. False where there is none,
    /// or where two members could be found that know of no replacement: they would be the volume of then.
    func returnFormer(_ fault: Fault) -> Bool {
        let target = targets[fault.member]
        guard target.formerUUID != nil, fresh == [], strangers == [], !isGrowing, mayDestroy(fault.member),
            registeredBlocks == targets.map({ $0.disk.geometry.blockCount }),
            MemberSet.all.without(fault.member).allSatisfy({ other in
                MemberView.allCases.allSatisfy {
                    record(other, $0)?.members[fault.member].uuid == target.namespaceUUID
                }
            })
        else { return false }
        target.stop(power: true, isSilent: fault.choice & 1 == 0)
        history.cachesLost(lastLosses(of:))
        checkCoverage("the namespace of member \(fault.member) is taken out")
        strangers.insert(fault.member)
        hadStrangers.insert(fault.member)
        target.restoreFormer()
        if profile.formersAreUsed { useOtherwise(target, choice: fault.choice >> 8) }
        later(fault.span / 8) { $0.bringBack(target) }
        later(fault.span) { $0.sendFormerAway(fault.member) }
        return true
    }

    /// The member's own namespace is back, as it was.
    func sendFormerAway(_ member: MemberIndex) {
        guard strangers.contains(member) else { return }
        let target = targets[member]
        target.stop(power: true, isSilent: false)
        target.restoreFormer()
        strangers.remove(member)
        bringBack(target)
        // A member that was refused is looked at again by an operator's word only: the volume is attached anew.
        let refusing = alive.filter { $0.volume?.engine.status.members[member].phase == .refused }
        guard !isHealing, !refusing.isEmpty else { return }
        for initiator in refusing { end(initiator, isSilent: false) }
        if alive.isEmpty { startInitiator() }
    }
}
