import CCurl
import Foundation

/// Calls by HTTP, one after another, over connections that stay open between them.
///
/// One thread uses it at a time; `wake` may be called by any. libcurl sends a request once more where a connection from an earlier
/// call ends without an answer: a peer may get it twice.
final class HTTPCaller: @unchecked Sendable {
    // Unchecked: see above. libcurl allows the wake-up from any thread.
    private let calls: UnsafeMutableRawPointer
    private let tls: TLSFiles

    struct Request {
        var url: String
        var body: Data
        /// Lines without an end, such as `Authorization: TOKEN`.
        var headers: [String] = []
        /// The time for the whole call.
        var milliseconds: Int
        /// The time until the first bytes of the answer.
        var firstBytesMilliseconds: Int
    }

    enum Outcome: Equatable {
        /// The answer is complete, or `receive` has seen enough of it.
        case answered(status: Int)
        /// No answer, or only a part.
        case failed(Failure)
        case cancelled
    }

    struct Failure: Equatable {
        /// For people.
        var reason: String
        /// Whether it was the time that ended the call.
        var isTimeout = false
    }

    init(tls: TLSFiles) {
        self.tls = tls
        _ = Self.isPrepared
        guard let calls = curl_multi_init() else { fatalError("libcurl has no memory") }
        self.calls = calls
    }

    deinit { curl_multi_cleanup(calls) }

    private static let isPrepared = tercet_curl_prepare() == CURLE_OK

    /// Ends the wait for an answer, so that `isCancelled` is asked.
    func wake() { curl_multi_wakeup(calls) }

    /// Calls, and waits for the answer.
    ///
    /// - Parameter receive: gets each piece of the answer's body; if it returns `false`, the call is over.
    func call(
        _ request: Request, isCancelled: () -> Bool = { false },
        receive: @escaping (UnsafeRawBufferPointer) -> Bool
    ) -> Outcome {
        guard let call = curl_easy_init() else {
            return .failed(Failure(reason: "libcurl has no memory"))
        }
        defer { curl_easy_cleanup(call) }
        var headers: UnsafeMutablePointer<curl_slist>?
        for header in request.headers + ["Content-Type: application/json", "Expect:"] {
            headers = curl_slist_append(headers, header)
        }
        defer { curl_slist_free_all(headers) }
        let text = UnsafeMutablePointer<CChar>.allocate(capacity: Int(CURL_ERROR_SIZE))
        text.initialize(repeating: 0, count: Int(CURL_ERROR_SIZE))
        defer { text.deallocate() }
        let answer = Answer(receive)
        set(call, request, headers)
        tercet_curl_set_error_buffer(call, text)
        tercet_curl_set_receiver(
            call, { bytes, _, count, answer in HTTPCaller.receive(bytes, count, answer) },
            Unmanaged.passUnretained(answer).toOpaque())
        return withExtendedLifetime(answer) { run(call, request, answer, isCancelled, text) }
    }

    private final class Answer {
        let receive: (UnsafeRawBufferPointer) -> Bool
        var hasBegun = false
        var isEnough = false

        init(_ receive: @escaping (UnsafeRawBufferPointer) -> Bool) { self.receive = receive }
    }

    private static func receive(_ bytes: UnsafeMutablePointer<CChar>?, _ count: Int, _ answer: UnsafeMutableRawPointer?)
        -> Int
    {
        guard let answer else { return 0 }
        let answering = Unmanaged<Answer>.fromOpaque(answer).takeUnretainedValue()
        answering.hasBegun = true
        guard answering.receive(UnsafeRawBufferPointer(start: bytes, count: count)) else {
            answering.isEnough = true
            // Any other number than the count ends the call.
            return count + 1
        }
        return count
    }

    private func set(
        _ call: UnsafeMutableRawPointer, _ request: Request, _ headers: UnsafeMutablePointer<curl_slist>?
    ) {
        let numbers: [(CURLoption, Int)] = [
            (CURLOPT_NOSIGNAL, 1), (CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1),
            (CURLOPT_TIMEOUT_MS, request.milliseconds), (CURLOPT_CONNECTTIMEOUT_MS, min(1500, request.milliseconds)),
            (CURLOPT_TCP_KEEPALIVE, 1), (CURLOPT_TCP_KEEPIDLE, 5), (CURLOPT_TCP_KEEPINTVL, 2),
            (CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2),
        ].map { ($0.0, Int($0.1)) }
        for (option, value) in numbers { tercet_curl_set_number(call, option, value) }
        // Nothing of the environment leads elsewhere.
        let texts: [(CURLoption, String?)] = [
            (CURLOPT_URL, request.url), (CURLOPT_PROXY, ""), (CURLOPT_PROTOCOLS_STR, "http,https"),
            (CURLOPT_CAINFO, tls.authorities), (CURLOPT_SSLCERT, tls.certificate), (CURLOPT_SSLKEY, tls.key),
        ]
        for case (let option, let value?) in texts { tercet_curl_set_text(call, option, value) }
        _ = request.body.withUnsafeBytes { tercet_curl_set_body(call, $0.baseAddress, $0.count) }
        tercet_curl_set_headers(call, headers)
    }

    private func run(
        _ call: UnsafeMutableRawPointer, _ request: Request, _ answer: Answer, _ isCancelled: () -> Bool,
        _ text: UnsafePointer<CChar>
    ) -> Outcome {
        curl_multi_add_handle(calls, call)
        defer { curl_multi_remove_handle(calls, call) }
        let start = ContinuousClock.now
        while true {
            var running: Int32 = 0
            let result = curl_multi_perform(calls, &running)
            guard result == CURLM_OK else {
                return .failed(Failure(reason: String(cString: curl_multi_strerror(result))))
            }
            if running == 0 { break }
            if isCancelled() { return .cancelled }
            let silence = (ContinuousClock.now - start).milliseconds
            if !answer.hasBegun, silence >= request.firstBytesMilliseconds {
                return .failed(
                    Failure(
                        reason: "no answer within \(silence) ms",
                        isTimeout: true))
            }
            let wait = answer.hasBegun ? 1000 : min(1000, request.firstBytesMilliseconds - silence)
            curl_multi_poll(calls, nil, 0, Int32(max(1, wait)), nil)
        }
        return outcome(call, answer, text)
    }

    private func outcome(_ call: UnsafeMutableRawPointer, _ answer: Answer, _ text: UnsafePointer<CChar>) -> Outcome {
        var left: Int32 = 0
        guard let message = curl_multi_info_read(calls, &left) else {
            return .failed(Failure(reason: "libcurl says nothing of the call"))
        }
        let result = message.pointee.data.result
        if result == CURLE_OK || answer.isEnough { return .answered(status: Int(tercet_curl_status(call))) }
        let words = String(cString: text)
        return .failed(
            Failure(
                reason: words.isEmpty ? String(cString: curl_easy_strerror(result)) : words,
                isTimeout: result == CURLE_OPERATION_TIMEDOUT))
    }
}

/// The files of TLS, in PEM; `nil` for those of the system, or for none.
struct TLSFiles: Equatable, Sendable {
    /// The authorities that may have signed the peer's certificate.
    var authorities: String?
    /// The certificate that is shown to the peer, and its key.
    var certificate: String?
    var key: String?
}

extension Duration {
    var milliseconds: Int {
        let (seconds, attoseconds) = components
        return Int(seconds) * 1000 + Int(attoseconds / 1_000_000_000_000_000)
    }
}
