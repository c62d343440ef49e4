/* SPDX-License-Identifier: MIT */
/*
 * list.h - intrusive doubly linked ring with a head node.
 *
 * A node that is on no list points to itself; rcl_list_init() makes it so, and
 * removal restores it, so rcl_list_linked() always tells the truth.
 */
#ifndef RCL_LIST_H
#define RCL_LIST_H

#include "base.h"

struct rcl_list {
    struct rcl_list *next;
    struct rcl_list *prev;
};

/* A plain store, but whether a list is empty may be asked without its lock. */
static inline void rcl_list_set_next(struct rcl_list *n, struct rcl_list *next)
{
    __atomic_store_n(&n->next, next, __ATOMIC_RELAXED);
}

static inline void rcl_list_init(struct rcl_list *n)
{
    rcl_list_set_next(n, n);
    n->prev = n;
}

static inline bool rcl_list_empty(const struct rcl_list *head)
{
    return head->next == head;
}

static inline bool rcl_list_linked(const struct rcl_list *n)
{
    return n->next != n;
}

/* Put `n` (on no list) directly behind `at`: at = head makes it the first. */
static inline void rcl_list_push_front(struct rcl_list *at, struct rcl_list *n)
{
    rcl_list_set_next(n, at->next);
    n->prev = at;
    at->next->prev = n;
    rcl_list_set_next(at, n);
}

static inline void rcl_list_push_back(struct rcl_list *head, struct rcl_list *n)
{
    rcl_list_push_front(head->prev, n);
}

static inline void rcl_list_remove(struct rcl_list *n)
{
    rcl_list_set_next(n->prev, n->next);
    n->next->prev = n->prev;
    rcl_list_init(n);
}

/* Take the first node off the list, or NULL. */
static inline struct rcl_list *rcl_list_pop_front(struct rcl_list *head)
{
    struct rcl_list *n = head->next;
    if (n == head)
        return NULL;
    rcl_list_remove(n);
    return n;
}

#endif
