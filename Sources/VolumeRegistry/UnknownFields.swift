import JSON

/// The name of a field, of whatever release.
struct FieldName: CodingKey {
    var stringValue: String
    var intValue: Int? { nil }

    init(_ name: String) { stringValue = name }
    init?(stringValue: String) { self.init(stringValue) }
    init?(intValue: Int) { nil }
}

extension Decoder {
    /// The fields that have none of the names in `Keys`.
    func unknownFields<Keys: CodingKey & CaseIterable>(but keys: Keys.Type) throws -> [String: JSONValue] {
        let fields = try container(keyedBy: FieldName.self)
        let known = Set(Keys.allCases.map(\.stringValue))
        var unknown: [String: JSONValue] = [:]
        for field in fields.allKeys where !known.contains(field.stringValue) {
            unknown[field.stringValue] = try fields.decode(JSONValue.self, forKey: field)
        }
        return unknown
    }
}

extension Encoder {
    func encode(unknown fields: [String: JSONValue]) throws {
        guard !fields.isEmpty else { return }
        var container = container(keyedBy: FieldName.self)
        for (name, value) in fields { try container.encode(value, forKey: FieldName(name)) }
    }
}
