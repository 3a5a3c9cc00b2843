import Base
import InitiatorTransport
import NVMeSpec

/// The life of a command, from its sending to its answer and its release.
enum CommandState: UInt8, BitwiseCopyable {
    case free
    /// Given to the transport; neither released nor answered.
    case sent
    /// The transport has released it; the answer has not come.
    case released
    /// The answer has come; the transport may still read the command's memory.
    case answered

    /// The one place where a command changes its state.
    @inline(__always)
    mutating func move(to next: CommandState) {
        switch (self, next) {
        case (.free, .sent), (.sent, .released), (.sent, .answered), (.released, .free), (.answered, .free): self = next
        default: invariantViolated("a command makes only the listed transitions")
        }
    }
}

/// A command that is under way. Plain data.
struct CommandSlot: BitwiseCopyable {
    var state = CommandState.free
    /// Raised with each use and sent in the command identifier: an answer that comes twice is recognised.
    var generation: UInt8 = 0
    /// The operation that this command is a part of.
    var operation = OperationIndex.none
    /// The answer, while the release is awaited.
    var status = Status.success
    var result: UInt64 = 0
}

/// A command that is over: answered, and released by the transport.
struct CommandEnd: BitwiseCopyable {
    var operation: OperationIndex
    var status: Status
    var result: UInt64
}

/// An answer that a controller must not give; for people.
enum AnswerViolation: Error, Equatable, CustomStringConvertible {
    /// No command of the connection can have the identifier.
    case unknownCommand(UInt16)
    /// The command with the identifier is over, or was never sent.
    case notUnderWay(UInt16)

    var description: String {
        switch self {
        case .unknownCommand(let identifier):
            "the controller completed a command that does not exist (\(identifier))"
        case .notUnderWay(let identifier):
            "the controller completed a command that is not under way (\(identifier))"
        }
    }
}

/// The commands that one connection has under way, by their identifiers.
struct CommandTable: ~Copyable {
    private var slots: SlotTable<CommandIndex, CommandSlot>

    /// - Parameter capacity: commands that may be under way at once.
    init(capacity: Int) {
        slots = SlotTable(capacity: capacity, initial: CommandSlot())
    }

    /// Commands that may be sent now.
    @inline(__always) var available: Int { slots.available }

    /// A new command of an operation: its place, and its identifier. There is room for it.
    @inline(__always)
    mutating func begin(_ operation: OperationIndex) -> (index: CommandIndex, identifier: UInt16) {
        guard let index = slots.take() else { invariantViolated("a command is sent when one may be") }
        slots[index].state.move(to: .sent)
        slots[index].generation &+= 1
        slots[index].operation = operation
        return (index, CommandIdentifier.make(index, generation: slots[index].generation))
    }

    /// The controller has answered. Returns the command where it is over.
    @inline(__always)
    mutating func answered(_ answer: CompletionEntry) throws(AnswerViolation) -> CommandEnd? {
        let index = CommandIdentifier.index(of: answer.commandID)
        guard index.offset < slots.capacity else { throw .unknownCommand(answer.commandID) }
        let state = slots[index].state
        guard state == .sent || state == .released,
            CommandIdentifier.generation(of: answer.commandID)
                == slots[index].generation & CommandIdentifier.generationMask
        else { throw .notUnderWay(answer.commandID) }
        if state == .released {
            return end(
                index, CommandEnd(operation: slots[index].operation, status: answer.status, result: answer.result))
        }
        slots[index].status = answer.status
        slots[index].result = answer.result
        slots[index].state.move(to: .answered)
        return nil
    }

    /// The transport has released a command. Returns it where it is over.
    @inline(__always)
    mutating func released(_ index: CommandIndex) -> CommandEnd? {
        if slots[index].state == .sent {
            slots[index].state.move(to: .released)
            return nil
        }
        let slot = slots[index]
        invariant(slot.state == .answered, "a command is released once, while it is under way")
        return end(index, CommandEnd(operation: slot.operation, status: slot.status, result: slot.result))
    }

    @inline(__always)
    private mutating func end(_ index: CommandIndex, _ end: CommandEnd) -> CommandEnd {
        slots[index].state.move(to: .free)
        slots.give(index)
        return end
    }

    /// Identifiers of the commands that have not been answered and whose operation satisfies `isMeant`.
    func identifiers(where isMeant: (OperationIndex) -> Bool) -> [UInt16] {
        slots.usedIndices.filter { index in
            (slots[index].state == .sent || slots[index].state == .released) && isMeant(slots[index].operation)
        }.map { CommandIdentifier.make($0, generation: slots[$0].generation) }
    }
}
