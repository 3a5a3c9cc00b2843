/// The address of a namespace: `ADDRESS:PORT/NQN/NSID`; an IPv6 address in brackets, `:PORT` left out for 4420.
struct Member {
    var address: String
    var port: Int
    var nqn: String
    var nsid: UInt32

    init(address: String, port: Int, nqn: String, nsid: UInt32) {
        self.address = address
        self.port = port
        self.nqn = nqn
        self.nsid = nsid
    }

    init?(_ text: String) {
        guard let first = text.firstIndex(of: "/"), let last = text.lastIndex(of: "/"), first < last,
            let nsid = UInt32(text[text.index(after: last)...]), nsid > 0
        else { return nil }
        var place = text[..<first]
        port = 4420
        if let colon = place.lastIndex(of: ":"), place.last != "]",
            place.first == "[" || place.firstIndex(of: ":") == colon
        {
            guard let number = UInt16(place[place.index(after: colon)...]) else { return nil }
            port = Int(number)
            place = place[..<colon]
        }
        if place.first == "[", place.last == "]" { place = place.dropFirst().dropLast() }
        address = String(place)
        nqn = String(text[text.index(after: first)..<last])
        self.nsid = nsid
        guard !address.isEmpty, !nqn.isEmpty else { return nil }
    }

    /// As `volume=` of the engine and `--member` of tercet have it.
    var description: String { "\(address.contains(":") ? "[\(address)]" : address):\(port)/\(nqn)/\(nsid)" }
}
