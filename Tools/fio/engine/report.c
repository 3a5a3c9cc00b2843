// SPDX-License-Identifier: GPL-2.0-only
#include "report.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct report *report_map(const char *path) {
    const int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0) return NULL;
    struct stat status;
    void *memory = MAP_FAILED;
    if (fstat(file, &status) == 0 &&
        (status.st_size >= (off_t)sizeof(struct report) || ftruncate(file, sizeof(struct report)) == 0))
        memory = mmap(NULL, sizeof(struct report), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    return memory == MAP_FAILED ? NULL : memory;
}

void report_unmap(struct report *report) {
    if (report) munmap(report, sizeof *report);
}

void report_status(struct report *report, const struct tercet *handle) {
    struct tercet_status status = {.size = sizeof status};
    if (!report || tercet_get_status(handle, &status) != 0 || status.members != 3) return;
    for (int index = 0; index < 3; index++) {
        atomic_store(&report->member[index].state, status.member[index].state);
        atomic_store(&report->member[index].behind_bytes, status.member[index].behind_bytes);
    }
    atomic_store(&report->state, status.state);
    atomic_store(&report->members, status.members);
}
