/* SPDX-License-Identifier: MIT */
/*
 * python.h - as much of a CPython 3.11 as heap profiles look at, in bytes at the right places,
 * and under the names that an interpreter exports.  So walks can be tested with chains that
 * no interpreter makes.
 */
#ifndef PYTHON_H
#define PYTHON_H

#include "unit.h"

#define EXPORT __attribute__((visibility("default")))

/* Objects: words at byte offsets. */
static inline void fake_word(void *object, size_t offset, uintptr_t value)
{
    memcpy((char *)object + offset, &value, sizeof value);
}

static inline void fake_int(void *object, size_t offset, int value)
{
    memcpy((char *)object + offset, &value, sizeof value);
}

extern EXPORT unsigned long Py_Version;
EXPORT unsigned long Py_Version = 0x030b02f0;

extern EXPORT uintptr_t _PyRuntime[512], PyCode_Type[64], PyUnicode_Type[64], PyBytes_Type[64];
EXPORT uintptr_t _PyRuntime[512], PyCode_Type[64], PyUnicode_Type[64], PyBytes_Type[64];

static __thread char fake_state[512]; /* of the thread */
static __thread bool fake_has_state;

EXPORT void *PyGILState_GetThisThreadState(void);
EXPORT void *PyGILState_GetThisThreadState(void)
{
    return fake_has_state ? fake_state : NULL;
}

EXPORT void *_PyThreadState_UncheckedGet(void);
EXPORT void *_PyThreadState_UncheckedGet(void)
{
    return fake_has_state ? fake_state : NULL;
}

enum {
    TS_CFRAME = 56,
    CF_FRAME = 8,
    CF_PREVIOUS = 16,
    FR_CODE = 32,
    FR_PREVIOUS = 48,
    FR_INSTR = 56,
    FR_ENTRY = 68,
    FR_OWNER = 69,
    CO_FIRST_LINE = 72,
    CO_FILE = 112,
    CO_QUALNAME = 128,
    CO_TABLE = 136,
    CO_BYTES = 184,
    STR_TEXT = 48, /* of one in ASCII */
};

/* Zeroed memory for one of them; never given back. */
static inline void *fake_alloc(size_t bytes)
{
    static char memory[4 << 20] RCL_ALIGNED(16);
    static size_t used;
    char *p = memory + used;

    used += rcl_align_up(bytes, 16);
    REQUIRE(used <= sizeof memory);
    return p;
}

/* A str in ASCII. */
static inline void *fake_str(const char *text)
{
    char *s = fake_alloc(STR_TEXT + strlen(text) + 1);

    fake_word(s, 0, 1);
    fake_word(s, 8, (uintptr_t)PyUnicode_Type);
    fake_word(s, 16, strlen(text));
    fake_word(s, 24, 0x1234567 + strlen(text) * 31 + (unsigned char)text[0]);
    fake_int(s, 32, 1 << 2 | 1 << 5 | 1 << 6);
    memcpy(s + STR_TEXT, text, strlen(text));
    return s;
}

/* A function all of whose instructions are on its first line. */
static inline char *fake_code(const char *file, const char *name, int first_line)
{
    char *c = fake_alloc(CO_BYTES + 256), *table = fake_alloc(64);

    fake_word(table, 0, 1);
    fake_word(table, 8, (uintptr_t)PyBytes_Type);
    fake_word(table, 16, 16);
    for (unsigned i = 0; i < 16; i += 2)
        table[32 + i] = (char)(0x80 | 7); /* eight units on the same line */
    fake_word(c, 0, 1);
    fake_word(c, 8, (uintptr_t)PyCode_Type);
    fake_int(c, CO_FIRST_LINE, first_line);
    fake_word(c, CO_FILE, (uintptr_t)fake_str(file));
    fake_word(c, CO_QUALNAME, (uintptr_t)fake_str(name));
    fake_word(c, CO_TABLE, (uintptr_t)table);
    return c;
}

static inline char *fake_frame(const char *code, int instruction, const char *previous, bool entry)
{
    char *f = fake_alloc(96);

    fake_word(f, FR_CODE, (uintptr_t)code);
    fake_word(f, FR_PREVIOUS, (uintptr_t)previous);
    fake_word(f, FR_INSTR, (uintptr_t)code + CO_BYTES + 2 * (uintptr_t)instruction);
    f[FR_ENTRY] = entry;
    return f;
}

/* The thread is in `frame`. */
static inline char *fake_enter(const char *frame)
{
    char *cframe = fake_alloc(32);

    fake_word(cframe, CF_FRAME, (uintptr_t)frame);
    fake_word(fake_state, TS_CFRAME, (uintptr_t)cframe);
    fake_has_state = true;
    return cframe;
}

static const struct fake_member {
    const char *name;
    uintptr_t type, offset, flags, doc;
} fake_members[] = {
    {"co_filename", 0, CO_FILE, 0, 0},
    {"co_qualname", 0, CO_QUALNAME, 0, 0},
    {"co_firstlineno", 0, CO_FIRST_LINE, 0, 0},
    {"co_linetable", 0, CO_TABLE, 0, 0},
    {NULL, 0, 0, 0, 0},
};

/* The interpreter is loaded. */
static inline void fake_start(void)
{
    fake_word(PyCode_Type, 32, CO_BYTES);
    fake_word(PyCode_Type, 240, (uintptr_t)fake_members);
}

#endif
