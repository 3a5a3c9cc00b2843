// CRC32C (Castagnoli, RFC 3720 appendix B.4): the processor's instruction where there is one, else a table.
#ifndef TERCET_CCHECKSUM_SHIM_H
#define TERCET_CCHECKSUM_SHIM_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint32_t tercet_crc32c_bitwise(uint32_t crc, const uint8_t *bytes, size_t count) {
    static const uint32_t table[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
        0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75};
    while (count--) {
        crc ^= *bytes++;
        crc = (crc >> 4) ^ table[crc & 15];
        crc = (crc >> 4) ^ table[crc & 15];
    }
    return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static inline uint32_t
tercet_crc32c_sse42(uint32_t crc, const uint8_t *bytes, size_t count) {
    uint64_t sum = crc;
    for (; count >= 8; bytes += 8, count -= 8) {
        uint64_t word;
        memcpy(&word, bytes, 8);
        sum = __builtin_ia32_crc32di(sum, word);
    }
    for (; count > 0; bytes++, count--) sum = __builtin_ia32_crc32qi((uint32_t)sum, *bytes);
    return (uint32_t)sum;
}
#endif

/// CRC32C of `count` bytes, with the usual initial value and final inversion.
static inline uint32_t tercet_crc32c(const void *bytes, size_t count) {
    const uint8_t *start = (const uint8_t *)bytes;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2")) return ~tercet_crc32c_sse42(0xffffffffu, start, count);
#endif
    return ~tercet_crc32c_bitwise(0xffffffffu, start, count);
}

#endif
