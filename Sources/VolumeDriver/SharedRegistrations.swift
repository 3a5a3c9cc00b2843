import Base
import FabricInterface
import InitiatorTransport
import Memory

/// Registrations of memory that several volumes of one group do I/O with: each area is registered once with each device, however
/// many volumes use it. Belongs to the group's thread.
public final class SharedRegistrations: @unchecked Sendable {
    // Unchecked: the group's thread alone uses it.

    private struct Key: Hashable {
        var domain: UInt
        var start: UnsafeMutableRawPointer
        var count: Int
    }

    private struct Entry {
        var keys: TransferKeys
        let context: FabricContext
        var users = 1
    }
    private var entries: [Key: Entry] = [:]

    public init() {}

    /// Areas that are registered now, counted once for each device.
    public var count: Int { entries.count }

    /// The keys of an area on a context's device, for one more user.
    func keys(
        of memory: UnsafeMutableRawBufferPointer, with context: FabricContext
    ) throws(TercetError) -> TransferKeys {
        guard let key = Self.key(memory, context) else { return TransferKeys() }
        if let known = entries[key] {
            entries[key]?.users += 1
            return known.keys
        }
        var keys = TransferKeys()
        keys.incoming = try context.register(memory, access: .incoming)
        do throws(TercetError) { keys.outgoing = try context.register(memory, access: .outgoing) } catch {
            context.deregister(keys.incoming)
            throw error
        }
        entries[key] = Entry(keys: keys, context: context)
        return keys
    }

    /// A user of an area's keys on a device is gone; the last one ends the registration.
    func release(_ memory: UnsafeMutableRawBufferPointer, with context: FabricContext) {
        guard let key = Self.key(memory, context), let entry = entries[key] else { return }
        guard entry.users == 1 else {
            entries[key]?.users -= 1
            return
        }
        entry.context.deregister(entry.keys.incoming)
        entry.context.deregister(entry.keys.outgoing)
        entries[key] = nil
    }

    private static func key(_ memory: UnsafeMutableRawBufferPointer, _ context: FabricContext) -> Key? {
        memory.baseAddress.map { Key(domain: context.domain, start: $0, count: memory.count) }
    }
}
