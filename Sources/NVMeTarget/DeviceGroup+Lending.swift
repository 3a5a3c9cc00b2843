import Base
import FabricInterface
import Memory
import NVMeSpec

/// Reads of a namespace that is memory: the RDMA WRITEs go straight out of it, without a buffer and a copy.
///
/// The range is borrowed until the device has done with it, which is when the answer behind the data has been taken: nothing
/// changes it meanwhile, so that a host sees each write whole or not at all. Writes do not go straight into the memory: a
/// connection that breaks would leave half of one there.
extension DeviceGroup {
    /// Finds the data of a read in the namespace's own memory; `false` where it has to be copied.
    @inline(never)
    func borrow(_ index: UInt32, _ namespace: UnsafeMutablePointer<NamespaceSlot>) -> Bool {
        let request = requests[index]
        let channel = namespace.pointee.channel
        guard channel != noSlot, now >= lendingPausedUntil else { return false }
        let offset = request.pointee.command.startingLBA << UInt64(namespace.pointee.blockShift)
        let length = UInt64(request.pointee.dataLength)
        guard let (memory, surroundings) = blocks.borrow(offset: offset, length: length, on: channel),
            let start = surroundings.baseAddress
        else { return false }
        do throws(FabricError) {
            // The memory stays where it is for as long as the channel is open: there are no changes to wait for.
            let loan = try registrationFront().acquire(
                start, length: surroundings.count, access: .localWrite, isSynchronized: true)
            request.pointee.loan = loan
            request.pointee.data = memory
            request.pointee.dataKey = loan.localKey
            loans += 1
            return true
        } catch {
            // The device has no room, or the system no memory to pin: it would cost too much to ask for each read.
            blocks.giveBack(memory, length: length, on: channel)
            pauseLending(now: now)
            return false
        }
    }

    private func pauseLending(now: MonotonicTime) {
        lendingPausedUntil = now.advanced(byMilliseconds: Limits.lendingPauseMilliseconds)
    }

    /// Ends the loan of a request, where it has one.
    @inline(__always)
    func giveBackLoan(_ request: UnsafeMutablePointer<RequestSlot>) {
        guard let loan = request.pointee.loan, let memory = request.pointee.data else { return }
        request.pointee.loan = nil
        request.pointee.data = nil
        loans -= 1
        registrations?.release(loan)
        blocks.giveBack(memory, length: UInt64(request.pointee.dataLength), on: request.pointee.channel)
    }

    /// Ends queue pairs whose hosts have not taken a read's data for long while a write waits for the same place, and lets
    /// reads be copied where more memory is read than can be registered at once. With the timer.
    func inspectLoans(now: MonotonicTime) {
        if let registrations, registrations.recentEvictions() > Limits.lendingEvictions { pauseLending(now: now) }
        guard loans > 0 else { return }
        for index in 0..<UInt32(requests.usedCount) {
            let request = requests[index]
            guard request.pointee.loan != nil, let memory = request.pointee.data,
                now >= request.pointee.arrival.advanced(byMilliseconds: Limits.loanMilliseconds),
                blocks.isWanted(memory, length: UInt64(request.pointee.dataLength), on: request.pointee.channel),
                !isDead(index)
            else { continue }
            owner.queuePairFailed(
                request.pointee.queuePair, in: self, reason: "the host does not take data that a write waits for")
        }
    }

    /// Memory is about to be unmapped.
    func forget(_ memory: UnsafeMutableRawBufferPointer) { registrations?.invalidate(UnsafeRawBufferPointer(memory)) }

    /// Made when first asked for: most targets have no namespaces in memory.
    private func registrationFront() -> RegistrationFront {
        if let registrations { return registrations.front }
        let made = LentRegistrations(context)
        registrations = made
        return made.front
    }
}

/// The registrations of namespaces' memory with one device.
final class LentRegistrations {
    let front: RegistrationFront
    private let cache: RegistrationCache
    private var evictionsSeen: UInt64 = 0

    init(_ context: FabricContext) {
        // A device with few regions needs them for what cannot do without.
        let regions = max(1, min(4096, context.limits.maxMemoryRegions / 8))
        // How much is pinned is for the system to say: it is memory that the namespaces have already.
        cache = RegistrationCache(context, pinnedBytesLimit: .max, maxRegions: regions, watch: .caller)
        front = cache.makeFront()
    }

    var count: Int { cache.counters.regions }

    /// Registrations that had to go for others since the last call.
    func recentEvictions() -> UInt64 {
        let evictions = cache.counters.evictions
        defer { evictionsSeen = evictions }
        return evictions - evictionsSeen
    }

    @inline(__always)
    func release(_ loan: Registration) { front.release(loan) }

    func invalidate(_ memory: UnsafeRawBufferPointer) { cache.invalidate(memory) }
}
