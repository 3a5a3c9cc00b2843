/* SPDX-License-Identifier: GPL-2.0-only */
/* What a job says about its target, in fio's options. */
#ifndef TERCET_FIO_OPTIONS_H
#define TERCET_FIO_OPTIONS_H

#include "fio.h"

struct engine_options {
    void *unused;              /* fio takes an option at offset 0 for none */
    char *transport;
    char *traddr;
    unsigned int trsvcid;
    char *subnqn;
    unsigned int nsid;
    char *volume;
    char *hostnqn;
    unsigned int keep_alive_ms, io_timeout_ms, fast_io_fail_ms, attach_timeout_ms, take_over;
    unsigned int trim_command; /* enum tercet_opcode */
    char *report;
};

extern struct fio_option engine_option_table[];

/* Whether the options name one target in a way that can be opened; else says on fio's log what is wrong. */
bool options_are_sound(const struct engine_options *);

#endif
