import Base
import NVMeSpec

/// Access to a namespace's data.
struct Access: OptionSet, BitwiseCopyable {
    let rawValue: UInt8

    static let read = Access(rawValue: 1)
    static let write = Access(rawValue: 2)
}

/// The access that a namespace's reservation allows to each host, for the I/O path (NVMe Base, "Command Behavior in the Presence
/// of a Reservation"). However many hosts are registered, a look at one bit tells.
///
/// The registrants' bits are memory of the `SubsystemView`, taken when the first host registers.
struct ReservationAccess: BitwiseCopyable {
    /// Everything that hosts may do that are not registered.
    private var strangers: Access = [.read, .write]
    /// The same for those that are.
    private var registrants: Access = [.read, .write]
    /// The host that may do everything, where there is one.
    private var holder = HostIndex.none
    private var words: UnsafeMutablePointer<UInt64>?
    private var wordCount: UInt32 = 0

    @inline(__always)
    func allows(_ needs: Access, to host: HostIndex) -> Bool {
        strangers.isSuperset(of: needs) || host == holder
            || (registrants.isSuperset(of: needs) && isRegistered(host))
    }

    @inline(__always)
    private func isRegistered(_ host: HostIndex) -> Bool {
        let word = host.position / 64
        guard word < wordCount, let words else { return false }
        return words[Int(word)] >> UInt64(host.position % 64) & 1 == 1
    }

    /// Takes on what a reservation says.
    mutating func takeOn(_ reservation: ReservationState) {
        let rules = reservation.current.access
        (strangers, registrants) = (rules.strangers, rules.registrants)
        holder = reservation.current.holder?.index ?? .none
        let hosts = reservation.registrants.words
        if hosts.isEmpty || hosts.count > Int(wordCount) { deallocate() }
        guard !hosts.isEmpty else { return }
        let memory = words ?? allocate(hosts.count)
        memory.update(repeating: 0, count: Int(wordCount))
        for (place, word) in hosts.enumerated() { memory[place] = word }
    }

    /// Lets every host do everything: for tests that show that it is noticed.
    mutating func letEverybodyIn() { strangers = [.read, .write] }

    /// Memory for at least so many words: it does not become larger with each host.
    private mutating func allocate(_ count: Int) -> UnsafeMutablePointer<UInt64> {
        var capacity = 1
        while capacity < count { capacity *= 2 }
        let memory = UnsafeMutablePointer<UInt64>.allocate(capacity: capacity)
        memory.initialize(repeating: 0, count: capacity)
        (words, wordCount) = (memory, UInt32(capacity))
        return memory
    }

    mutating func deallocate() {
        words?.deallocate()
        (words, wordCount) = (nil, 0)
    }
}
