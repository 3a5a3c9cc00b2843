/// An array whose elements ascend, each once.
///
/// A reactor takes it as it is and looks at it in pieces, while the control plane goes on changing it.
struct AscendingList<Element: Comparable & Sendable>: Sendable {
    private(set) var elements: [Element] = []

    /// The place of the first element that is not less than `element`.
    func place(of element: Element) -> Int {
        var low = 0
        var high = elements.count
        while low < high {
            let middle = (low + high) / 2
            if elements[middle] < element { low = middle + 1 } else { high = middle }
        }
        return low
    }

    func contains(_ element: Element) -> Bool {
        let place = place(of: element)
        return place < elements.count && elements[place] == element
    }

    /// Whether each of `others` is there. Takes one look at an element where they follow each other here as there, as in the lists
    /// that hosts send, and a search where they do not.
    func contains(_ others: [Element]) -> Bool {
        var next = 0
        for other in others {
            if next >= elements.count || elements[next] != other { next = place(of: other) }
            guard next < elements.count, elements[next] == other else { return false }
            next += 1
        }
        return true
    }

    /// The one that equals `element`, which may tell more than it.
    func element(equalTo element: Element) -> Element? {
        let place = place(of: element)
        return place < elements.count && elements[place] == element ? elements[place] : nil
    }

    /// The elements that are not less than `element`.
    func from(_ element: Element) -> ArraySlice<Element> { elements[place(of: element)...] }

    mutating func insert(_ element: Element) {
        let place = place(of: element)
        if place < elements.count, elements[place] == element { return }
        elements.insert(element, at: place)
    }

    mutating func remove(_ element: Element) {
        let place = place(of: element)
        if place < elements.count, elements[place] == element { elements.remove(at: place) }
    }

    /// Removes some of the elements from `first` to `last`; the others are not looked at.
    mutating func removeAll(from first: Element, through last: Element, where isGone: (Element) -> Bool) {
        let start = place(of: first)
        let end = place(of: last) + (contains(last) ? 1 : 0)
        var kept = start
        for place in start..<max(start, end) where !isGone(elements[place]) {
            elements[kept] = elements[place]
            kept += 1
        }
        elements.removeSubrange(kept..<max(kept, end))
    }
}
