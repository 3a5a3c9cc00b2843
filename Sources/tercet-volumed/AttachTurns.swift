/// Turns to attach volumes: so many have one at a time, and the others wait in the order in which they came.
struct AttachTurns {
    /// One that has a turn, or waits for it; known by its number for as long as it does.
    private struct Place {
        let number: Int
        let name: String
        var hasTurn = false
        /// Told of the turn, or that there will be none.
        var continuation: CheckedContinuation<Bool, Never>?
    }

    private let atOnce: Int
    /// In order: those with a turn are in front.
    private var places: [Place] = []
    private var nextNumber = 0

    init(atOnce: Int) { self.atOnce = atOnce }

    /// Takes the next place; returns its number.
    mutating func join(_ name: String) -> Int {
        nextNumber += 1
        places.append(Place(number: nextNumber, name: name))
        admit()
        return nextNumber
    }

    /// Whether a place has its turn.
    func hasTurn(_ number: Int) -> Bool { places.contains { $0.number == number && $0.hasTurn } }

    /// Has a place's turn told; with `false` where the place is gone before.
    mutating func tell(_ number: Int, _ continuation: CheckedContinuation<Bool, Never>) {
        guard let place = places.firstIndex(where: { $0.number == number }), !places[place].hasTurn else {
            return continuation.resume(returning: hasTurn(number))
        }
        places[place].continuation = continuation
    }

    /// Gives a place up, and the turn with it. One that is gone is none.
    mutating func leave(_ number: Int) {
        guard let place = places.firstIndex(where: { $0.number == number }) else { return }
        places.remove(at: place).continuation?.resume(returning: false)
        admit()
    }

    /// Gives up all places of a volume that wait.
    mutating func withdraw(_ name: String) {
        for place in places where place.name == name && !place.hasTurn { leave(place.number) }
    }

    /// Gives up all places that wait.
    mutating func withdrawAll() {
        for place in places.reversed() where !place.hasTurn { leave(place.number) }
    }

    /// How many come before a volume that waits for its turn; `nil` where it does not.
    func before(_ name: String) -> Int? {
        places.firstIndex { $0.name == name && !$0.hasTurn }
    }

    private mutating func admit() {
        for place in places.indices.prefix(atOnce) where !places[place].hasTurn {
            places[place].hasTurn = true
            places[place].continuation?.resume(returning: true)
            places[place].continuation = nil
        }
    }
}
