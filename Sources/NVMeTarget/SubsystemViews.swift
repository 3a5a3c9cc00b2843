import Base
import BlockInterface
import TargetInterface

/// The subsystems as one reactor sees them.
final class SubsystemViews {
    private let target: Target
    private let blocks: BlockSet
    private var views: [Int: SubsystemView] = [:]
    /// Some of them may be of subsystems that have been removed.
    private var mayHaveEnded = false
    /// Views with namespaces that have not been looked at, and who waits until there is none.
    private var unfinished: [SubsystemView] = []
    private var settlements: [@Sendable () -> Void] = []

    init(_ target: Target, _ blocks: BlockSet) {
        self.target = target
        self.blocks = blocks
    }

    var count: Int { views.count }

    /// The view of a subsystem, made when first asked for.
    func view(of subsystem: Subsystem) -> SubsystemView {
        if let view = views[subsystem.index] { return view }
        let view = SubsystemView(subsystem, capacity: target.options.maxNamespaces)
        views[subsystem.index] = view
        synchronize(subsystem)
        return view
    }

    func existingView(of subsystem: Subsystem) -> SubsystemView? { views[subsystem.index] }

    /// Looks at all namespaces of a subsystem anew, if there is a view of it: at some now, and where there are many, at more in
    /// each round.
    func synchronize(_ subsystem: Subsystem) {
        guard let view = views[subsystem.index] else { return }
        mayHaveEnded = true
        view.renew(blocks)
        if !advance(view), !unfinished.contains(where: { $0 === view }) { unfinished.append(view) }
    }

    private func advance(_ view: SubsystemView) -> Bool {
        defer { if target.options.deliberateDefect == .reservationNotJudged { view.letEverybodyIn() } }
        return view.advance(blocks) { report($0, of: view.subsystem, $1) }
    }

    /// Some namespaces have not been looked at.
    @inline(__always)
    var isUnfinished: Bool { !unfinished.isEmpty }

    /// Goes on with the view that has waited longest. Returns the Connects that waited for it, to be executed anew.
    func goOn() -> [RequestTicket] {
        guard let view = unfinished.first, view.isComplete || advance(view) else { return [] }
        unfinished.removeFirst()
        if unfinished.isEmpty {
            for settlement in settlements { settlement() }
            settlements = []
        }
        return view.takeWaiting()
    }

    /// Calls `done` when all namespaces have been looked at.
    func whenSettled(_ done: @escaping @Sendable () -> Void) {
        if unfinished.isEmpty { done() } else { settlements.append(done) }
    }

    /// Looks at one namespace anew.
    func synchronize(_ subsystem: Subsystem, nsid: UInt32) {
        guard let view = views[subsystem.index] else { return }
        view.synchronize(nsid, blocks) { report($0, of: subsystem, $1) }
        if target.options.deliberateDefect == .reservationNotJudged { view.letEverybodyIn() }
    }

    /// Frees the views of removed subsystems that nothing looks at any more.
    func dropEnded(isUsed: (NamespaceTable) -> Bool) {
        guard mayHaveEnded else { return }
        mayHaveEnded = false
        for (index, view) in views where view.subsystem.isRemoved {
            if !view.isComplete || isUsed(view.namespaces) { mayHaveEnded = true } else { views[index] = nil }
        }
    }

    private func report(_ nsid: UInt32, of subsystem: Subsystem, _ error: TercetError) {
        target.observe(.namespaceFailed(subsystem: subsystem.nqn, nsid: nsid, reason: error.description))
    }
}
