/* SPDX-License-Identifier: MIT */
/* keep.c - see keep.h. */
#include "keep.h"

#include "die.h"

static struct rcl_huge *of(struct rcl_list *n)
{
    return container_of(n, struct rcl_huge, link);
}

void rcl_keep_init(struct rcl_keep *k)
{
    rcl_list_init(&k->list);
    k->blocks = k->bytes = 0;
}

static void widen(struct rcl_keep *k, struct rcl_huge *h, char *base, size_t more)
{
    h->base = base;
    h->bytes += more;
    k->bytes += more;
}

void rcl_keep_put(struct rcl_keep *k, struct rcl_huge *h, struct rcl_list *gone)
{
    struct rcl_huge *before = NULL, *behind = NULL;
    for (struct rcl_list *n = k->list.next; n != &k->list; n = n->next) {
        if (of(n)->kin != h->kin)
            continue;
        if (of(n)->base + of(n)->bytes == h->base)
            before = of(n);
        if (of(n)->base == h->base + h->bytes)
            behind = of(n);
    }
    if (before != NULL) {
        widen(k, before, before->base, h->bytes);
        rcl_list_push_back(gone, &h->link);
        if (behind == NULL)
            return;
        rcl_keep_remove(k, behind);
        widen(k, before, before->base, behind->bytes);
        before->age = (uint8_t)rcl_max(before->age, behind->age);
        rcl_list_push_back(gone, &behind->link);
    } else if (behind != NULL) {
        widen(k, behind, h->base, h->bytes);
        rcl_list_push_back(gone, &h->link);
    } else {
        h->kept = true;
        h->age = 0;
        rcl_list_push_back(&k->list, &h->link);
        k->blocks++;
        k->bytes += h->bytes;
    }
}

void rcl_keep_remove(struct rcl_keep *k, struct rcl_huge *h)
{
    rcl_list_remove(&h->link);
    h->kept = false;
    k->blocks--;
    k->bytes -= h->bytes;
}

char *rcl_keep_cut(struct rcl_keep *k, struct rcl_huge *h, size_t bytes)
{
    char *front = h->base;
    rcl_assert(bytes < h->bytes);
    h->base += bytes;
    h->bytes -= bytes;
    k->bytes -= bytes;
    return front;
}

struct rcl_huge *rcl_keep_oldest(struct rcl_keep *k, unsigned age)
{
    for (struct rcl_list *n = k->list.next; n != &k->list; n = n->next)
        if (of(n)->age >= age)
            return of(n);
    return NULL;
}

struct rcl_huge *rcl_keep_smallest(struct rcl_keep *k, size_t bytes, size_t align)
{
    struct rcl_huge *best = NULL;
    for (struct rcl_list *n = k->list.next; n != &k->list; n = n->next) {
        struct rcl_huge *h = of(n);
        if (h->bytes >= bytes && ((uintptr_t)h->base & (align - 1)) == 0 &&
            (best == NULL || h->bytes < best->bytes))
            best = h;
    }
    return best;
}

struct rcl_huge *rcl_keep_largest(struct rcl_keep *k)
{
    struct rcl_huge *best = NULL;
    for (struct rcl_list *n = k->list.next; n != &k->list; n = n->next)
        if (best == NULL || of(n)->bytes > best->bytes)
            best = of(n);
    return best;
}

struct rcl_huge *rcl_keep_at(struct rcl_keep *k, const char *base)
{
    for (struct rcl_list *n = k->list.next; n != &k->list; n = n->next)
        if (of(n)->base == base)
            return of(n);
    return NULL;
}

void rcl_keep_age(struct rcl_keep *k, unsigned most)
{
    for (struct rcl_list *n = k->list.next; n != &k->list; n = n->next)
        of(n)->age = (uint8_t)rcl_min(of(n)->age + 1u, most);
}
