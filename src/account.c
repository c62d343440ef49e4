/* SPDX-License-Identifier: MIT */
/* account.c - see account.h. */
#include "account.h"

struct rcl_account rcl_account = {.pinned_each = RCL_PINNED_ONE};
