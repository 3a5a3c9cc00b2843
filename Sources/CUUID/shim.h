// libuuid of util-linux: name-based UUIDs.
#ifndef TERCET_CUUID_SHIM_H
#define TERCET_CUUID_SHIM_H

#include <uuid/uuid.h>

#endif
