/* SPDX-License-Identifier: MIT */
/* prof_python.c - see prof_python.h. */
#include "prof_python.h"

#include "meta.h"
#include "os.h"
#include "prof_maps.h"
#include "prof_pylayout.h"
#include "prof_pyline.h"
#include "prof_stack.h"

#include <pthread.h>
#include <string.h>

enum {
    LOWEST_ADDRESS = 0x10000,
    STEPS_MAX = 4096, /* frames followed, whether kept or not */
    OWNER_MAX = 4,    /* CPython has no others */
    CODE_BYTES = 16 * 1024 * 1024,
    TABLE_BYTES = 1024 * 1024,
    TEXT_MAX = 4096, /* characters of a file or function name that is believed */
    CODES = 1 << 10, /* buckets */
    PLACES = 1 << 13,
    SEEN = 1 << 10,
    PLACES_MAX = 1 << 20,
    FILE_MAX = 1200, /* of what is kept; the rest of RCL_PYTHON_TEXT is for the function's name */
    /* Objects, the same in all versions. */
    OB_REFCNT = 0,
    OB_TYPE = 8,
    OB_SIZE = 16,
    STR_HASH = 24,
    STR_STATE = 32,
    BYTES_TEXT = 32,
};

/* A function: its code object, by content. */
struct code {
    struct code *next;
    uint64_t hash;
    int first_line;
    uint16_t name;  /* offset in text */
    uint16_t bytes; /* of text */
    char text[];    /* file, NUL, function, NUL */
};

/* An instruction of it. */
struct place {
    struct place *next, *older;
    const struct code *code;
    int instruction;
    int line;
    uint32_t id;
};

/* What a code object was found to be, by its address and what it points to. */
enum { KEY_WORDS = 7 };
struct seen {
    uint32_t changes; /* odd: being written */
    uintptr_t key[KEY_WORDS];
    const struct code *code;
};

/* Mapped when an interpreter is found. */
struct python_tables {
    struct code *code[CODES];
    struct place *place[PLACES];
    struct seen seen[SEEN];
};

static struct {
    struct rcl_pyinfo info;
    bool found; /* with release, when `info` is complete and `tables` mapped */
    uintptr_t text, text_end;
    struct python_tables *tables;
    struct place *places;
    uint32_t ids;
} python;

/* --- checked reads ------------------------------------------------------------------------ */

static bool page_readable(struct rcl_python_room *room, uintptr_t a)
{
    uintptr_t page = a / RCL_GRANULE;
    uintptr_t *known = &room->page[(page ^ page >> 8) % RCL_PYTHON_PAGES];
    if (unlikely(a < LOWEST_ADDRESS)) /* page 0 is also what an empty entry says */
        return false;
    if (likely(*known == page))
        return true;
    if (!rcl_os_readable((const void *)(a & ~(uintptr_t)7)))
        return false;
    *known = page;
    return true;
}

static bool range_readable(struct rcl_python_room *room, uintptr_t a, size_t bytes)
{
    if (a + bytes < a)
        return false;
    for (uintptr_t at = a; at < a + bytes; at = (at / RCL_GRANULE + 1) * RCL_GRANULE)
        if (!page_readable(room, at))
            return false;
    return true;
}

/* A pointer to an object of so many bytes. */
static bool object_readable(struct rcl_python_room *room, uintptr_t a, size_t bytes)
{
    return a != 0 && a % sizeof(void *) == 0 && range_readable(room, a, bytes);
}

RCL_FOREIGN static uintptr_t word(uintptr_t a)
{
    return __atomic_load_n((const uintptr_t *)a, __ATOMIC_RELAXED);
}

RCL_FOREIGN static int int_at(uintptr_t a)
{
    return __atomic_load_n((const int *)a, __ATOMIC_RELAXED);
}

/* --- the walk ----------------------------------------------------------------------------- */

static uintptr_t thread_state(struct rcl_python_room *room)
{
    const struct rcl_pyinfo *info = &python.info;
    uintptr_t bound = (uintptr_t)info->bound(), holder = (uintptr_t)info->holder();
    if (holder == 0 || holder == bound)
        return bound;
    if (info->layout.minor >= 12)
        return holder;
    /* To 3.11 that is whoever has the lock: this thread, perhaps, in a subinterpreter. */
    bool own = object_readable(room, holder, info->layout.ts_thread + sizeof(uintptr_t)) &&
               word(holder + info->layout.ts_thread) == (uintptr_t)pthread_self();
    return own ? holder : bound;
}

/* Where the chain begins. */
static bool first_frame(struct rcl_python_room *room, uintptr_t *frame, uintptr_t *cframe)
{
    const struct rcl_pylayout *l = &python.info.layout;
    uintptr_t ts = thread_state(room), ending = word((uintptr_t)python.info.finalizing);
    *cframe = 0;
    /* Another thread takes the runtime down: ours may be freed already. */
    if (ts == 0 || (ending != 0 && ending != ts) || !object_readable(room, ts, l->ts_top + 8))
        return false;
    *frame = word(ts + l->ts_top);
    if (!l->has_cframe)
        return true;
    *cframe = *frame;
    if (!object_readable(room, *cframe, 24))
        return false;
    *frame = word(*cframe + l->cf_frame);
    return true;
}

static int instruction_of(uintptr_t frame, uintptr_t code)
{
    const struct rcl_pylayout *l = &python.info.layout;
    if (l->instr_is_int)
        return int_at(frame + l->fr_instr);
    intptr_t distance = (intptr_t)(word(frame + l->fr_instr) - (code + l->co_bytes));
    return distance >= 0 && distance < CODE_BYTES ? (int)(distance / 2) : -1;
}

/* The frame's code object, as far as it can be told; 0: what is there is none. */
static uintptr_t code_of_frame(struct rcl_python_room *room, uintptr_t frame)
{
    const struct rcl_pylayout *l = &python.info.layout;
    uintptr_t code = word(frame + l->fr_code);
    if (l->minor >= 14)
        code &= ~(uintptr_t)3; /* a tagged reference */
    return object_readable(room, code, l->co_bytes) && word(code + OB_TYPE) == python.info.code_type
               ? code
               : 0;
}

RCL_FOREIGN unsigned rcl_python_walk(struct rcl_python_frame *out, unsigned max,
                                     struct rcl_python_room *room)
{
    const struct rcl_pylayout *l = &python.info.layout;
    uintptr_t frame, cframe, next;
    unsigned n = 0;
    if (!__atomic_load_n(&python.found, __ATOMIC_ACQUIRE))
        return 0;
    if (++room->uses % RCL_PYTHON_USES == 0)
        memset(room->page, 0, sizeof room->page);
    if (!first_frame(room, &frame, &cframe))
        return 0;
    for (unsigned steps = 0; frame != 0 && steps < STEPS_MAX; steps++, frame = next) {
        if (!object_readable(room, frame, l->fr_bytes))
            break;
        next = word(frame + l->fr_previous);
        unsigned owner = l->has_owner ? *(const uint8_t *)(frame + l->fr_owner) : 0;
        if (owner > OWNER_MAX)
            break;
        if (owner >= l->bare_owner && l->has_owner) {
            /* The loop's own entry: it lies on the C stack, in the loop's frame. */
            if (owner == l->bare_owner && n > 0)
                out[n - 1].anchor = frame;
            continue;
        }
        uintptr_t code = code_of_frame(room, frame);
        if (code == 0)
            break;
        if (word(code + OB_REFCNT) == 0)
            continue; /* on its way out */
        if (n == max)
            break;
        out[n++] = (struct rcl_python_frame){.code = code,
                                             .instruction = instruction_of(frame, code)};
        if (l->has_entry && *(const uint8_t *)(frame + l->fr_entry) != 0) {
            out[n - 1].anchor = cframe;
            cframe = object_readable(room, cframe, 24) ? word(cframe + l->cf_previous) : 0;
        }
    }
    return n;
}

/* --- texts -------------------------------------------------------------------------------- */

static char *put_utf8(char *to, uint32_t c)
{
    if (c >= 0xdc80 && c <= 0xdcff) {
        *to++ = (char)(c & 0xff); /* a byte that was no UTF-8: as it was */
    } else if (c < 0x80) {
        *to++ = (char)c;
    } else if (c < 0x800) {
        *to++ = (char)(0xc0 | c >> 6);
        *to++ = (char)(0x80 | (c & 63));
    } else if (c < 0x10000) {
        *to++ = (char)(0xe0 | c >> 12);
        *to++ = (char)(0x80 | (c >> 6 & 63));
        *to++ = (char)(0x80 | (c & 63));
    } else {
        *to++ = (char)(0xf0 | (c >> 18 & 7));
        *to++ = (char)(0x80 | (c >> 12 & 63));
        *to++ = (char)(0x80 | (c >> 6 & 63));
        *to++ = (char)(0x80 | (c & 63));
    }
    return to;
}

/* The text of a str, NUL-terminated, cut to `size`; bytes with the NUL, 0: it is none. */
RCL_FOREIGN static size_t copy_text(struct rcl_python_room *room, uintptr_t str, char *to,
                                    size_t size)
{
    const struct rcl_pylayout *l = &python.info.layout;
    if (!object_readable(room, str, l->other_text) || word(str + OB_TYPE) != python.info.str_type ||
        word(str + OB_REFCNT) == 0)
        return 0;
    uint32_t state = (uint32_t)int_at(str + STR_STATE);
    size_t length = word(str + OB_SIZE), kind = state >> 2 & 7;
    bool compact = (state >> 5 & 1) != 0, ascii = (state >> 6 & 1) != 0;
    uintptr_t text = str + (ascii ? l->ascii_text : l->other_text);
    if (length > TEXT_MAX || !compact || (kind != 1 && kind != 2 && kind != 4) ||
        !range_readable(room, text, length * kind))
        return 0;
    char *at = to;
    for (size_t i = 0; i < length && (size_t)(at - to) + 5 <= size; i++)
        at = put_utf8(at, kind == 1   ? ((const uint8_t *)text)[i]
                          : kind == 2 ? ((const uint16_t *)text)[i]
                                      : ((const uint32_t *)text)[i]);
    *at++ = '\0';
    return (size_t)(at - to);
}

/* The bytes of the line table; NULL: there is none. */
static const uint8_t *line_table(struct rcl_python_room *room, uintptr_t code, size_t *bytes)
{
    uintptr_t table = word(code + python.info.layout.co_table);
    if (!object_readable(room, table, BYTES_TEXT) ||
        word(table + OB_TYPE) != python.info.bytes_type)
        return NULL;
    *bytes = word(table + OB_SIZE);
    return *bytes <= TABLE_BYTES && range_readable(room, table + BYTES_TEXT, *bytes)
               ? (const uint8_t *)(table + BYTES_TEXT)
               : NULL;
}

/* --- the tables --------------------------------------------------------------------------- */

RCL_FOREIGN static uint64_t hash_bytes(uint64_t hash, const void *data, size_t bytes)
{
    const uint8_t *at = data;
    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ at[i]) * 0x100000001b3u;
    return hash;
}

static struct code *find_code(struct code *from, const struct code *end, uint64_t hash,
                              int first_line, const char *text, size_t bytes)
{
    for (struct code *c = from; c != end; c = c->next)
        if (c->hash == hash && c->first_line == first_line && c->bytes == bytes &&
            memcmp(c->text, text, bytes) == 0)
            return c;
    return NULL;
}

/* By content.  NULL: not readable, or no memory. */
static const struct code *code_by_content(struct rcl_python_room *room, uintptr_t object)
{
    const struct rcl_pylayout *l = &python.info.layout;
    int first_line = int_at(object + l->co_first_line);
    char *text = room->text;
    size_t name = copy_text(room, word(object + l->co_file), text, FILE_MAX);
    size_t function = name == 0 ? 0
                                : copy_text(room, word(object + l->co_name), text + name,
                                            RCL_PYTHON_TEXT - name);
    if (function == 0)
        return NULL;
    size_t bytes = name + function, lines = 0;
    const uint8_t *table = line_table(room, object, &lines);
    uint64_t hash = hash_bytes((uint64_t)first_line + 0xcbf29ce484222325u, text, bytes);
    hash = hash_bytes(hash, table, table != NULL ? lines : 0);
    struct code **bucket = &python.tables->code[hash >> 32 & (CODES - 1)];
    struct code *head = __atomic_load_n(bucket, __ATOMIC_ACQUIRE);
    struct code *found = find_code(head, NULL, hash, first_line, text, bytes);
    if (found != NULL)
        return found;
    struct code *c = rcl_meta_alloc(sizeof *c + bytes);
    if (c == NULL)
        return NULL;
    *c = (struct code){.next = head,
                       .hash = hash,
                       .first_line = first_line,
                       .name = (uint16_t)name,
                       .bytes = (uint16_t)bytes};
    memcpy(c->text, text, bytes);
    while (!__atomic_compare_exchange_n(bucket, &c->next, c, false, __ATOMIC_RELEASE,
                                        __ATOMIC_ACQUIRE)) {
        found = find_code(c->next, head, hash, first_line, text, bytes);
        if (found != NULL) {
            rcl_meta_free(c, sizeof *c + bytes);
            return found;
        }
        head = c->next;
    }
    return c;
}

/* What is read in order, and written in order, between two looks at `changes` belongs together. */
static const struct code *recall(struct seen *s, const uintptr_t *key)
{
    uint32_t changes = __atomic_load_n(&s->changes, __ATOMIC_ACQUIRE);
    bool same = (changes & 1) == 0;
    for (unsigned i = 0; i < KEY_WORDS; i++)
        same = same && __atomic_load_n(&s->key[i], __ATOMIC_ACQUIRE) == key[i];
    const struct code *c = __atomic_load_n(&s->code, __ATOMIC_ACQUIRE);
    return same && __atomic_load_n(&s->changes, __ATOMIC_RELAXED) == changes ? c : NULL;
}

static void remember(struct seen *s, const uintptr_t *key, const struct code *c)
{
    uint32_t changes = __atomic_load_n(&s->changes, __ATOMIC_RELAXED);
    if ((changes & 1) != 0 ||
        !__atomic_compare_exchange_n(&s->changes, &changes, changes + 1, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_RELAXED))
        return; /* somebody else writes here: another time */
    for (unsigned i = 0; i < KEY_WORDS; i++)
        __atomic_store_n(&s->key[i], key[i], __ATOMIC_RELEASE);
    __atomic_store_n(&s->code, c, __ATOMIC_RELEASE);
    __atomic_store_n(&s->changes, changes + 2, __ATOMIC_RELEASE);
}

static const struct code *code_of_object(struct rcl_python_room *room, uintptr_t object)
{
    const struct rcl_pylayout *l = &python.info.layout;
    uintptr_t file = word(object + l->co_file), name = word(object + l->co_name);
    if (!object_readable(room, file, STR_STATE) || !object_readable(room, name, STR_STATE))
        return NULL;
    /* The hashes too: all four addresses may have been given to others since. */
    const uintptr_t key[KEY_WORDS] = {object,
                                      file,
                                      name,
                                      word(object + l->co_table),
                                      (uintptr_t)int_at(object + l->co_first_line),
                                      word(file + STR_HASH),
                                      word(name + STR_HASH)};
    struct seen *s = &python.tables->seen[(object >> 4) * 0x9e3779b97f4a7c15u >> 54 & (SEEN - 1)];
    const struct code *c = recall(s, key);
    if (c == NULL) {
        c = code_by_content(room, object);
        if (c != NULL)
            remember(s, key, c);
    }
    return c;
}

static struct place *find_place(struct place *from, const struct place *end,
                                const struct code *code, int instruction)
{
    for (struct place *p = from; p != end; p = p->next)
        if (p->code == code && p->instruction == instruction)
            return p;
    return NULL;
}

static void list_place(struct place *p)
{
    p->older = __atomic_load_n(&python.places, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(&python.places, &p->older, p, true, __ATOMIC_RELEASE,
                                        __ATOMIC_RELAXED)) {}
}

uint64_t rcl_python_number(const struct rcl_python_frame *f, struct rcl_python_room *room)
{
    const struct code *code = code_of_object(room, f->code);
    if (code == NULL)
        return 0;
    uint64_t hash = ((uintptr_t)code >> 6) * 31 + (uint64_t)(uint32_t)f->instruction;
    struct place **bucket = &python.tables->place[hash * 0x9e3779b97f4a7c15u >> 40 & (PLACES - 1)];
    struct place *head = __atomic_load_n(bucket, __ATOMIC_ACQUIRE);
    struct place *found = find_place(head, NULL, code, f->instruction);
    if (found != NULL)
        return RCL_FRAME_MARK | found->id;
    if (__atomic_load_n(&python.ids, __ATOMIC_RELAXED) >= PLACES_MAX)
        return RCL_FRAME_TOO_MANY;
    struct place *p = rcl_meta_alloc(sizeof *p);
    if (p == NULL)
        return 0;
    size_t bytes = 0;
    const uint8_t *table = line_table(room, f->code, &bytes);
    *p = (struct place){.next = head,
                        .code = code,
                        .instruction = f->instruction,
                        .line = rcl_python_line(python.info.layout.minor, code->first_line, table,
                                                bytes, table != NULL ? f->instruction : -1),
                        .id = RCL_FRAME_FIRST +
                              __atomic_fetch_add(&python.ids, 1, __ATOMIC_RELAXED)};
    while (!__atomic_compare_exchange_n(bucket, &p->next, p, false, __ATOMIC_RELEASE,
                                        __ATOMIC_ACQUIRE)) {
        found = find_place(p->next, head, code, f->instruction);
        if (found != NULL) {
            rcl_meta_free(p, sizeof *p);
            return RCL_FRAME_MARK | found->id;
        }
        head = p->next;
    }
    list_place(p);
    return RCL_FRAME_MARK | p->id;
}

/* --- out ---------------------------------------------------------------------------------- */

static void print_text(struct rcl_out *o, const char *text)
{
    for (; *text != '\0'; text++)
        rcl_out_print(o, "%c", (unsigned char)*text < ' ' || *text == 0x7f ? '?' : *text);
}

void rcl_python_print(struct rcl_out *o)
{
    for (struct place *p = __atomic_load_n(&python.places, __ATOMIC_ACQUIRE); p != NULL;
         p = p->older) {
        rcl_out_print(o, "# frame 0x%zx %d ", (size_t)(RCL_FRAME_MARK | p->id), p->line);
        print_text(o, p->code->text + p->code->name);
        rcl_out_print(o, "\t");
        print_text(o, p->code->text);
        rcl_out_print(o, "\n");
    }
}

bool rcl_python_owns(uintptr_t pc)
{
    return pc - python.text < python.text_end - python.text;
}

bool rcl_python_look(void)
{
    if (__atomic_load_n(&python.found, __ATOMIC_ACQUIRE))
        return true;
    rcl_python_find(&python.info);
    if (python.info.why_not != NULL)
        return true;
    rcl_maps_find((uintptr_t)python.info.bound, &python.text, &python.text_end);
    if (python.tables == NULL)
        python.tables = rcl_meta_table(sizeof *python.tables, "libreclaim python");
    __atomic_store_n(&python.found, python.tables != NULL, __ATOMIC_RELEASE);
    return python.tables != NULL;
}
