import Base
import BlockInterface
import NVMeInitiator
import NVMeSpec
import NVMeTarget
import Replication
import Simulation
import Succession
import VolumeDriver

/// The end of a world: the faults stop, and everything has to come right.
extension SuccessionWorld {
    /// Virtual time within which one daemon serves and all members are in sync once the faults have stopped: a daemon that could not attach
    /// leaves the volume to others for five seconds.
    private static let healingBound: UInt64 = 15_000_000_000
    private static let endingBound: UInt64 = 5_000_000_000

    func heal() {
        isHealing = true
        trace { "HEAL" }
        links.heal()
        (registryCuts, answerCuts, slowRegistry) = ([], [], [])
        for target in targets {
            target.disk.behaviour.slowness = 0
            target.disk.behaviour.isStuck = false
            target.goOn()
            target.setAccess(.optimized)
            target.start()
        }
        for daemon in daemons {
            daemon.goOn()
            if daemon.isStopping { daemon.startAnew() } else { daemon.start() }
        }
        let began = network.now
        let calm = began.advanced(byMilliseconds: 300)
        let bound = began.advanced(byNanoseconds: Self.healingBound)
        run(until: bound) { network.now >= calm && isWhole }
        counts.longestHealing = network.now.nanoseconds - began.nanoseconds
        guard failure == nil else { return }
        guard isWhole else {
            let states = daemons.map { daemon in
                "\(daemon.name): \(daemon.succession.volumes.values.first.map { "\($0.state)" } ?? "")"
            }
            let paths = hosts.map {
                "\($0.name): \($0.running.count) I/Os under way, \($0.path.map { "d\($0.place)" } ?? "no path")"
            }
            return fail(
                .noPath, "not whole \(Self.healingBound / 1_000_000) ms after the faults stopped: \(states) \(paths)")
        }
        finish()
    }

    /// One daemon serves, every host has its path there, and all members are in sync.
    private var isWhole: Bool {
        guard let owner = daemons.first(where: \.isShown), let volume = owner.owned?.volume else { return false }
        return daemons.filter(\.isShown).count == 1 && hosts.allSatisfy { $0.path?.place == owner.place }
            && volume.engine.membersInSync == .all && volume.engine.status.isRecordValid
    }

    private func finish() {
        reservation.isStopped = true
        for host in hosts { host.isStopped = true }
        let began = network.now
        let deadline = began.advanced(byNanoseconds: Self.endingBound)
        guard run(until: deadline, { hosts.allSatisfy(\.running.isEmpty) }) else {
            if failure == nil { fail(.noPath, "I/Os do not end, and a daemon serves") }
            return
        }
        readEverything(until: deadline)
        guard failure == nil else { return }
        for daemon in daemons { daemon.take(.stop) }
        if !run(until: deadline, { daemons.allSatisfy { $0.succession.isOver } }), failure == nil {
            return fail(.notClean, "the daemons do not come to their end")
        }
        counts.longestEnding = network.now.nanoseconds - began.nanoseconds
        guard failure == nil else { return }
        if let owner = daemons.first(where: { $0.owned != nil }) {
            fail(.leftBehind, "\(owner.name) has stopped, and still has the volume attached")
        }
        findLeftovers()
    }

    private func readEverything(until deadline: MonotonicTime) {
        var block = 0
        while failure == nil, block < history.blocks.count {
            let count = min(4, history.blocks.count - block)
            hosts[1].submit(.read, start: block, count: count, network.now)
            guard run(until: deadline, { hosts[1].running.isEmpty }) else {
                if failure == nil { fail(.noPath, "block \(block) cannot be read") }
                return
            }
            block += count
        }
    }

    /// Everything is back in its pools.
    private func findLeftovers() {
        for host in hosts { host.disconnect() }
        run(until: network.now.advanced(byNanoseconds: 40_000_000_000)) { targets.allSatisfy { $0.leftovers.isEmpty } }
        for problem in targets.flatMap(\.leftovers) { fail(.leftBehind, "left behind: \(problem)") }
        for device in devices where device.registeredRegions + device.existingQueuePairs > 0 {
            fail(
                .leftBehind,
                "left behind: \(device.name): \(device.registeredRegions) memory regions, \(device.existingQueuePairs) queue pairs"
            )
        }
    }
}
