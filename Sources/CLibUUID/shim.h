// libuuid of util-linux: name-based UUIDs.
#ifndef TERCET_CLIBUUID_SHIM_H
#define TERCET_CLIBUUID_SHIM_H

#include <uuid/uuid.h>

#endif
