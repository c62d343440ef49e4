/* SPDX-License-Identifier: MIT */
/* control.h - requests that both reclaim.h and glibc's names (malloc.c) answer. */
#ifndef RCL_CONTROL_H
#define RCL_CONTROL_H

#include "base.h"

/* Return everything that can be returned, process-wide; bytes given back. */
size_t rcl_control_purge(void);

#endif
