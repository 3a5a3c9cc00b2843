import Foundation

// The messages of etcd 3.4 that are used here, as its JSON gateway has them (etcd 3.4, rpc.proto and kv.proto): bytes are in
// base64, integers of 64 bits are texts, and fields that are zero are left out of answers. The gateway takes no notice of a field
// that it does not know, so each request is one of these types, and no text.

/// An integer of 64 bits, which JSON has as text.
struct WireInteger: Codable, Equatable, Sendable {
    var value: Int64

    init(_ value: Int64) { self.value = value }

    init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        guard let value = Int64(try container.decode(String.self)) else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "is no integer")
        }
        self.value = value
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(String(value))
    }
}

/// The part of an answer that all have.
struct AnswerHeader: Decodable {
    /// The cluster's last change.
    var revision: WireInteger?
}

protocol EtcdAnswer: Decodable {
    var header: AnswerHeader? { get }
}

struct KeyValue: Decodable {
    enum CodingKeys: String, CodingKey {
        case key, value, lease
        case modRevision = "mod_revision"
    }

    var key: Data
    var value: Data?
    var lease: WireInteger?
    var modRevision: WireInteger?
}

// MARK: Keys and values

struct RangeRequest: Encodable {
    enum CodingKeys: String, CodingKey {
        case key, limit, revision
        case rangeEnd = "range_end"
    }

    var key: Data
    var rangeEnd: Data?
    var limit: WireInteger?
    var revision: WireInteger?
}

struct RangeAnswer: EtcdAnswer {
    var header: AnswerHeader?
    var kvs: [KeyValue]?
    var more: Bool?
}

struct PutRequest: Encodable {
    var key: Data
    var value: Data
    var lease: WireInteger?
}

struct DeleteRangeRequest: Encodable {
    var key: Data
}

/// One of several that a transaction does.
struct TransactionStep: Encodable {
    enum CodingKeys: String, CodingKey {
        case range = "request_range"
        case put = "request_put"
        case deleteRange = "request_delete_range"
    }

    var range: RangeRequest?
    var put: PutRequest?
    var deleteRange: DeleteRangeRequest?
}

/// True if a key's last change has this revision; 0 for a key that is not there.
struct Guard: Encodable {
    enum CodingKeys: String, CodingKey {
        case key, target, result
        case modRevision = "mod_revision"
    }

    var key: Data
    var modRevision: WireInteger

    init(_ key: String, revision: Int64) {
        self.key = Data(key.utf8)
        modRevision = WireInteger(revision)
    }

    func encode(to encoder: any Encoder) throws {
        var fields = encoder.container(keyedBy: CodingKeys.self)
        try fields.encode(key, forKey: .key)
        try fields.encode("MOD", forKey: .target)
        try fields.encode("EQUAL", forKey: .result)
        try fields.encode(modRevision, forKey: .modRevision)
    }
}

struct TransactionRequest: Encodable {
    var compare: [Guard]
    var success: [TransactionStep]
    var failure: [TransactionStep]
}

struct TransactionAnswer: EtcdAnswer {
    struct Step: Decodable {
        enum CodingKeys: String, CodingKey {
            case range = "response_range"
            case put = "response_put"
            case deleteRange = "response_delete_range"
        }

        /// An answer to a put.
        struct Put: Decodable {}

        struct DeleteRange: Decodable {
            var deleted: WireInteger?
        }

        var range: RangeAnswer?
        var put: Put?
        var deleteRange: DeleteRange?
    }

    var header: AnswerHeader?
    var succeeded: Bool?
    var responses: [Step]?
}

// MARK: Watches

struct WatchRequest: Encodable {
    enum CodingKeys: String, CodingKey {
        case create = "create_request"
    }

    struct Create: Encodable {
        enum CodingKeys: String, CodingKey {
            case key
            case rangeEnd = "range_end"
            case startRevision = "start_revision"
        }

        var key: Data
        var rangeEnd: Data
        var startRevision: WireInteger
    }

    var create: Create
}

/// A line of a watch.
struct WatchLine: Decodable {
    enum CodingKeys: String, CodingKey {
        case result, error
    }

    struct Result: Decodable {
        enum CodingKeys: String, CodingKey {
            case header, created, canceled, events
            case cancelReason = "cancel_reason"
            case compactRevision = "compact_revision"
        }

        struct Event: Decodable {
            /// `DELETE`, or nothing for a put.
            var type: String?
            var kv: KeyValue
        }

        var header: AnswerHeader?
        var created: Bool?
        var canceled: Bool?
        var cancelReason: String?
        var compactRevision: WireInteger?
        var events: [Event]?
    }

    struct Problem: Decodable {
        enum CodingKeys: String, CodingKey {
            case message
            case code = "grpc_code"
        }

        var code: Int?
        var message: String?
    }

    var result: Result?
    var error: Problem?
}

// MARK: Leases

struct LeaseGrantRequest: Encodable {
    enum CodingKeys: String, CodingKey {
        case seconds = "TTL"
        case id = "ID"
    }

    var seconds: WireInteger
    var id: WireInteger
}

struct LeaseRequest: Encodable {
    enum CodingKeys: String, CodingKey {
        case id = "ID"
    }

    var id: WireInteger
}

struct LeaseAnswer: EtcdAnswer {
    enum CodingKeys: String, CodingKey {
        case header
        case seconds = "TTL"
        case id = "ID"
    }

    var header: AnswerHeader?
    /// The time that the lease lasts; missing, or -1, if there is no such lease.
    var seconds: WireInteger?
    var id: WireInteger?
}

/// An answer of a keep-alive, which is a stream of one.
struct KeepAliveAnswer: EtcdAnswer {
    var result: LeaseAnswer?
    var header: AnswerHeader? { result?.header }
}

// MARK: Users

struct AuthenticateRequest: Encodable {
    var name: String
    var password: String
}

struct AuthenticateAnswer: EtcdAnswer {
    var header: AnswerHeader?
    var token: String?
}

/// An answer to what was refused, or was not done.
struct ErrorAnswer: Decodable {
    /// A code of gRPC (grpc, "Status codes and their use in gRPC").
    var code: Int?
    var message: String?
}
