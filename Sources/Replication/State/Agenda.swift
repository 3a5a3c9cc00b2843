/// The things that an event has made possible. The parts add to it; the engine works it off before its call returns.
struct Agenda: OptionSet, BitwiseCopyable {
    let rawValue: UInt8

    /// Operations that wait for bits that must be durable before they are sent.
    static let intents = Agenda(rawValue: 1 << 0)
    /// Reads that wait for their region to be the same on all members in sync, and flushes that wait for all of them.
    static let reconciled = Agenda(rawValue: 1 << 1)
    /// Operations that wait for what must be durable before they are acknowledged.
    static let acknowledgements = Agenda(rawValue: 1 << 2)
    /// There may be something to copy.
    static let copies = Agenda(rawValue: 1 << 3)
    /// Members that are to be given up, because what they had cached may be lost.
    static let doubts = Agenda(rawValue: 1 << 4)

    /// A member was lost, or all were: what waits may not have to any more.
    static let waiting: Agenda = [.intents, .reconciled, .acknowledgements]
    /// All that is worked off before copies are thought of.
    static let urgent: Agenda = [.intents, .reconciled, .acknowledgements, .doubts]
}
