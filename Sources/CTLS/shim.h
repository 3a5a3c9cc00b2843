// OpenSSL: macros and constants that Swift cannot import.
#ifndef TERCET_CTLS_SHIM_H
#define TERCET_CTLS_SHIM_H

#include <openssl/err.h>
#include <openssl/ssl.h>

/// TLS 1.2 and above, with keys known to both sides and forward secrecy; nothing is kept of a session for another one.
static inline int tercet_tls_configure(SSL_CTX *context) {
    SSL_CTX_set_options(
        context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET | SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(
        context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(context, 0);
    SSL_CTX_set_dh_auto(context, 1);
    return SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION)
        && SSL_CTX_set_cipher_list(
            context,
            "ECDHE-PSK-CHACHA20-POLY1305:DHE-PSK-AES256-GCM-SHA384:DHE-PSK-AES128-GCM-SHA256:"
            "DHE-PSK-CHACHA20-POLY1305");
}

/// Errors of a connection that broke the protocol because the two sides have different keys.
static inline int tercet_tls_is_wrong_key(unsigned long error) {
    int reason = ERR_GET_REASON(error);
    return ERR_GET_LIB(error) == ERR_LIB_SSL
        && (reason == SSL_R_BINDER_DOES_NOT_VERIFY || reason == SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC
            || reason == SSL_R_DIGEST_CHECK_FAILED);
}

#endif
