/* SPDX-License-Identifier: MIT */
/* prof_cfi.c - see prof_cfi.h. */
#include "prof_cfi.h"

#include <string.h>

enum { REMEMBERED = 4 }; /* rows on the stack of a program; compilers use one */

/* --- reading DWARF ------------------------------------------------------------------------ */

RCL_FOREIGN uint64_t rcl_cfi_get(struct rcl_cfi_reader *r, unsigned bytes)
{
    uint64_t n = 0;
    if (r->bad || (size_t)(r->end - r->at) < bytes) {
        r->bad = true;
        return 0;
    }
    for (unsigned i = 0; i < bytes; i++)
        n |= (uint64_t)r->at[i] << (8 * i);
    r->at += bytes;
    return n;
}

int64_t rcl_cfi_get_signed(struct rcl_cfi_reader *r, unsigned bytes)
{
    unsigned shift = 64 - 8 * bytes;
    return (int64_t)(rcl_cfi_get(r, bytes) << shift) >> shift;
}

uint64_t rcl_cfi_leb(struct rcl_cfi_reader *r, bool is_signed)
{
    uint64_t n = 0, byte;
    unsigned shift = 0;
    do {
        byte = rcl_cfi_get(r, 1);
        if (shift < 64)
            n |= (byte & 0x7f) << shift;
        shift += 7;
    } while ((byte & 0x80) != 0 && !r->bad);
    if (is_signed && shift < 64 && (byte & 0x40) != 0)
        n |= ~(uint64_t)0 << shift;
    return n;
}

static uint64_t cfi_get_number(struct rcl_cfi_reader *r)
{
    return rcl_cfi_leb(r, false);
}

static int64_t cfi_get_offset(struct rcl_cfi_reader *r)
{
    return (int64_t)rcl_cfi_leb(r, true);
}

/* An offset from `n` units, which may be anything: a product too large is that modulo 2^64. */
static int64_t cfi_offset_of(const struct rcl_cfi *u, uint64_t n)
{
    return (int64_t)(n * (uint64_t)u->data_unit);
}

static void cfi_skip(struct rcl_cfi_reader *r, uint64_t bytes)
{
    if (r->bad || (uint64_t)(r->end - r->at) < bytes)
        r->bad = true;
    else
        r->at += bytes;
}

/* How pointers are written. */
enum { ENC_FORMAT = 0x0f, ENC_BASE = 0x70, ENC_PC = 0x10, ENC_NONE = 0xff };

static uintptr_t cfi_get_pointer(struct rcl_cfi_reader *r, unsigned encoding)
{
    uintptr_t base = (encoding & ENC_BASE) == ENC_PC ? (uintptr_t)r->at : 0;
    if ((encoding & ENC_BASE) != ENC_PC && (encoding & ENC_BASE) != 0)
        r->bad = true;
    switch (encoding & ENC_FORMAT) {
    case 0x00: /* a word */
    case 0x04:
    case 0x0c:
        return base + (uintptr_t)rcl_cfi_get(r, 8);
    case 0x01:
        return base + (uintptr_t)cfi_get_number(r);
    case 0x09:
        return base + (uintptr_t)cfi_get_offset(r);
    case 0x02:
        return base + (uintptr_t)rcl_cfi_get(r, 2);
    case 0x0a:
        return base + (uintptr_t)rcl_cfi_get_signed(r, 2);
    case 0x03:
        return base + (uintptr_t)rcl_cfi_get(r, 4);
    case 0x0b:
        return base + (uintptr_t)rcl_cfi_get_signed(r, 4);
    default:
        r->bad = true;
        return 0;
    }
}

/* A record of .eh_frame from its length on: what is in it; `bad`: none, or of the 64-bit kind. */
static struct rcl_cfi_reader cfi_record(const uint8_t *at)
{
    struct rcl_cfi_reader r = {.at = at, .end = at + 4};
    uint64_t length = rcl_cfi_get(&r, 4);
    r.bad = length == 0 || length == UINT32_MAX;
    r.end = r.at + length;
    return r;
}

/* --- finding the rules -------------------------------------------------------------------- */

/* What follows the letters: true: understood. */
static void cfi_read_augmentation(struct rcl_cfi *u, struct rcl_cfi_reader *r, const char *letters)
{
    uint64_t bytes = cfi_get_number(r);
    struct rcl_cfi_reader data = *r;
    cfi_skip(r, bytes);
    data.end = r->at;
    for (; *letters != '\0'; letters++) {
        if (*letters == 'R')
            u->encoding = (unsigned)rcl_cfi_get(&data, 1);
        else if (*letters == 'L')
            cfi_skip(&data, 1);
        else if (*letters == 'P')
            cfi_get_pointer(&data, (unsigned)rcl_cfi_get(&data, 1) & ENC_FORMAT);
        else if (*letters == 'S')
            u->signal = true;
        else
            break; /* what comes behind it may be told by nobody */
    }
    r->bad = r->bad || data.bad;
}

static bool cfi_read_common(struct rcl_cfi *u, const uint8_t *cie, bool *augmented)
{
    struct rcl_cfi_reader r = cfi_record(cie);
    if (rcl_cfi_get(&r, 4) != 0) /* only a CIE has that */
        return false;
    uint64_t version = rcl_cfi_get(&r, 1);
    const char *letters = (const char *)r.at;
    while (rcl_cfi_get(&r, 1) != 0) {}
    u->code_unit = cfi_get_number(&r);
    u->data_unit = cfi_get_offset(&r);
    uint64_t pc_column = version == 1 ? rcl_cfi_get(&r, 1) : cfi_get_number(&r);
    *augmented = !r.bad && letters[0] == 'z';
    if (*augmented)
        cfi_read_augmentation(u, &r, letters + 1);
    u->common = r;
    return !r.bad && (version == 1 || version == 3) && pc_column == RCL_CFI_PC &&
           (*augmented || letters[0] == '\0');
}

/* False: they are not for this pc, or not understood. */
bool rcl_cfi_read(struct rcl_cfi *u, const uint8_t *fde, uintptr_t pc)
{
    struct rcl_cfi_reader r = cfi_record(fde);
    const uint8_t *here = r.at, *cie = here - (uint32_t)rcl_cfi_get(&r, 4);
    bool augmented;
    *u = (struct rcl_cfi){.origin = cie};
    if (r.bad || cie == here || !cfi_read_common(u, cie, &augmented))
        return false;
    u->start = cfi_get_pointer(&r, u->encoding);
    uintptr_t bytes = cfi_get_pointer(&r, u->encoding & ENC_FORMAT);
    if (augmented)
        cfi_skip(&r, cfi_get_number(&r));
    u->own = r;
    return !r.bad && pc - u->start < bytes;
}

enum { COUNT_ENCODING = 0x03, TABLE_ENCODING = 0x3b };

/* The last function that begins at or before `pc`. */
RCL_FOREIGN bool rcl_cfi_find(const struct rcl_cfi_header *h, uintptr_t pc, uint32_t *index)
{
    int64_t at = (int64_t)(pc - (uintptr_t)h);
    if (h->version != 1 || h->count_encoding != COUNT_ENCODING ||
        h->table_encoding != TABLE_ENCODING || h->count == 0 || at < h->entry[0].start)
        return false;
    uint32_t low = 0, high = h->count;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (h->entry[middle].start <= at)
            low = middle;
        else
            high = middle;
    }
    *index = low;
    return true;
}

/* --- running them ------------------------------------------------------------------------- */

struct cfi_run {
    const struct rcl_cfi *rules;
    uintptr_t at, pc; /* the place that the row is for; where it has to come to */
    struct rcl_cfi_row row, initial, remembered[REMEMBERED];
    unsigned depth;
};

static void cfi_set_rule(struct cfi_run *x, uint64_t reg, enum rcl_cfi_kind kind, int64_t n)
{
    if (reg >= RCL_CFI_REGISTERS)
        return; /* vector registers */
    x->row.kind[reg] = (uint8_t)kind;
    x->row.n[reg] = (int32_t)n;
}

static void cfi_set_cfa(struct cfi_run *x, uint64_t reg, int64_t n)
{
    x->row.cfa_kind = RCL_CFI_REGISTER;
    x->row.cfa_register = (uint8_t)(reg < RCL_CFI_REGISTERS ? reg : RCL_CFI_PC);
    x->row.cfa_n = (int32_t)n;
}

static void cfi_restore_rule(struct cfi_run *x, uint64_t reg)
{
    if (reg < RCL_CFI_REGISTERS)
        cfi_set_rule(x, reg, (enum rcl_cfi_kind)x->initial.kind[reg], x->initial.n[reg]);
}

static int64_t cfi_expression(struct cfi_run *x, struct rcl_cfi_reader *r)
{
    int64_t at = r->at - x->rules->origin;
    cfi_skip(r, cfi_get_number(r));
    return at;
}

static void cfi_remember_row(struct cfi_run *x, struct rcl_cfi_reader *r)
{
    if (x->depth == REMEMBERED)
        r->bad = true;
    else
        x->remembered[x->depth++] = x->row;
}

static void cfi_recall_row(struct cfi_run *x, struct rcl_cfi_reader *r)
{
    if (x->depth == 0)
        r->bad = true;
    else
        x->row = x->remembered[--x->depth];
}

/* The instructions with their operands in full; DWARF 5, table 7.29, and GNU's three. */
static void cfi_run_long(struct cfi_run *x, struct rcl_cfi_reader *r, unsigned op)
{
    const struct rcl_cfi *u = x->rules;
    uint64_t a = 0;
    if (op >= 0x05 && op <= 0x16 && op != 0x0a && op != 0x0b && op != 0x0f && op != 0x13)
        a = cfi_get_number(r);
    switch (op) {
    case 0x00:
        break;
    case 0x01:
        x->at = cfi_get_pointer(r, u->encoding);
        break;
    case 0x02:
        x->at += rcl_cfi_get(r, 1) * u->code_unit;
        break;
    case 0x03:
        x->at += rcl_cfi_get(r, 2) * u->code_unit;
        break;
    case 0x04:
        x->at += rcl_cfi_get(r, 4) * u->code_unit;
        break;
    case 0x05:
        cfi_set_rule(x, a, RCL_CFI_AT_OFFSET, cfi_offset_of(u, cfi_get_number(r)));
        break;
    case 0x06:
        cfi_restore_rule(x, a);
        break;
    case 0x07:
        cfi_set_rule(x, a, RCL_CFI_LOST, 0);
        break;
    case 0x08:
        cfi_set_rule(x, a, RCL_CFI_SAME, 0);
        break;
    case 0x09:
        cfi_set_rule(x, a, RCL_CFI_REGISTER, (int64_t)cfi_get_number(r));
        break;
    case 0x0a:
        cfi_remember_row(x, r);
        break;
    case 0x0b:
        cfi_recall_row(x, r);
        break;
    case 0x0c:
        cfi_set_cfa(x, a, (int64_t)cfi_get_number(r));
        break;
    case 0x0d:
        x->row.cfa_register = (uint8_t)(a < RCL_CFI_REGISTERS ? a : RCL_CFI_PC);
        break;
    case 0x0e:
        x->row.cfa_n = (int32_t)a;
        break;
    case 0x0f:
        x->row.cfa_kind = RCL_CFI_IS_EXPRESSION;
        x->row.cfa_n = (int32_t)cfi_expression(x, r);
        break;
    case 0x10:
        cfi_set_rule(x, a, RCL_CFI_AT_EXPRESSION, cfi_expression(x, r));
        break;
    case 0x11:
        cfi_set_rule(x, a, RCL_CFI_AT_OFFSET, cfi_offset_of(u, rcl_cfi_leb(r, true)));
        break;
    case 0x12:
        cfi_set_cfa(x, a, cfi_offset_of(u, rcl_cfi_leb(r, true)));
        break;
    case 0x13:
        x->row.cfa_n = (int32_t)cfi_offset_of(u, rcl_cfi_leb(r, true));
        break;
    case 0x14:
        cfi_set_rule(x, a, RCL_CFI_IS_OFFSET, cfi_offset_of(u, cfi_get_number(r)));
        break;
    case 0x15:
        cfi_set_rule(x, a, RCL_CFI_IS_OFFSET, cfi_offset_of(u, rcl_cfi_leb(r, true)));
        break;
    case 0x16:
        cfi_set_rule(x, a, RCL_CFI_IS_EXPRESSION, cfi_expression(x, r));
        break;
    case 0x2e:
        cfi_get_number(r);
        break; /* bytes of arguments: nothing to us */
    default:
        r->bad = true;
    }
}

/* Up to the place of the walk; false: something is not understood. */
static bool cfi_run_all(struct cfi_run *x, struct rcl_cfi_reader r)
{
    while (r.at < r.end && !r.bad && x->at <= x->pc) {
        unsigned op = (unsigned)rcl_cfi_get(&r, 1), operand = op & 0x3f;
        switch (op >> 6) {
        case 0:
            cfi_run_long(x, &r, op);
            break;
        case 1:
            x->at += operand * x->rules->code_unit;
            break;
        case 2:
            cfi_set_rule(x, operand, RCL_CFI_AT_OFFSET,
                         cfi_offset_of(x->rules, cfi_get_number(&r)));
            break;
        default:
            cfi_restore_rule(x, operand);
        }
    }
    return !r.bad;
}

bool rcl_cfi_row(struct rcl_cfi_row *row, const struct rcl_cfi *u, uintptr_t pc)
{
    struct cfi_run x;
    memset(&x, 0, offsetof(struct cfi_run, remembered));
    x.depth = 0;
    x.rules = u;
    x.at = u->start;
    x.pc = pc;
    if (!cfi_run_all(&x, u->common))
        return false;
    x.initial = x.row;
    if (!cfi_run_all(&x, u->own))
        return false;
    *row = x.row;
    return true;
}
