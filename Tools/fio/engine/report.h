/* SPDX-License-Identifier: GPL-2.0-only */
/* What the jobs of a run tell whoever watches it: a file of fixed layout, which all of them have mapped. */
#ifndef TERCET_FIO_REPORT_H
#define TERCET_FIO_REPORT_H

#include <stdatomic.h>
#include <stdint.h>

#include "tercet.h"

/* Native byte order; a reader may see one field newer than another. Sources/tercet-fio/RunReport.swift reads it. */
struct report {
    _Atomic uint64_t submitted, completed; /* operations of all jobs */
    _Atomic uint32_t members;              /* of the volume; 0: there is none, or nothing is known yet */
    _Atomic uint32_t state;                /* enum tercet_state */
    struct {
        _Atomic uint32_t state;            /* enum tercet_member_state */
        uint32_t reserved;
        _Atomic uint64_t behind_bytes;
    } member[3];
};
_Static_assert(sizeof(struct report) == 72, "the layout that the reader knows");

/* Maps the file, made longer where it is too short; NULL where that fails, with errno. */
struct report *report_map(const char *path);
void report_unmap(struct report *);

static inline void report_submitted(struct report *report) {
    if (report) atomic_fetch_add_explicit(&report->submitted, 1, memory_order_relaxed);
}

static inline void report_completed(struct report *report, unsigned int count) {
    if (report && count) atomic_fetch_add_explicit(&report->completed, count, memory_order_relaxed);
}

/* Says how the volume's members are. */
void report_status(struct report *, const struct tercet *);

#endif
