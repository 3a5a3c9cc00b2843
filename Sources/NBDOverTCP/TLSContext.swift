import Base
import CTLS
import Glibc

/// OpenSSL's settings for connections with pre-shared keys, and the keys.
final class TLSContext {
    let keys: PreSharedKeys
    let pointer: OpaquePointer

    init(_ keys: PreSharedKeys) throws(TercetError) {
        self.keys = keys
        guard let pointer = SSL_CTX_new(TLS_server_method()) else {
            throw TercetError(.failed, "TLS cannot be used: OpenSSL says no more")
        }
        guard tercet_tls_configure(pointer) == 1 else {
            SSL_CTX_free(pointer)
            throw TercetError(
                .failed, "TLS with pre-shared keys cannot be used: this machine's OpenSSL forbids its ciphers")
        }
        self.pointer = pointer
        // TLS 1.3 takes the key in the same way, for ciphers whose hash is SHA-256.
        SSL_CTX_set_psk_server_callback(pointer, findKey)
    }

    deinit { SSL_CTX_free(pointer) }
}

/// The keys' side of OpenSSL's call: the key of a user, or none.
private func findKey(
    _ tls: OpaquePointer?, _ name: UnsafePointer<CChar>?, _ place: UnsafeMutablePointer<UInt8>?, _ most: UInt32
) -> UInt32 {
    guard let tls, let name, let place, let context = SSL_get_ex_data(tls, 0) else { return 0 }
    let session = Unmanaged<TLSSession>.fromOpaque(context).takeUnretainedValue()
    guard let key = session.key(of: name), key.count <= Int(most) else { return 0 }
    for (index, byte) in key.enumerated() { place[index] = byte }
    return UInt32(key.count)
}

/// One connection's TLS. Nothing of it waits.
final class TLSSession {
    /// How far a call has come.
    enum Progress {
        case done(Int)
        /// The socket has to be readable, or writable, first.
        case wantsRead
        case wantsWrite
        /// The client has ended its side in good order.
        case ended
        /// The reason, for the log.
        case failed(String)
    }

    private let context: TLSContext
    private let pointer: OpaquePointer
    /// The user, once the client has named one that is known.
    private(set) var user: String?
    private var hasNamed = false

    init?(_ context: TLSContext, _ descriptor: Int32) {
        guard let pointer = SSL_new(context.pointer) else { return nil }
        guard SSL_set_fd(pointer, descriptor) == 1 else {
            SSL_free(pointer)
            return nil
        }
        self.context = context
        self.pointer = pointer
        SSL_set_accept_state(pointer)
        SSL_set_ex_data(pointer, 0, Unmanaged.passUnretained(self).toOpaque())
    }

    deinit { SSL_free(pointer) }

    fileprivate func key(of name: UnsafePointer<CChar>) -> [UInt8]? {
        hasNamed = true
        guard let key = context.keys.key(of: name) else { return nil }
        user = String(cString: name)
        return key
    }

    func shakeHands() -> Progress {
        ERR_clear_error()
        let result = SSL_do_handshake(pointer)
        return result == 1 ? .done(0) : explain(result)
    }

    func read(into memory: UnsafeMutableRawBufferPointer) -> Progress {
        ERR_clear_error()
        var count = 0
        let result = SSL_read_ex(pointer, memory.baseAddress, memory.count, &count)
        return result == 1 ? .done(count) : explain(result)
    }

    func write(_ memory: UnsafeRawBufferPointer) -> Progress {
        ERR_clear_error()
        var count = 0
        let result = SSL_write_ex(pointer, memory.baseAddress, memory.count, &count)
        return result == 1 ? .done(count) : explain(result)
    }

    /// Tells the client that nothing follows, where the socket takes that.
    func end() {
        ERR_clear_error()
        _ = SSL_shutdown(pointer)
    }

    private func explain(_ result: Int32) -> Progress {
        let problem = errno
        switch SSL_get_error(pointer, result) {
        case SSL_ERROR_WANT_READ: return .wantsRead
        case SSL_ERROR_WANT_WRITE: return .wantsWrite
        case SSL_ERROR_ZERO_RETURN: return .ended
        case SSL_ERROR_SYSCALL:
            return .failed(problem == 0 ? "the client closed the connection" : String(cString: strerror(problem)))
        default: return .failed(reason(ERR_peek_error()))
        }
    }

    private func reason(_ error: UInt) -> String {
        guard SSL_is_init_finished(pointer) == 0 else { return text(error) }
        guard hasNamed else { return "\(text(error)) (TLS 1.2 or 1.3 with a pre-shared key is needed)" }
        guard let user else { return "its user name is not in the key file" }
        return tercet_tls_is_wrong_key(error) == 1
            ? "its key for the user \(user) is not the one in the key file" : text(error)
    }

    private func text(_ error: UInt) -> String {
        ERR_reason_error_string(error).map { String(cString: $0) } ?? "TLS error \(error)"
    }
}
