/* SPDX-License-Identifier: MIT */
/* control.c - the calls of include/reclaim/reclaim.h. */
#include "control.h"

#include "boot.h"
#include "gate.h"
#include "purge.h"
#include "thread.h"

#include "reclaim/reclaim.h"

#ifndef PACKAGE_VERSION
#define PACKAGE_VERSION "0.0.0"
#endif

size_t rcl_control_purge(void)
{
    struct rcl_tls *self = &rcl_tls;
    if (!rcl_boot())
        return 0;
    rcl_gate_enter_patient(&self->gate);
    size_t bytes = rcl_purge_all(self);
    rcl_gate_leave(&self->gate);
    return bytes;
}

RCL_EXPORT const char *reclaim_version(void)
{
    return PACKAGE_VERSION;
}

RCL_EXPORT size_t reclaim_purge(void)
{
    return rcl_control_purge();
}
