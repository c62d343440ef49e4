/* SPDX-License-Identifier: MIT */
/* prof_eh.c - see prof_eh.h. */
#include "prof_eh.h"

#if defined(__x86_64__)

#include "meta.h"
#include "os.h"
#include "prof_cfi.h"
#include "prof_object.h"

#include <string.h>

enum {
    VALUES = 8,         /* on the stack of an expression */
    STEP_MAX = 8 << 20, /* the largest frame that is believed: the usual size of a stack */
};

RCL_FOREIGN bool rcl_eh_read(struct rcl_eh_frame *f, uintptr_t address, uintptr_t *word)
{
    uintptr_t page = address & ~((uintptr_t)RCL_GRANULE - 1);
    if (address % sizeof *word != 0 || address < RCL_GRANULE)
        return false;
    if (page != f->page) {
        if (!rcl_os_readable((const void *)address))
            return false;
        f->page = page;
    }
    *word = *(const uintptr_t *)address;
    return true;
}

/* --- expressions -------------------------------------------------------------------------- */

static bool two_values(uint64_t *v, unsigned *n, unsigned op)
{
    if (*n < 2)
        return false;
    uint64_t b = v[--*n], *a = &v[*n - 1];
    switch (op) {
    case 0x1a:
        *a &= b;
        return true;
    case 0x1c:
        *a -= b;
        return true;
    case 0x21:
        *a |= b;
        return true;
    case 0x22:
        *a += b;
        return true;
    case 0x24:
        *a = b < 64 ? *a << b : 0;
        return true;
    case 0x2a:
        *a = (int64_t)*a >= (int64_t)b;
        return true;
    default:
        return false;
    }
}

/* What compilers and libc write: registers, constants, sums, reads.  `v` holds `n` values. */
static bool evaluate(struct rcl_eh_frame *f, const uint8_t *at, uint64_t *v, unsigned n)
{
    struct rcl_cfi_reader r = {at, at + 8, false};
    uint64_t bytes = rcl_cfi_leb(&r, false);
    r.end = r.at + bytes;
    while (!r.bad && r.at < r.end) {
        unsigned op = (unsigned)rcl_cfi_get(&r, 1);
        if (n + 1 > VALUES)
            return false;
        if (op >= 0x70 && op < 0x70 + RCL_CFI_REGISTERS) {
            if ((f->known >> (op - 0x70) & 1) == 0)
                return false;
            v[n++] = f->reg[op - 0x70] + (uint64_t)rcl_cfi_leb(&r, true);
        } else if (op >= 0x30 && op <= 0x4f) {
            v[n++] = op - 0x30;
        } else if (op == 0x06) {
            uintptr_t word;
            if (n == 0 || !rcl_eh_read(f, v[n - 1], &word))
                return false;
            v[n - 1] = word;
        } else if (op >= 0x08 && op <= 0x0f) {
            unsigned size = 1u << ((op - 0x08) / 2);
            v[n++] = op & 1 ? (uint64_t)rcl_cfi_get_signed(&r, size) : rcl_cfi_get(&r, size);
        } else if (op == 0x10 || op == 0x11) {
            v[n++] = rcl_cfi_leb(&r, op == 0x11);
        } else if (op == 0x23) {
            if (n == 0)
                return false;
            v[n - 1] += rcl_cfi_leb(&r, false);
        } else if (!two_values(v, &n, op)) {
            return false;
        }
    }
    if (r.bad || n == 0)
        return false;
    v[0] = v[n - 1];
    return true;
}

/* --- the step ----------------------------------------------------------------------------- */

/* The value of a register in the caller; false: it is not known. */
static bool caller_register(struct rcl_eh_frame *f, const struct rcl_cfi_row *w,
                            const uint8_t *origin, uintptr_t cfa, unsigned reg, uintptr_t *value)
{
    int32_t n = w->n[reg];
    uint64_t v[VALUES] = {cfa};
    switch ((enum rcl_cfi_kind)w->kind[reg]) {
    case RCL_CFI_SAME:
        *value = f->reg[reg];
        return (f->known >> reg & 1) != 0;
    case RCL_CFI_AT_OFFSET:
        return rcl_eh_read(f, cfa + (uintptr_t)n, value);
    case RCL_CFI_IS_OFFSET:
        *value = cfa + (uintptr_t)n;
        return true;
    case RCL_CFI_REGISTER:
        if (n < 0 || n >= RCL_CFI_REGISTERS || (f->known >> n & 1) == 0)
            return false;
        *value = f->reg[n];
        return true;
    case RCL_CFI_AT_EXPRESSION:
        return evaluate(f, origin + n, v, 1) && rcl_eh_read(f, v[0], value);
    case RCL_CFI_IS_EXPRESSION:
        if (!evaluate(f, origin + n, v, 1))
            return false;
        *value = v[0];
        return true;
    case RCL_CFI_LOST:
        break;
    }
    return false;
}

/* What a call leaves alone: rbx, rbp, rsp, r12 to r15. */
#define CALL_SAVED (1u << 3 | 1u << 6 | 1u << 7 | 0xfu << 12)

static enum rcl_eh_step apply(struct rcl_eh_frame *f, const struct rcl_cfi_row *w,
                              const struct rcl_cfi *u)
{
    struct rcl_eh_frame next = {.page = 0, .known = 0};
    uint64_t v[VALUES];
    if (w->cfa_kind == RCL_CFI_IS_EXPRESSION) {
        if (!evaluate(f, u->origin + w->cfa_n, v, 0))
            return RCL_EH_UNKNOWN;
    } else {
        if ((f->known >> w->cfa_register & 1) == 0)
            return RCL_EH_UNKNOWN;
        v[0] = f->reg[w->cfa_register] + (uint64_t)w->cfa_n;
    }
    uintptr_t cfa = v[0], sp = f->reg[RCL_EH_RSP];
    if (!u->signal && cfa - sp - 1 >= STEP_MAX)
        return RCL_EH_UNKNOWN;
    if (w->kind[RCL_EH_PC] == RCL_CFI_LOST)
        return RCL_EH_OUTMOST;
    for (unsigned reg = 0; reg < RCL_CFI_REGISTERS; reg++) {
        if (w->kind[reg] == RCL_CFI_SAME && (CALL_SAVED >> reg & 1) == 0)
            continue; /* whoever was called may have changed it */
        if (caller_register(f, w, u->origin, cfa, reg, &next.reg[reg]))
            next.known |= 1u << reg;
    }
    if (w->kind[RCL_EH_RSP] == RCL_CFI_SAME) {
        next.reg[RCL_EH_RSP] = cfa;
        next.known |= 1u << RCL_EH_RSP;
    }
    if ((next.known >> RCL_EH_PC & 1) == 0)
        return RCL_EH_UNKNOWN;
    next.exact = u->signal;
    next.page = f->page;
    next.object = f->object;
    *f = next;
    return f->reg[RCL_EH_PC] == 0 ? RCL_EH_OUTMOST : RCL_EH_CALLER;
}

/* --- what is kept ------------------------------------------------------------------------- */

/* Call-saved registers but rsp, in the order of `saved`. */
static const uint8_t kept_registers[] = {RCL_EH_RBX,     RCL_EH_RBP,     RCL_EH_R12,
                                         RCL_EH_R12 + 1, RCL_EH_R12 + 2, RCL_EH_R12 + 3};
enum { KEPT_REGISTERS = (int)sizeof kept_registers, LG_KEPT_ROWS = 10 };
#define NOT_SAVED INT16_MIN

struct kept_row {
    uintptr_t pc;
    const struct rcl_cfi_header *header;
    uint32_t count, index; /* of the header; in it */
    struct rcl_cfi_entry entry;
    int32_t cfa_n;
    int16_t saved[KEPT_REGISTERS]; /* in words from the CFA */
    uint8_t cfa_register;
};

enum { ROW_WORDS = (int)(sizeof(struct kept_row) / sizeof(uint64_t)) };
_Static_assert(sizeof(struct kept_row) % sizeof(uint64_t) == 0, "whole words");

/* What was read between two equal `changes` belongs together. */
struct kept_rows {
    uint32_t changes; /* odd: being written */
    uint64_t word[ROW_WORDS];
} RCL_ALIGNED(RCL_CACHELINE);

static struct kept_rows *kept_rows;

static struct kept_rows *kept_at(uintptr_t pc)
{
    return &kept_rows[pc * 0x9e3779b97f4a7c15u >> (64 - LG_KEPT_ROWS)];
}

/* False: somebody writes. */
static bool copy_kept(struct kept_rows *k, struct kept_row *row)
{
    uint64_t word[ROW_WORDS];
    uint32_t changes = __atomic_load_n(&k->changes, __ATOMIC_ACQUIRE);
    for (unsigned i = 0; i < ROW_WORDS; i++)
        word[i] = __atomic_load_n(&k->word[i], __ATOMIC_ACQUIRE);
    memcpy(row, word, sizeof *row);
    return (changes & 1) == 0 && __atomic_load_n(&k->changes, __ATOMIC_RELAXED) == changes;
}

RCL_FOREIGN static bool recall_kept(uintptr_t pc, const struct rcl_cfi_header *h,
                                    struct kept_row *row)
{
    return copy_kept(kept_at(pc), row) && row->pc == pc && row->header == h &&
           row->count == h->count && memcmp(&row->entry, &h->entry[row->index], 8) == 0;
}

/* Only what is offsets and no more; the return address just below the CFA. */
static bool is_plain_row(const struct rcl_cfi_row *w, struct kept_row *row)
{
    unsigned plain = 1;
    if (w->cfa_kind != RCL_CFI_REGISTER || w->kind[RCL_EH_PC] != RCL_CFI_AT_OFFSET ||
        w->n[RCL_EH_PC] != -8)
        return false;
    for (unsigned reg = 0; reg < RCL_EH_PC; reg++)
        plain += w->kind[reg] == RCL_CFI_SAME;
    for (unsigned i = 0; i < KEPT_REGISTERS; i++) {
        unsigned reg = kept_registers[i];
        int32_t n = w->n[reg] / 8;
        row->saved[i] = NOT_SAVED;
        if (w->kind[reg] == RCL_CFI_SAME)
            continue;
        if (w->kind[reg] != RCL_CFI_AT_OFFSET || w->n[reg] % 8 != 0 || n <= NOT_SAVED ||
            n > INT16_MAX)
            return false;
        row->saved[i] = (int16_t)n;
        plain++;
    }
    row->cfa_register = w->cfa_register;
    row->cfa_n = w->cfa_n;
    return plain == RCL_CFI_REGISTERS;
}

RCL_FOREIGN static void keep_row(uintptr_t pc, const struct rcl_cfi_header *h, uint32_t index,
                                 const struct rcl_cfi_row *w)
{
    struct kept_row row = {.pc = pc, .header = h, .count = h->count, .index = index};
    struct kept_rows *k = kept_at(pc);
    uint32_t changes = __atomic_load_n(&k->changes, __ATOMIC_RELAXED);
    row.entry = h->entry[index];
    if (!is_plain_row(w, &row) || (changes & 1) != 0 ||
        !__atomic_compare_exchange_n(&k->changes, &changes, changes + 1, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_RELAXED))
        return;
    uint64_t word[ROW_WORDS];
    memcpy(word, &row, sizeof row);
    for (unsigned i = 0; i < ROW_WORDS; i++)
        __atomic_store_n(&k->word[i], word[i], __ATOMIC_RELEASE);
    __atomic_store_n(&k->changes, changes + 2, __ATOMIC_RELEASE);
}

/* apply() for a row that was kept. */
static enum rcl_eh_step apply_kept(struct rcl_eh_frame *f, const struct kept_row *row)
{
    uintptr_t value[KEPT_REGISTERS], pc;
    uint32_t known = 1u << RCL_EH_RSP | 1u << RCL_EH_PC;
    uintptr_t cfa = f->reg[row->cfa_register] + (uintptr_t)row->cfa_n;
    if ((f->known >> row->cfa_register & 1) == 0 || cfa - f->reg[RCL_EH_RSP] - 1 >= STEP_MAX ||
        !rcl_eh_read(f, cfa - sizeof pc, &pc))
        return RCL_EH_UNKNOWN;
    for (unsigned i = 0; i < KEPT_REGISTERS; i++) {
        unsigned reg = kept_registers[i];
        value[i] = f->reg[reg];
        bool is_known = row->saved[i] == NOT_SAVED
                            ? (f->known >> reg & 1) != 0
                            : rcl_eh_read(f, cfa + (uintptr_t)row->saved[i] * 8, &value[i]);
        known |= (uint32_t)is_known << reg;
    }
    for (unsigned i = 0; i < KEPT_REGISTERS; i++)
        f->reg[kept_registers[i]] = value[i];
    f->reg[RCL_EH_RSP] = cfa;
    f->reg[RCL_EH_PC] = pc;
    f->known = known;
    f->exact = false;
    return pc == 0 ? RCL_EH_OUTMOST : RCL_EH_CALLER;
}

/* What the walk has come through is on the stack, so it is not unloaded before its end. */
static bool enter_object(struct rcl_eh_object *o, uintptr_t pc)
{
    struct rcl_object found;
    if (pc - o->start >= o->end - o->start) {
        *o = (struct rcl_eh_object){.number = 0};
        if (!rcl_object_find(pc, &found))
            return false;
        *o = (struct rcl_eh_object){.start = (uintptr_t)found.start,
                                    .end = (uintptr_t)found.end,
                                    .hdr = found.hdr,
                                    .number = rcl_object_number(&found)};
    }
    return o->hdr != NULL;
}

enum rcl_eh_step rcl_eh_step(struct rcl_eh_frame *f)
{
    struct kept_row row;
    struct rcl_cfi u;
    struct rcl_cfi_row w;
    uint32_t index;
    /* The call may be its function's last instruction, and the address behind it another's. */
    uintptr_t pc = f->reg[RCL_EH_PC] - !f->exact;
    if (!rcl_eh_ready() || !enter_object(&f->object, pc))
        return RCL_EH_UNKNOWN;
    const struct rcl_cfi_header *h = (const struct rcl_cfi_header *)f->object.hdr;
    if (recall_kept(pc, h, &row))
        return apply_kept(f, &row);
    if (!rcl_cfi_find(h, pc, &index) ||
        !rcl_cfi_read(&u, f->object.hdr + h->entry[index].fde, pc) || !rcl_cfi_row(&w, &u, pc))
        return RCL_EH_UNKNOWN;
    if (!u.signal)
        keep_row(pc, h, index, &w);
    return apply(f, &w, &u);
}

void rcl_eh_boot(void)
{
    rcl_object_boot();
    if (kept_rows == NULL && rcl_object_ready())
        kept_rows = rcl_meta_table(sizeof *kept_rows << LG_KEPT_ROWS, "libreclaim stacks");
}

bool rcl_eh_ready(void)
{
    return kept_rows != NULL;
}

#else

void rcl_eh_boot(void)
{
}

bool rcl_eh_ready(void)
{
    return false;
}

enum rcl_eh_step rcl_eh_step(struct rcl_eh_frame *f)
{
    (void)f;
    return RCL_EH_UNKNOWN;
}

bool rcl_eh_read(struct rcl_eh_frame *f, uintptr_t address, uintptr_t *word)
{
    (void)f;
    (void)address;
    (void)word;
    return false;
}

#endif
