/* SPDX-License-Identifier: MIT */
/* prof_pyline.c - see prof_pyline.h. */
#include "prof_pyline.h"

enum {
    /* 3.11: the first byte of an entry is 1kkkklll: kind, and length less one. */
    ENTRY = 0x80,
    KIND_ONE_LINE_FIRST = 10, /* 10, 11, 12: so many lines less ten further on */
    KIND_NO_COLUMNS = 13,     /* a signed number follows: lines further on */
    KIND_LONG = 14,           /* the same, then columns */
    KIND_NO_LINE = 15,
    /* 3.10 */
    NO_LINE = -128,
};

/* Groups of six bits, lowest first; bit 6: more follow.  The lowest bit is the sign. */
static int signed_number(const uint8_t *at, const uint8_t *end)
{
    uint32_t n = 0;
    for (unsigned shift = 0; at < end && shift < 30; shift += 6) {
        uint8_t byte = *at++;
        n |= (uint32_t)(byte & 63) << shift;
        if ((byte & 64) == 0)
            break;
    }
    return (n & 1) != 0 ? -(int)(n >> 1) : (int)(n >> 1);
}

static int line_of_locations(int line, const uint8_t *at, const uint8_t *end, int instruction)
{
    for (int reached = 0; at < end;) {
        int kind = (*at >> 3) & 15;
        reached += (*at & 7) + 1;
        if (kind == KIND_NO_COLUMNS || kind == KIND_LONG)
            line += signed_number(at + 1, end);
        else if (kind >= KIND_ONE_LINE_FIRST && kind < KIND_NO_COLUMNS)
            line += kind - KIND_ONE_LINE_FIRST;
        if (instruction < reached)
            return kind == KIND_NO_LINE ? 0 : line;
        do {
            at++;
        } while (at < end && (*at & ENTRY) == 0);
    }
    return 0;
}

/* Pairs: bytes of code, lines further on. */
static int line_of_ranges(int line, const uint8_t *at, const uint8_t *end, int instruction)
{
    int reached = 0;
    for (; end - at >= 2; at += 2) {
        int step = (int8_t)at[1];
        if (step != NO_LINE)
            line += step;
        reached += at[0];
        if (instruction * 2 < reached)
            return step == NO_LINE ? 0 : line;
    }
    return line;
}

static int line_of_steps(int line, const uint8_t *at, const uint8_t *end, int instruction)
{
    int reached = 0;
    for (; end - at >= 2; at += 2) {
        reached += at[0];
        if (reached > instruction)
            break;
        line += (int8_t)at[1];
    }
    return line;
}

int rcl_python_line(unsigned minor, int first_line, const uint8_t *table, size_t bytes,
                    int instruction)
{
    const uint8_t *end = table + bytes;
    int line;
    if (instruction < 0)
        return first_line;
    if (minor >= 11)
        line = line_of_locations(first_line, table, end, instruction);
    else if (minor == 10)
        line = line_of_ranges(first_line, table, end, instruction);
    else
        line = line_of_steps(first_line, table, end, instruction);
    return line > 0 ? line : 0;
}
