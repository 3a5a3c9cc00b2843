// libcrypto (OpenSSL 3): digests, HMAC and finite-field Diffie-Hellman, in calls that Swift can make.
#ifndef TERCET_CCRYPTO_SHIM_H
#define TERCET_CCRYPTO_SHIM_H

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/dh.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <stddef.h>
#include <string.h>

/// The hash of an identifier of NVMe in-band authentication; NULL for one that is not known.
static inline const EVP_MD *tercet_crypto_hash(int identifier) {
    switch (identifier) {
    case 1: return EVP_sha256();
    case 2: return EVP_sha384();
    case 3: return EVP_sha512();
    default: return NULL;
    }
}

/// Writes the digest of `count` bytes; 1 if that has worked.
static inline int tercet_crypto_digest(int hash, const void *bytes, size_t count, void *digest) {
    unsigned int length = 0;
    int done = EVP_Digest(bytes, count, (unsigned char *)digest, &length, tercet_crypto_hash(hash), NULL);
    return done == 1;
}

/// Writes the HMAC of `count` bytes; 1 if that has worked.
static inline int tercet_crypto_hmac(
    int hash, const void *key, size_t keyCount, const void *bytes, size_t count, void *code) {
    unsigned int length = 0;
    return HMAC(
               tercet_crypto_hash(hash), key, (int)keyCount, (const unsigned char *)bytes, count,
               (unsigned char *)code, &length)
        != NULL;
}

/// A new private key of a group of RFC 7919, such as "ffdhe2048"; NULL if there is none.
static inline EVP_PKEY *tercet_crypto_dh_new(const char *group) {
    EVP_PKEY *key = NULL;
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "DH", NULL);
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char *)group, 0), OSSL_PARAM_construct_end()};
    if (!context || EVP_PKEY_keygen_init(context) != 1 || EVP_PKEY_CTX_set_params(context, parameters) != 1
        || EVP_PKEY_generate(context, &key) != 1)
        key = NULL;
    EVP_PKEY_CTX_free(context);
    return key;
}

/// Writes the public value, as long as the group's prime; 1 if it has `count` bytes.
static inline int tercet_crypto_dh_public(EVP_PKEY *key, void *value, size_t count) {
    unsigned char *encoded = NULL;
    size_t length = EVP_PKEY_get1_encoded_public_key(key, &encoded);
    int fits = length == count;
    if (fits) memcpy(value, encoded, count);
    OPENSSL_free(encoded);
    return fits;
}

/// Writes the secret that a private key has in common with another side's public value, as long as the group's prime; 0 if
/// that value is none of the group, or one for which anybody knows the secret: 0, 1, the prime less 1, or more. The primes are
/// safe, so that there are no others; the full check would cost more than the rest together.
static inline int tercet_crypto_dh_derive(EVP_PKEY *key, const void *value, size_t count, void *secret) {
    int done = 0;
    size_t length = count;
    EVP_PKEY *peer = EVP_PKEY_new();
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
    EVP_PKEY_CTX *check = NULL;
    if (peer && context && EVP_PKEY_copy_parameters(peer, key) == 1
        && EVP_PKEY_set1_encoded_public_key(peer, (const unsigned char *)value, count) == 1
        && (check = EVP_PKEY_CTX_new_from_pkey(NULL, peer, NULL)) && EVP_PKEY_public_check_quick(check) == 1
        && EVP_PKEY_derive_init(context) == 1 && EVP_PKEY_CTX_set_dh_pad(context, 1) == 1
        && EVP_PKEY_derive_set_peer_ex(context, peer, 0) == 1
        && EVP_PKEY_derive(context, (unsigned char *)secret, &length) == 1)
        done = length == count;
    EVP_PKEY_CTX_free(check);
    EVP_PKEY_CTX_free(context);
    EVP_PKEY_free(peer);
    // What went wrong is said in our own words; a thread that serves others keeps no list of it.
    ERR_clear_error();
    return done;
}

#endif
