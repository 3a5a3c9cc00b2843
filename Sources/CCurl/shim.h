// libcurl: its functions with a variable list of arguments, which Swift cannot import.
#ifndef TERCET_CCURL_SHIM_H
#define TERCET_CCURL_SHIM_H

#include <curl/curl.h>

/// Has to be called once, before everything else.
static inline CURLcode tercet_curl_prepare(void) { return curl_global_init(CURL_GLOBAL_DEFAULT); }

/// Gets a piece of an answer's body; returns its size, or another number to end the call.
typedef size_t (*tercet_curl_receiver)(char *bytes, size_t one, size_t count, void *context);

static inline CURLcode tercet_curl_set_number(CURL *call, CURLoption option, long value) {
    return curl_easy_setopt(call, option, value);
}

/// libcurl copies the text.
static inline CURLcode tercet_curl_set_text(CURL *call, CURLoption option, const char *value) {
    return curl_easy_setopt(call, option, value);
}

/// libcurl copies the body.
static inline CURLcode tercet_curl_set_body(CURL *call, const void *bytes, long count) {
    CURLcode result = curl_easy_setopt(call, CURLOPT_POSTFIELDSIZE, count);
    return result == CURLE_OK ? curl_easy_setopt(call, CURLOPT_COPYPOSTFIELDS, bytes) : result;
}

/// The list has to outlive the call.
static inline CURLcode tercet_curl_set_headers(CURL *call, struct curl_slist *headers) {
    return curl_easy_setopt(call, CURLOPT_HTTPHEADER, headers);
}

static inline CURLcode tercet_curl_set_receiver(CURL *call, tercet_curl_receiver receiver, void *context) {
    CURLcode result = curl_easy_setopt(call, CURLOPT_WRITEFUNCTION, receiver);
    return result == CURLE_OK ? curl_easy_setopt(call, CURLOPT_WRITEDATA, context) : result;
}

/// The buffer has CURL_ERROR_SIZE bytes, and outlives the call.
static inline CURLcode tercet_curl_set_error_buffer(CURL *call, char *buffer) {
    return curl_easy_setopt(call, CURLOPT_ERRORBUFFER, buffer);
}

static inline long tercet_curl_status(CURL *call) {
    long status = 0;
    curl_easy_getinfo(call, CURLINFO_RESPONSE_CODE, &status);
    return status;
}

#endif
