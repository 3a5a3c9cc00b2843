// Catches the commands that libnvme would hand to the kernel, so that a test can compare them with its own.

#ifndef LIBNVME_CAPTURE_H
#define LIBNVME_CAPTURE_H

#include <stdbool.h>
#include <stdint.h>

// A file descriptor that no file has: NVMe commands to it are caught, everything else goes to the kernel.
static const int libnvme_capture_fd = 0x6E766D65;

// What libnvme put into its passthrough command, in the order of a submission queue entry.
struct libnvme_captured {
    bool is_admin;
    uint8_t opcode;
    uint32_t nsid;
    uint32_t cdw2;
    uint32_t cdw3;
    uint32_t cdw10;
    uint32_t cdw11;
    uint32_t cdw12;
    uint32_t cdw13;
    uint32_t cdw14;
    uint32_t cdw15;
    uint32_t data_length;
    // The first bytes of the data, where the command sends any.
    uint8_t data[64];
};

// The command caught last on this thread.
struct libnvme_captured libnvme_capture_last(void);

#endif
