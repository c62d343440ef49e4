/* SPDX-License-Identifier: MIT */
/*
 * sink.h - what is printed into a struct rcl_out of a small buffer, as one string.
 */
#ifndef UNIT_SINK_H
#define UNIT_SINK_H

#include "unit.h"

#include "out.h"

struct unit_text {
    char text[4 * MIB];
    size_t used;
    size_t pieces; /* in which it came */
};

static inline void unit_text_take(void *arg, const char *from, size_t bytes)
{
    struct unit_text *t = arg;

    REQUIRE(t->used + bytes < sizeof t->text);
    memcpy(t->text + t->used, from, bytes);
    t->used += bytes;
    t->text[t->used] = '\0';
    t->pieces++;
}

/* Nothing yet.  What is printed is there once rcl_out_flush() has been called. */
static inline struct rcl_out unit_text_begin(struct unit_text *t, char *buf, size_t size)
{
    t->used = t->pieces = 0;
    t->text[0] = '\0';
    return (struct rcl_out){.buf = buf, .size = size, .sink = unit_text_take, .arg = t};
}

#endif
