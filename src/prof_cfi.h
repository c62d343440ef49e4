/* SPDX-License-Identifier: MIT */
/*
 * prof_cfi.h - .eh_frame: which rules are for a pc, and what they say there.
 *
 * A function's rules are a CIE (what is true of many functions) and an FDE (its own), each with
 * a small program that changes a row of rules from one pc to the next.
 *
 * Pure: reads the bytes it is given the address of, as compiler and linker have written them.
 */
#ifndef RCL_PROF_CFI_H
#define RCL_PROF_CFI_H

#include "base.h"

enum {
    RCL_CFI_REGISTERS = 17, /* DWARF's numbers of x86-64: rax ... r15, and the return address */
    RCL_CFI_PC = 16,
};

/* A place in the bytes. */
struct rcl_cfi_reader {
    const uint8_t *at, *end;
    bool bad; /* something went past the end, or is of a kind that is not known here */
};
uint64_t rcl_cfi_get(struct rcl_cfi_reader *r, unsigned bytes);
int64_t rcl_cfi_get_signed(struct rcl_cfi_reader *r, unsigned bytes);
uint64_t rcl_cfi_leb(struct rcl_cfi_reader *r, bool is_signed);

/* .eh_frame_hdr as every linker writes it: functions in order of their start. */
struct rcl_cfi_header {
    uint8_t version, frame_encoding, count_encoding, table_encoding;
    int32_t frame;
    uint32_t count;
    struct rcl_cfi_entry {
        int32_t start, fde; /* from the header */
    } entry[];
};

/* The last function that begins at or before `pc`; false: none, or written in another way. */
bool rcl_cfi_find(const struct rcl_cfi_header *h, uintptr_t pc, uint32_t *index);

/* Of one function. */
struct rcl_cfi {
    const uint8_t *origin;             /* expressions are remembered by their distance from here */
    struct rcl_cfi_reader common, own; /* the instructions */
    uintptr_t start;                   /* of the function */
    uint64_t code_unit;
    int64_t data_unit;
    unsigned encoding;
    bool signal; /* it is a trampoline that the kernel has made a handler return to */
};

/* False: they are not for this pc, or not understood. */
bool rcl_cfi_read(struct rcl_cfi *u, const uint8_t *fde, uintptr_t pc);

/*
 * Where the caller's registers are.  The CFA is the caller's stack pointer at the call.  `n`, by
 * kind: bytes from the CFA, a register, an expression.
 */
enum rcl_cfi_kind {
    RCL_CFI_SAME,
    RCL_CFI_LOST,
    RCL_CFI_AT_OFFSET,
    RCL_CFI_IS_OFFSET,
    RCL_CFI_REGISTER,
    RCL_CFI_AT_EXPRESSION,
    RCL_CFI_IS_EXPRESSION,
};

struct rcl_cfi_row {
    uint8_t kind[RCL_CFI_REGISTERS];
    uint8_t cfa_kind; /* REGISTER: cfa_register + cfa_n; or IS_EXPRESSION */
    uint8_t cfa_register;
    int32_t cfa_n;
    int32_t n[RCL_CFI_REGISTERS];
};

/* At `pc`; false: something is not understood. */
bool rcl_cfi_row(struct rcl_cfi_row *row, const struct rcl_cfi *u, uintptr_t pc);

#endif
