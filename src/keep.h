/* SPDX-License-Identifier: MIT */
/*
 * keep.h - mappings that are free and wait for their next use, the oldest first.
 *
 * What is free side by side is one mapping, whatever blocks it was: a request takes
 * the front of one that is longer, and what it gives back joins what is beside it.
 * The whole is as old as its oldest part, so that nothing stays longer than a window
 * (decay.h), and some of it not so long.  Only kin are joined, for mremap does not move or
 * lengthen two mappings of the kernel's as one.
 *
 * No clock, no system call, no allocation.  Searches are linear: few stand apart.
 * Locking: none; a struct rcl_keep is changed with its owner's lock held.
 */
#ifndef RCL_KEEP_H
#define RCL_KEEP_H

#include "base.h"
#include "list.h"

struct rcl_huge_group;

/* A mapping of ours: a block (huge.h), or kept. */
struct rcl_huge {
    struct rcl_list link;         /* live or kept blocks */
    struct rcl_huge_group *group; /* of a live block's arena, or NULL */
    char *base;
    size_t bytes; /* of the mapping, all of it usable */
    size_t asked; /* by the program */
    uint32_t kin; /* those with the same number are one mapping to the kernel, side by side */
    uint8_t age;  /* decay steps since it was kept */
    bool kept;
    bool unlisted; /* made by rcl_huge_take_unlisted(): on no list, in no count */
};

struct rcl_keep {
    struct rcl_list list; /* oldest first */
    size_t blocks, bytes;
};

void rcl_keep_init(struct rcl_keep *k);

/*
 * Keep h, as one with what is kept beside it.  Descriptors that are needed no more, h or
 * another or both, go on the list `gone`, for the caller to free.
 */
void rcl_keep_put(struct rcl_keep *k, struct rcl_huge *h, struct rcl_list *gone);

/* Keep h no more. */
void rcl_keep_remove(struct rcl_keep *k, struct rcl_huge *h);

/* The first `bytes` (less than it has) are kept no more: where they are. */
char *rcl_keep_cut(struct rcl_keep *k, struct rcl_huge *h, size_t bytes);

/* The first that has been kept for so many steps, the smallest that fits, the largest, the one
 * that begins at an address; or NULL. */
struct rcl_huge *rcl_keep_oldest(struct rcl_keep *k, unsigned age);
struct rcl_huge *rcl_keep_smallest(struct rcl_keep *k, size_t bytes, size_t align);
struct rcl_huge *rcl_keep_largest(struct rcl_keep *k);
struct rcl_huge *rcl_keep_at(struct rcl_keep *k, const char *base);

/* A step is over. */
void rcl_keep_age(struct rcl_keep *k, unsigned most);

#endif
