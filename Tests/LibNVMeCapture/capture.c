#define _GNU_SOURCE
#include "LibNVMeCapture.h"

#include <linux/nvme_ioctl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static _Thread_local struct libnvme_captured last;

struct libnvme_captured libnvme_capture_last(void) { return last; }

// Takes the place of the C library's ioctl in the program that links this, and so under libnvme.
int ioctl(int fd, unsigned long request, ...) {
    va_list arguments;
    va_start(arguments, request);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    if (fd != libnvme_capture_fd) return (int)syscall(SYS_ioctl, fd, request, argument);
    switch (request) {
    case NVME_IOCTL_ADMIN_CMD:
    case NVME_IOCTL_IO_CMD:
    case NVME_IOCTL_ADMIN64_CMD:
    case NVME_IOCTL_IO64_CMD:
        break;
    default:
        return -1;
    }
    // The two kinds of command are alike but for the result at their end.
    const struct nvme_passthru_cmd *command = argument;
    last = (struct libnvme_captured){
        .is_admin = request == NVME_IOCTL_ADMIN_CMD || request == NVME_IOCTL_ADMIN64_CMD,
        .opcode = command->opcode,
        .nsid = command->nsid,
        .cdw2 = command->cdw2,
        .cdw3 = command->cdw3,
        .cdw10 = command->cdw10,
        .cdw11 = command->cdw11,
        .cdw12 = command->cdw12,
        .cdw13 = command->cdw13,
        .cdw14 = command->cdw14,
        .cdw15 = command->cdw15,
        .data_length = command->data_len,
    };
    if ((command->opcode & 3) == 1 && command->addr != 0) {
        size_t length = command->data_len < sizeof last.data ? command->data_len : sizeof last.data;
        memcpy(last.data, (const void *)(uintptr_t)command->addr, length);
    }
    return 0;
}
