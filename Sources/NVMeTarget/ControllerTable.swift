import Base

/// Controllers that connections of a poll group belong to. Each connection has a place of its own.
final class ControllerTable {
    private var controllers: [Controller?] = []

    /// The controller of a place; `nil` for no place.
    subscript(place: ControllerPlace) -> Controller? { place.isNone ? nil : controllers[place.offset] }

    func retain(_ controller: Controller) -> ControllerPlace {
        if let free = controllers.firstIndex(where: { $0 == nil }) {
            controllers[free] = controller
            return ControllerPlace(position: UInt32(free))
        }
        controllers.append(controller)
        return ControllerPlace(position: UInt32(controllers.count - 1))
    }

    func release(_ place: ControllerPlace) {
        if !place.isNone { controllers[place.offset] = nil }
    }

    /// Places that are taken, and all.
    var heldCount: Int { controllers.count { $0 != nil } }
    var placeCount: Int { controllers.count }

    /// Those whose host has not been heard of for its keep-alive timeout.
    func overdue(_ now: MonotonicTime) -> [Controller] {
        var found: [Controller] = []
        for controller in controllers {
            if let controller, controller.keepAliveDeadline <= now { found.append(controller) }
        }
        return found
    }
}
