/* SPDX-License-Identifier: MIT */
/* prof_dump.c - see prof_dump.h. */
#include "prof_dump.h"

#include "account.h"
#include "die.h"
#include "meta.h"
#include "options.h"
#include "os.h"
#include "out.h"
#include "prof_maps.h"
#include "prof_stack.h"
#include "prof_text.h"

#include <errno.h>
#include <string.h>
#include <sys/auxv.h>

enum {
    PREFIX_MAX = 512, /* prof_prefix is shorter */
    PROGRAM_MAX = 64,
    FOLDER_MAX = 1024,
    NAME_MAX_BYTES = FOLDER_MAX + 768, /* that, prefix, program and all the numbers */
    PATH_MAX_BYTES = 4096,
    SHOWN_MAX = 512, /* of a path in a message */
    KEEP_MAX = 32,
    PATIENCE_S = 5, /* of the end, with a dump that somebody else is writing */
    BUFFER = 16 * 1024,
};

/* A file that the library decided to write. */
struct automatic {
    uint64_t seq; /* 0: empty entry */
    uint64_t live_bytes;
    char path[NAME_MAX_BYTES];
};

/* Mapped when profiling is first switched on, or for the first dump if that comes before. */
struct dump_room {
    char name[NAME_MAX_BYTES];
    char temp[PATH_MAX_BYTES];
    char last[PATH_MAX_BYTES];
    char buffer[BUFFER];
    struct automatic automatic[2 * KEEP_MAX + 1];
};

/* All but the first three belongs to who writes. */
static struct {
    uint32_t writing;
    uint32_t told;  /* the refusals that have been said since the last dump: bits, by text */
    uint32_t ender; /* the thread that ends the process, or 0 */
    bool ended;     /* and nobody else writes any more */
    int parent;
    uint64_t inherited;
    uint64_t seq;
    bool prefix_set;
    char prefix[PREFIX_MAX];
    char program[PROGRAM_MAX];
    char folder[FOLDER_MAX]; /* with a slash; "": wherever the program is */
    struct dump_room *room;
} dump;

static const char *const reason_names[] = {
    [RCL_PROF_MANUAL] = "manual",     [RCL_PROF_FINAL] = "final",
    [RCL_PROF_PEAK] = "peak",         [RCL_PROF_SIGNAL] = "signal",
    [RCL_PROF_INTERVAL] = "interval", [RCL_PROF_GDUMP] = "gdump",
    [RCL_PROF_GROW] = "grow",         [RCL_PROF_AT] = "at",
    [RCL_PROF_FAILURE] = "failure",
};

/* --- the text, into a file ---------------------------------------------------------------- */

struct dump_file {
    int fd;
    int error; /* the first one: nothing is written any more */
};

static void to_dump(void *arg, const char *text, size_t bytes)
{
    struct dump_file *f = arg;
    if (f->error == 0)
        f->error = rcl_os_write(f->fd, text, bytes);
}

/*
 * Without a name, where the file system can do that: of a process that is killed meanwhile nothing
 * is left then.  *name: what it has, or NULL.
 */
static int create(char *temp, int *fd, const char **name)
{
    char *slash = strrchr(temp, '/'), proc[RCL_OS_PROC_BYTES], some[8];
    *name = temp;
    if (rcl_os_read_link(rcl_os_proc(proc, "exe"), some, sizeof some) <= 0)
        return rcl_os_create_new(temp, fd); /* there would be no way to name it */
    if (slash != NULL)
        *slash = '\0';
    if (rcl_os_create_unnamed(slash == NULL ? "." : slash == temp ? "/" : temp, fd) == 0)
        *name = NULL;
    if (slash != NULL)
        *slash = '/';
    return *name != NULL ? rcl_os_create_new(temp, fd) : 0;
}

/* `path`, or `temp` where that is taken; *name: which. */
static int give_name(int fd, const char *temp, const char *path, const char **name)
{
    char self[RCL_OS_PROC_BYTES + 16];
    struct rcl_out o = {.buf = self, .size = sizeof self - 1};
    o.used = strlen(rcl_os_proc(self, "fd/"));
    rcl_out_print(&o, "%d", fd);
    self[o.used] = '\0';
    int error = rcl_os_link(self, path);
    bool taken = error == EEXIST;
    if (taken)
        error = rcl_os_link(self, temp);
    *name = error != 0 ? NULL : taken ? temp : path;
    return error;
}

static int write_profile(char *temp, const char *path, const struct rcl_prof_head *head)
{
    struct dump_file f;
    const char *name;
    f.error = rcl_maps_open();
    if (f.error != 0)
        return f.error;
    f.error = create(temp, &f.fd, &name);
    if (f.error != 0) {
        rcl_maps_close();
        return f.error;
    }
    struct rcl_out o = {.buf = dump.room->buffer, .size = BUFFER, .sink = to_dump, .arg = &f};
    rcl_prof_write(&o, head);
    rcl_out_flush(&o);
    rcl_maps_close();
    if (f.error == 0 && name == NULL)
        f.error = give_name(f.fd, temp, path, &name);
    int closed = rcl_os_close(f.fd);
    if (f.error == 0)
        f.error = closed;
    if (f.error == 0 && name == temp)
        f.error = rcl_os_rename(temp, path);
    if (f.error != 0 && name != NULL)
        rcl_os_unlink(name);
    return f.error;
}

/* --- names -------------------------------------------------------------------------------- */

static bool is_plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.' || c == '+';
}

/*
 * The last part of the path it was started by, which says redis-server where the file that the
 * name leads to is redis-check-rdb, and names the script of an interpreter; fit for a file name.
 */
static void find_program(void)
{
    char proc[RCL_OS_PROC_BYTES], *link = dump.room->temp; /* long enough, and not in use yet */
    const char *path = (const char *)getauxval(AT_EXECFN);
    if (dump.program[0] != '\0')
        return;
    if (path == NULL || path[0] == '\0')
        path = rcl_os_read_link(rcl_os_proc(proc, "exe"), link, PATH_MAX_BYTES) > 0 ? link
                                                                                    : "unknown";
    const char *slash = strrchr(path, '/'), *from = slash != NULL ? slash + 1 : path;
    size_t n = 0;
    for (; from[n] != '\0' && from[n] != ' ' && n < PROGRAM_MAX - 1; n++)
        dump.program[n] = is_plain(from[n]) ? from[n] : '_';
    dump.program[n] = '\0';
}

/*
 * A program that changes its folder goes on writing where it began, and finds there what it has to
 * remove.
 */
static void find_folder(void)
{
    char proc[RCL_OS_PROC_BYTES];
    long n = rcl_os_read_link(rcl_os_proc(proc, "cwd"), dump.folder, FOLDER_MAX - 1);
    bool whole = n > 0 && n < FOLDER_MAX - 2 && dump.folder[0] == '/';
    if (whole && dump.folder[n - 1] != '/')
        dump.folder[n++] = '/';
    dump.folder[whole ? n : 0] = '\0';
}

/* As far as it is counted: caches now and then, pages in steps (account.h). */
static uint64_t live_bytes(void)
{
    int64_t pages = rcl_account_get(&rcl_account.used_pages) << rcl_page_shift();
    int64_t bytes = pages - rcl_account_get(&rcl_account.hole_bytes) -
                    rcl_account_get(&rcl_account.cached_bytes);
    return bytes > 0 ? (uint64_t)bytes : 0;
}

/* By the samples: nobody has counted what was live just then. */
static uint64_t peak_bytes(void)
{
    struct rcl_stacks_total t;
    rcl_stacks_total(&t);
    return t.peak_bytes;
}

static const char *make_name(const struct rcl_prof_head *head)
{
    struct rcl_out o = {.buf = dump.room->name, .size = NAME_MAX_BYTES - 1};
    const char *prefix = rcl_prof_prefix();
    size_t length = strlen(prefix);
    bool folder = length == 0 || prefix[length - 1] == '/';
    rcl_out_print(&o, "%s%s%s%s.%d.", prefix[0] == '/' ? "" : dump.folder, prefix,
                  folder ? "" : ".", head->program, head->pid);
    rcl_prof_print_time(&o, head->time, false);
    rcl_out_print(&o, ".%llu.%llu.%s.heap", (unsigned long long)head->live_bytes,
                  (unsigned long long)dump.seq, head->reason);
    dump.room->name[o.used] = '\0';
    return dump.room->name;
}

const char *rcl_prof_prefix(void)
{
    if (dump.prefix_set)
        return dump.prefix;
    return rcl_opt.prof_prefix[0] != '\0' ? rcl_opt.prof_prefix : "reclaim";
}

/* --- those that are kept ------------------------------------------------------------------ */

/* How many of the others are newer, or larger. */
static size_t rank(const struct automatic *of, bool by_size)
{
    size_t n = 0;
    for (size_t i = 0; i < array_len(dump.room->automatic); i++) {
        const struct automatic *a = &dump.room->automatic[i];
        if (a->seq == 0 || a == of)
            continue;
        n += by_size ? a->live_bytes > of->live_bytes ||
                           (a->live_bytes == of->live_bytes && a->seq > of->seq)
                     : a->seq > of->seq;
    }
    return n;
}

/* A new one is there: remove the one that is neither among the newest nor among the largest. */
static void keep(const char *path, uint64_t bytes)
{
    size_t most = (size_t)rcl_opt.prof_keep;
    struct automatic *free = NULL;
    if (most == 0)
        return;
    for (size_t i = 0; i < array_len(dump.room->automatic) && free == NULL; i++)
        if (dump.room->automatic[i].seq == 0)
            free = &dump.room->automatic[i];
    if (free == NULL)
        return;
    free->seq = dump.seq;
    free->live_bytes = bytes;
    memcpy(free->path, path, strlen(path) + 1);
    for (size_t i = 0; i < array_len(dump.room->automatic); i++) {
        struct automatic *a = &dump.room->automatic[i];
        if (a->seq != 0 && rank(a, false) >= most && rank(a, true) >= most) {
            rcl_os_unlink(a->path);
            a->seq = 0;
        }
    }
}

/* --- dumps -------------------------------------------------------------------------------- */

static const struct {
    int error;
    const char *text;
} refusals[] = {
    {0, "the system refuses"}, /* whatever is not here */
    {ENOENT, "the folder does not exist"},
    {ENOTDIR, "a part of the path is no folder"},
    {EACCES, "permission denied"},
    {EPERM, "not permitted"},
    {EROFS, "the file system is read-only"},
    {ENOSPC, "the disk is full"},
    {EDQUOT, "the disk quota is used up"},
    {EFBIG, "the limit of file sizes is reached"},
    {ENAMETOOLONG, "the name is too long"},
    {EMFILE, "too many files are open in this process"},
    {ENFILE, "too many files are open in this system"},
    {EIO, "the disk fails"},
    {EISDIR, "it is a folder"},
    {ENOMEM, "out of memory"},
    {EBUSY, "another one is being written"},
    {ENXIO, "a link, pipe or device is there, no plain file"},
};

static size_t refusal(int error)
{
    size_t i = array_len(refusals) - 1;
    while (i > 0 && refusals[i].error != error)
        i--;
    return i;
}

static bool is_asked_for(enum rcl_prof_reason why)
{
    return why == RCL_PROF_MANUAL || why == RCL_PROF_SIGNAL;
}

/*
 * Who asks gets an answer.  What the library tries by itself it tries often, and it will be
 * refused as before: that is said once, until a dump has succeeded.
 */
static bool is_news(enum rcl_prof_reason why, int error)
{
    uint32_t bit = (uint32_t)1 << refusal(error);
    _Static_assert(array_len(refusals) <= 32, "a bit for each");
    return is_asked_for(why) || !(__atomic_fetch_or(&dump.told, bit, __ATOMIC_RELAXED) & bit);
}

/* But that two came at once is no news for that: every time one of them succeeds. */
static void forget_refusals(void)
{
    __atomic_fetch_and(&dump.told, (uint32_t)1 << refusal(EBUSY), __ATOMIC_RELAXED);
}

static void tell_refused(enum rcl_prof_reason why, int error, const char *path)
{
    const char *until = is_asked_for(why) ? "" : "; not said again until one is written";
    char shown[SHOWN_MAX];
    if (!is_news(why, error))
        return;
    if (path == NULL) {
        rcl_warn("no heap profile (%s): %s%s", reason_names[why], refusals[refusal(error)].text,
                 error == EBUSY ? "" : until);
        return;
    }
    if (path[0] == '\0') {
        rcl_warn("no heap profile (%s): the name of the file is empty", reason_names[why]);
        return;
    }
    struct rcl_out o = {.buf = shown, .size = sizeof shown - sizeof "..."};
    rcl_out_print(&o, "%s", path);
    memcpy(shown + o.used, "...", sizeof "...");
    if (o.used < o.size)
        shown[o.used] = '\0';
    rcl_warn("no heap profile (%s): cannot write %s: %s (error %d)%s", reason_names[why], shown,
             refusals[refusal(error)].text, error, until);
}

static bool begin_writing(void)
{
    uint32_t no = 0;
    return __atomic_compare_exchange_n(&dump.writing, &no, 1, false, __ATOMIC_ACQUIRE,
                                       __ATOMIC_RELAXED);
}

static void end_writing(void)
{
    __atomic_store_n(&dump.writing, 0, __ATOMIC_RELEASE);
}

/* Then all is its own for good. */
static bool is_ended_by_caller(void)
{
    return unlikely(__atomic_load_n(&dump.ended, __ATOMIC_ACQUIRE)) &&
           __atomic_load_n(&dump.ender, __ATOMIC_RELAXED) == (uint32_t)rcl_os_tid();
}

/* Does another thread end the process?  To be refused then is no news. */
static bool is_ended_by_another(void)
{
    uint32_t ender = __atomic_load_n(&dump.ender, __ATOMIC_RELAXED);
    return unlikely(ender != 0) && ender != (uint32_t)rcl_os_tid();
}

/* Waits for it; false: the process ends, and has it. */
static bool wait_to_write(void)
{
    while (!begin_writing()) {
        if (__atomic_load_n(&dump.ender, __ATOMIC_RELAXED) != 0)
            return false;
        rcl_os_yield();
    }
    return true;
}

static bool have_room(void)
{
    if (dump.room == NULL) {
        dump.room = rcl_meta_table(sizeof *dump.room, "libreclaim dumps");
        if (dump.room != NULL && !dump.prefix_set)
            find_folder();
    }
    return dump.room != NULL && rcl_prof_text_boot();
}

bool rcl_prof_dump_boot(void)
{
    uint64_t signals = rcl_os_block_signals();
    bool mine = wait_to_write(), done = mine ? have_room() : dump.room != NULL;
    if (mine)
        end_writing();
    rcl_os_restore_signals(signals);
    return done;
}

static int write_dump(const char *path, enum rcl_prof_reason why)
{
    if (!have_room()) {
        tell_refused(why, ENOMEM, NULL);
        return ENOMEM;
    }
    find_program();
    dump.seq++;
    struct rcl_prof_head head = {
        .legacy = rcl_opt.prof_legacy != 0,
        .peak = why == RCL_PROF_PEAK,
        .lg = rcl_stacks_lg(),
        .program = dump.program,
        .reason = reason_names[why],
        .pid = rcl_os_pid(),
        .time = rcl_os_wall_s(),
        .live_bytes = why == RCL_PROF_PEAK ? peak_bytes() : live_bytes(),
        .parent = dump.parent,
        .inherited = dump.inherited,
    };
    bool automatic = path == NULL && why >= RCL_PROF_INTERVAL;
    if (path == NULL)
        path = make_name(&head);
    size_t length = strlen(path);
    /* A name nobody else uses, be it another process that writes to the same path. */
    struct rcl_out temp = {.buf = dump.room->temp, .size = PATH_MAX_BYTES - 1};
    rcl_out_print(&temp, "%s.%d-%llu.tmp", path, head.pid, (unsigned long long)rcl_os_now_ns());
    dump.room->temp[temp.used] = '\0';
    int error = temp.used < temp.size ? write_profile(dump.room->temp, path, &head) : ENAMETOOLONG;
    if (error != 0) {
        tell_refused(why, error, path);
        return error;
    }
    forget_refusals();
    memcpy(dump.room->last, path, length + 1);
    if (automatic)
        keep(path, head.live_bytes);
    return 0;
}

int rcl_prof_dump(const char *path, enum rcl_prof_reason why)
{
    uint64_t signals = rcl_os_block_signals();
    int error = EBUSY;
    bool another = is_ended_by_another(), ended = is_ended_by_caller();
    if (ended || (!another && begin_writing())) {
        error = write_dump(path, why);
        if (!ended)
            end_writing();
    } else if (!another) {
        tell_refused(why, EBUSY, NULL);
    }
    rcl_os_restore_signals(signals);
    return error;
}

void rcl_prof_dump_end(void)
{
    uint32_t nobody = 0;
    uint64_t signals = rcl_os_block_signals();
    if (__atomic_compare_exchange_n(&dump.ender, &nobody, (uint32_t)rcl_os_tid(), false,
                                    __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
        uint64_t end = rcl_os_now_ns() + PATIENCE_S * 1000000000ull;
        bool mine;
        while (!(mine = begin_writing()) && rcl_os_now_ns() < end)
            rcl_os_yield();
        __atomic_store_n(&dump.ended, mine, __ATOMIC_RELEASE);
    }
    rcl_os_restore_signals(signals);
}

const char *rcl_prof_last_dump(void)
{
    return dump.room != NULL ? dump.room->last : "";
}

int rcl_prof_set_prefix(const char *prefix)
{
    size_t length = strlen(prefix);
    if (length >= sizeof dump.prefix)
        return ENAMETOOLONG;
    uint64_t signals = rcl_os_block_signals();
    bool mine = wait_to_write();
    if (mine) {
        memcpy(dump.prefix, prefix, length + 1);
        dump.prefix_set = true;
        find_folder();
        forget_refusals(); /* another folder */
        end_writing();
    }
    rcl_os_restore_signals(signals);
    return mine ? 0 : EBUSY;
}

void rcl_prof_dump_forked(int parent, uint64_t inherited)
{
    dump.writing = dump.ender = 0;
    dump.ended = false;
    dump.parent = inherited != 0 ? parent : 0;
    dump.inherited = inherited;
    if (dump.room == NULL)
        return;
    dump.room->last[0] = '\0';
    for (size_t i = 0; i < array_len(dump.room->automatic); i++)
        dump.room->automatic[i].seq = 0; /* those are the parent's to remove */
}

void rcl_prof_dump_reset(void)
{
    dump.parent = 0;
    dump.inherited = 0;
}
