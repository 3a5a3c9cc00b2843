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

    /// Looks at all namespaces of a subsystem anew, if there is a view of it.
    func synchronize(_ subsystem: Subsystem) {
        guard let view = views[subsystem.index] else { return }
        mayHaveEnded = true
        view.synchronize(blocks) { report($0, of: subsystem, $1) }
        if target.options.deliberateDefect == .reservationNotJudged { view.letEverybodyIn() }
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
            if isUsed(view.namespaces) { mayHaveEnded = true } else { views[index] = nil }
        }
    }

    private func report(_ nsid: UInt32, of subsystem: Subsystem, _ error: TercetError) {
        target.observe(.namespaceFailed(subsystem: subsystem.nqn, nsid: nsid, reason: error.description))
    }
}
