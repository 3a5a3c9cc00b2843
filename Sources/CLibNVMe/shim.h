// libnvme for Swift. Structures, enumerations and functions import as they are; what does not is below.

#ifndef TERCET_CLIBNVME_SHIM_H
#define TERCET_CLIBNVME_SHIM_H

#include <libnvme.h>

// Flexible array members and anonymous unions are not imported: where their elements begin.
static const size_t tercet_nvme_ns_id_desc_nid = offsetof(struct nvme_ns_id_desc, nid);
static const size_t tercet_nvme_resv_status_regctl_ds = offsetof(struct nvme_resv_status, regctl_ds);
static const size_t tercet_nvme_resv_status_regctl_eds = offsetof(struct nvme_resv_status, regctl_eds);

#endif
