// SPDX-License-Identifier: GPL-2.0-only
#include "options.h"

#include "optgroup.h"
#include "tercet.h"

#define OPTION(option, kind, text)                                                                                 \
    .name = #option, .lname = "tercet: " #option, .type = kind, .off1 = offsetof(struct engine_options, option), \
    .help = text, .category = FIO_OPT_C_ENGINE, .group = FIO_OPT_G_INVALID

struct fio_option engine_option_table[] = {
    {OPTION(transport, FIO_OPT_STR_STORE, "Transport of the target: rdma"), .def = "rdma"},
    {OPTION(traddr, FIO_OPT_STR_STORE, "Address of the target: IPv4 or IPv6, numeric")},
    {OPTION(trsvcid, FIO_OPT_INT, "Port of the target"), .def = "4420"},
    {OPTION(subnqn, FIO_OPT_STR_STORE, "NQN of the subsystem")},
    {OPTION(nsid, FIO_OPT_INT, "Namespace; 0: the only one"), .def = "0"},
    {OPTION(volume, FIO_OPT_STR_STORE, "A volume: its three members, ADDRESS:PORT/NQN/NSID, separated by commas")},
    {OPTION(hostnqn, FIO_OPT_STR_STORE, "NQN of this host; made up where it is not given")},
    {OPTION(keep_alive_ms, FIO_OPT_INT, "Keep-alive timeout in milliseconds; 0: the library's"), .def = "0"},
    {OPTION(io_timeout_ms, FIO_OPT_INT, "Deadline of an I/O in milliseconds; 0: the library's"), .def = "0"},
    {OPTION(fast_io_fail_ms, FIO_OPT_INT, "I/O of a namespace waits so long for a lost connection; 0: the library's"),
     .def = "0"},
    {OPTION(attach_timeout_ms, FIO_OPT_INT, "A volume that cannot be served within this is an error; 0: the library's"),
     .def = "0"},
    {OPTION(take_over, FIO_OPT_BOOL, "1: a host that has the volume attached is fenced; 0: the job ends instead"), .def = "0"},
    {
        OPTION(trim_command, FIO_OPT_STR, "What a trim sends"),
        .def = "deallocate",
        .posval = {
            {.ival = "deallocate", .oval = TERCET_TRIM, .help = "Dataset Management, Deallocate"},
            {.ival = "write_zeroes", .oval = TERCET_WRITE_ZEROES, .help = "Write Zeroes"},
        },
    },
    {OPTION(report, FIO_OPT_STR_STORE, "File that says how far the run is and how the members are, for tercet-fio")},
    {.name = NULL},
};

bool options_are_sound(const struct engine_options *options) {
    if (strcmp(options->transport, "rdma") != 0)
        log_err("tercet: transport=%s: there is only rdma\n", options->transport);
    else if (options->volume && (options->traddr || options->subnqn))
        log_err("tercet: a job has either volume=, or traddr= and subnqn=\n");
    else if (!options->volume && !(options->traddr && options->subnqn))
        log_err("tercet: no target: give traddr= and subnqn=, or volume=\n");
    else if (options->trsvcid == 0 || options->trsvcid > 65535)
        log_err("tercet: trsvcid=%u is no port\n", options->trsvcid);
    else
        return true;
    return false;
}
