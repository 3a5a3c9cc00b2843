import VolumeRegistry

/// Entries that other releases, and mistakes, may have written.
extension RegistryLaws {
    private static let members = (1...3).map {
        #"{ "address": "192.0.2.\#($0):4420/nqn.2026-11.io.example:a/1", "shelf": { "name": "p\#($0)", "weights": [1, 2.5, null] } }"#
    }.joined(separator: ", ")

    private static func text(_ name: String, version: String = "1", more: String = "") -> String {
        """
        { "version": \(version), "name": "\(name)", "uuid": "12345678-9abc-4ef0-8123-456789abcdef", "state": "ready",
          "size": 1073741824, "region_size": 1048576, "fencing": "reservations", "minimum_copies": 2,
          "members": [\(members)]\(more) }
        """
    }

    func checkUnknownFields() async throws(RegistryError) {
        let fields =
            #", "quality": { "ios": 18446744073709551615, "burst": -5, "kind": "soft", "on": true }, "labels": { "tier": "1" }"#
        await write(Self.text("later", more: fields), "later")
        guard var found = try await registry.get("later") else {
            return law(false, "an entry with unknown fields is read")
        }
        law(
            found.entry.labels == ["tier": "1"] && found.entry.size == 1 << 30,
            "known fields are read beside unknown ones")
        found.entry.labels["tier"] = "2"
        let revision = try await registry.put(found.entry, expecting: found.revision)
        let text = try await other.get("later")?.entry.text() ?? ""
        for part in [
            #""quality":{"burst":-5,"ios":18446744073709551615,"kind":"soft","on":true}"#,
            #""shelf":{"name":"p3","weights":[1,2.5,null]}"#, #""tier":"2""#,
        ] {
            law(text.contains(part), "an unknown field is kept when the entry is written again: \(part) in \(text)")
        }
        _ = try await registry.delete("later", expecting: revision)
    }

    func checkOtherReleases() async throws(RegistryError) {
        _ = try await registry.put(Self.entry("sound"), expecting: nil)
        let other = self.other
        let cases: [(text: String, code: RegistryError.Code)] = [
            (Self.text("bad", version: "2"), .unknownVersion), (#"{ "version": 99 }"#, .unknownVersion),
            ("", .damaged), ("garbage", .damaged), ("{", .damaged), ("[]", .damaged), (#"{ "version": 1 }"#, .damaged),
            (Self.text("good"), .damaged), (Self.text("bad", version: "\"1\""), .damaged),
            (String(repeating: "[", count: 20_000), .damaged),
            (Self.text("bad", more: #", "exports": 5"#), .damaged),
            (Self.text("bad", more: #", "operation": {}"#), .damaged),
            (Self.text("bad").replacing("1048576", with: "1000"), .invalid),
            (Self.text("bad").replacing("\"size\": 1073741824", with: "\"size\": -1"), .damaged),
            (Self.text("bad").replacing("192.0.2.2:4420", with: "example.com:4420"), .damaged),
        ]
        for (text, code) in cases {
            await write(text, "bad")
            law(
                await fails({ $0 == code }) { () async throws(RegistryError) in try await other.get("bad") },
                "what cannot be read is refused: \(text.prefix(100))")
            let listing = try await other.list()
            law(
                listing.unreadable.map(\.name) == ["bad"] && listing.volumes.map(\.entry.name) == ["sound"],
                "what cannot be read hides nothing else, and is told of")
            law(
                await fails({ if case .conflict(.some) = $0 { true } else { false } }) {
                    () async throws(RegistryError) in
                    try await other.put(Self.entry("bad"), expecting: nil)
                }, "what cannot be read is not overwritten: \(text.prefix(100))")
        }
        await write("garbage", "bad")
        for entry in try await other.list().unreadable { _ = try await other.delete("bad", expecting: entry.revision) }
        law(try await other.get("bad") == nil, "what cannot be read can be removed")
        for volume in try await other.list().volumes {
            _ = try await other.delete(volume.entry.name, expecting: volume.revision)
        }
    }
}
