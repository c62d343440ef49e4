/* SPDX-License-Identifier: MIT */
/* prof_pylayout.c - see prof_pylayout.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "prof_pylayout.h"

#include <dlfcn.h>
#include <string.h>

/* Weak: a fully static program does without. */
extern __typeof__(dlsym) dlsym __attribute__((weak));

enum { FIRST = 9, LAST = 15 };

/* clang-format off */
static const struct rcl_pylayout layouts[LAST - FIRST + 1] = {
    { 9, .ts_top = 24, .ts_thread = 176,
      .fr_code = 32, .fr_previous = 24, .fr_instr = 104, .fr_bytes = 112, .instr_is_int = true,
      .co_bytes = 176, .co_first_line = 40, .co_file = 104, .co_name = 112, .co_table = 120,
      .ascii_text = 48, .other_text = 72},
    {10, .ts_top = 24, .ts_thread = 176,
      .fr_code = 32, .fr_previous = 24, .fr_instr = 96, .fr_bytes = 112, .instr_is_int = true,
      .co_bytes = 176, .co_first_line = 40, .co_file = 104, .co_name = 112, .co_table = 120,
      .ascii_text = 48, .other_text = 72},
    {11, .ts_top = 56, .ts_thread = 152, .has_cframe = true, .cf_frame = 8, .cf_previous = 16,
      .fr_code = 32, .fr_previous = 48, .fr_instr = 56, .fr_bytes = 72,
      .has_entry = true, .fr_entry = 68, .has_owner = true, .fr_owner = 69, .bare_owner = 255,
      .co_bytes = 184, .co_first_line = 72, .co_file = 112, .co_name = 128, .co_table = 136,
      .ascii_text = 48, .other_text = 72},
    {12, .ts_top = 56, .ts_thread = 136, .has_cframe = true, .cf_frame = 0, .cf_previous = 8,
      .fr_code = 0, .fr_previous = 8, .fr_instr = 56, .fr_bytes = 72,
      .has_owner = true, .fr_owner = 70, .bare_owner = 3,
      .co_bytes = 192, .co_first_line = 68, .co_file = 112, .co_name = 128, .co_table = 136,
      .ascii_text = 40, .other_text = 56},
    {13, .ts_top = 72, .ts_thread = 152,
      .fr_code = 0, .fr_previous = 8, .fr_instr = 56, .fr_bytes = 72,
      .has_owner = true, .fr_owner = 70, .bare_owner = 3,
      .co_bytes = 200, .co_first_line = 68, .co_file = 112, .co_name = 128, .co_table = 136,
      .ascii_text = 40, .other_text = 56},
    {14, .ts_top = 72, .ts_thread = 152,
      .fr_code = 0, .fr_previous = 8, .fr_instr = 56, .fr_bytes = 80,
      .has_owner = true, .fr_owner = 74, .bare_owner = 3,
      .co_bytes = 208, .co_first_line = 68, .co_file = 112, .co_name = 128, .co_table = 136,
      .ascii_text = 40, .other_text = 56},
    {15, .ts_top = 72, .ts_thread = 176,
      .fr_code = 0, .fr_previous = 8, .fr_instr = 56, .fr_bytes = 80,
      .has_owner = true, .fr_owner = 74, .bare_owner = 3,
      .co_bytes = 208, .co_first_line = 68, .co_file = 112, .co_name = 128, .co_table = 136,
      .ascii_text = 40, .other_text = 56},
};

/* Places of what is needed in _Py_DebugOffsets, in words. */
static const struct words {
    uint8_t minor, finalizing, ts_top, ts_thread, fr_previous, fr_code, fr_instr, fr_owner;
    uint8_t co_file, co_name, co_table, co_first_line, co_bytes;
} words[] = {
    {13, 4, 23, 24, 29, 30, 31, 33, 35, 37, 38, 39, 43},
    {14, 4, 26, 27, 32, 33, 34, 36, 40, 42, 43, 44, 48},
    {15, 4, 26, 30, 40, 41, 42, 44, 48, 50, 51, 52, 56},
};
/* clang-format on */

enum {
    WORD_VERSION = 1,
    WORD_FREE_THREADED = 2,
    RELEASE = 0xf0, /* of a version: neither alpha, beta nor candidate */
    TYPE_BASICSIZE = 32,
    TYPE_MEMBERS = 240,
    MEMBER_BYTES = 40, /* of a PyMemberDef: name, type, offset, ... */
    MEMBER_OFFSET = 16,
    MEMBERS_MAX = 64,
    FINALIZING_OLD = 16, /* in _PyRuntime: 3.9 and 3.10 */
    FINALIZING = 24,     /* 3.11 and 3.12 */
};

static uintptr_t word_at(uintptr_t address)
{
    return *(const uintptr_t *)address;
}

static uintptr_t symbol(const char *name)
{
    return (uintptr_t)dlsym(RTLD_DEFAULT, name);
}

/* The code object's own description of its fields against ours. */
static bool agrees(const struct rcl_pylayout *l, uintptr_t code_type)
{
    const struct {
        const char *name;
        uint16_t offset;
    } known[] = {
        {"co_filename", l->co_file},
        {l->minor >= 11 ? "co_qualname" : "co_name", l->co_name},
        {"co_firstlineno", l->co_first_line},
        {l->minor >= 10 ? "co_linetable" : "co_lnotab", l->co_table},
    };
    uintptr_t member = word_at(code_type + TYPE_MEMBERS);
    if (word_at(code_type + TYPE_BASICSIZE) != l->co_bytes)
        return false;
    for (unsigned i = 0; member != 0 && i < MEMBERS_MAX; i++, member += MEMBER_BYTES) {
        const char *name = (const char *)word_at(member);
        if (name == NULL)
            break;
        for (size_t k = 0; k < array_len(known); k++)
            if (strcmp(name, known[k].name) == 0 &&
                word_at(member + MEMBER_OFFSET) != known[k].offset)
                return false;
    }
    return true;
}

/* "3.11.2 (main, ...": 11; 0: none of ours. */
static unsigned minor_of(const char *version)
{
    unsigned minor = 0;
    if (version == NULL || version[0] != '3' || version[1] != '.')
        return 0;
    for (const char *at = version + 2; *at >= '0' && *at <= '9' && minor < 100; at++)
        minor = minor * 10 + (unsigned)(*at - '0');
    return minor;
}

static unsigned find_minor(void)
{
    const unsigned long *version = (const unsigned long *)symbol("Py_Version");
    const char *(*get_version)(void) = (const char *(*)(void))symbol("Py_GetVersion");
    if (version != NULL)
        return *version >> 24 == 3 ? (unsigned)(*version >> 16 & 0xff) : 0;
    return get_version != NULL ? minor_of(get_version()) : 0; /* a text in static memory */
}

/* From 3.13 on; NULL: as expected. */
static const char *read_offsets(struct rcl_pyinfo *info, uintptr_t runtime)
{
    struct rcl_pylayout *l = &info->layout;
    const uint64_t *table = (const uint64_t *)runtime;
    const struct words *w = NULL;
    for (size_t i = 0; i < array_len(words); i++)
        if (words[i].minor == l->minor)
            w = &words[i];
    if (w == NULL || memcmp(table, "xdebugpy", 8) != 0 ||
        table[WORD_VERSION] >> 16 != (0x300u | l->minor) ||
        (table[WORD_VERSION] & RELEASE) != RELEASE)
        return "its table of offsets is of another version";
    if (table[WORD_FREE_THREADED] != 0)
        return "it is built without the global lock";
    l->ts_top = (uint16_t)table[w->ts_top];
    l->ts_thread = (uint16_t)table[w->ts_thread];
    l->fr_previous = (uint16_t)table[w->fr_previous];
    l->fr_code = (uint16_t)table[w->fr_code];
    l->fr_instr = (uint16_t)table[w->fr_instr];
    l->fr_owner = (uint16_t)table[w->fr_owner];
    l->co_file = (uint16_t)table[w->co_file];
    l->co_name = (uint16_t)table[w->co_name];
    l->co_table = (uint16_t)table[w->co_table];
    l->co_first_line = (uint16_t)table[w->co_first_line];
    if (table[w->co_bytes] != l->co_bytes || l->fr_owner >= l->fr_bytes ||
        l->fr_instr >= l->fr_bytes || l->fr_previous >= l->fr_bytes || l->fr_code >= l->fr_bytes)
        return "its structures are not as expected";
    info->finalizing = (const uintptr_t *)(runtime + table[w->finalizing]);
    return NULL;
}

static const char *find_layout(struct rcl_pyinfo *info)
{
    if (dlsym == NULL)
        return "";
    unsigned minor = find_minor();
    if (minor == 0)
        return "";
    if (minor < FIRST || minor > LAST)
        return "this version is not known";
    info->layout = layouts[minor - FIRST];
    uintptr_t runtime = symbol("_PyRuntime"), holder = symbol("PyThreadState_GetUnchecked");
    if (holder == 0)
        holder = symbol("_PyThreadState_UncheckedGet");
    info->code_type = symbol("PyCode_Type");
    info->str_type = symbol("PyUnicode_Type");
    info->bytes_type = symbol("PyBytes_Type");
    info->bound = (void *(*)(void))symbol("PyGILState_GetThisThreadState");
    info->holder = (void *(*)(void))holder;
    if (runtime == 0 || info->code_type == 0 || info->str_type == 0 || info->bytes_type == 0 ||
        info->bound == NULL || info->holder == NULL)
        return "it exports too little";
    info->finalizing = (const uintptr_t *)(runtime + (minor <= 10 ? FINALIZING_OLD : FINALIZING));
    const char *why_not = minor >= 13 ? read_offsets(info, runtime) : NULL;
    if (why_not != NULL)
        return why_not;
    return agrees(&info->layout, info->code_type) ? NULL : "its code objects are not as expected";
}

void rcl_python_find(struct rcl_pyinfo *info)
{
    *info = (struct rcl_pyinfo){0};
    info->why_not = find_layout(info);
}
