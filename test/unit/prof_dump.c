/* SPDX-License-Identifier: MIT */
/*
 * Tests of prof_dump.h: names, files that are whole or not there, those that are kept, and
 * whatever a file system can refuse: one line each time, and nothing left behind.
 */
#include "unit.h"

#include "options.h"
#include "prof_dump.h"
#include "prof_stack.h"

#include <dirent.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

static char folder[] = "/tmp/rcl-dump-XXXXXX";
static char prefix[64];

static const struct rcl_options defaults = {
#define OPT(name, type, min, max, def, unit, text) .name = (def),
#include "options.def"
#undef OPT
};

static int set_up(void **state)
{
    static const uint64_t frame[] = {0x1000};

    (void)state;
    rcl_opt = defaults;
    strcpy(folder, "/tmp/rcl-dump-XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(prefix, sizeof prefix, "%s/p", folder);
    rcl_prof_set_prefix(prefix);
    rcl_stacks_set_lg(19);
    rcl_stack_add(rcl_stack_find(frame, 1, 1), rcl_prof_weigh(1000, 19));
    return 0;
}

static int tear_down(void **state)
{
    char command[64];

    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

/* Files in the folder whose name has `part`; all of them are complete. */
static unsigned files(const char *part)
{
    DIR *d = opendir(folder);
    unsigned n = 0;

    REQUIRE(d != NULL);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        char path[512], last[64] = "";
        if (e->d_name[0] == '.' || strstr(e->d_name, part) == NULL)
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        FILE *f = fopen(path, "r");
        REQUIRE(f != NULL && fgets(last, sizeof last, f) != NULL);
        REQUIRE(strcmp(last, "heap_v2/524288\n") == 0);
        while (fgets(last, sizeof last, f) != NULL)
            ;
        REQUIRE(last[strlen(last) - 1] == '\n');
        fclose(f);
        n++;
    }
    closedir(d);
    return n;
}

TEST(a_name_carries_program_pid_time_bytes_and_reason)
{
    char expected[128];

    assert_int_equal(rcl_prof_dump(NULL, RCL_PROF_MANUAL), 0);
    const char *name = rcl_prof_last_dump();
    snprintf(expected, sizeof expected, "%s.prof_dump.test.%d.2", prefix, (int)getpid());
    assert_memory_equal(name, expected, strlen(expected));
    unsigned long long live, seq;
    char date[32], rest[32];
    assert_int_equal(
        sscanf(name + strlen(expected) - 1, "%31[0-9TZ].%llu.%llu.%31s", date, &live, &seq, rest),
        4);
    assert_int_equal(strlen(date), strlen("20260117T140502Z"));
    assert_string_equal(rest, "manual.heap");
    assert_int_equal(rcl_prof_dump(NULL, RCL_PROF_PEAK), 0);
    assert_int_equal(files(".peak.heap"), 1);
    assert_int_equal(files(""), 2);
}

TEST(a_name_of_ones_own)
{
    char path[128];

    snprintf(path, sizeof path, "%s/mine", folder);
    assert_int_equal(rcl_prof_dump(path, RCL_PROF_MANUAL), 0);
    assert_string_equal(rcl_prof_last_dump(), path);
    assert_int_equal(rcl_prof_dump(path, RCL_PROF_MANUAL), 0); /* replaces it */
    assert_int_equal(files(""), 1);
}

TEST(a_prefix_may_be_a_folder_and_has_an_end)
{
    char path[128], *lengthy = calloc(1, 100000);

    snprintf(path, sizeof path, "%s/", folder);
    assert_int_equal(rcl_prof_set_prefix(path), 0);
    assert_int_equal(rcl_prof_dump(NULL, RCL_PROF_FINAL), 0);
    snprintf(path, sizeof path, "%s/prof_dump.test.", folder);
    assert_memory_equal(rcl_prof_last_dump(), path, strlen(path));
    memset(lengthy, 'x', 99999);
    assert_int_equal(rcl_prof_set_prefix(lengthy), ENAMETOOLONG);
    snprintf(path, sizeof path, "%s/", folder);
    assert_string_equal(rcl_prof_prefix(), path);
    free(lengthy);
}

/* Which of many automatic ones are there at the end: the newest and the largest. */
TEST(so_many_automatic_ones_are_kept)
{
    rcl_opt.prof_keep = 2;
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(rcl_prof_dump(NULL, RCL_PROF_INTERVAL), 0);
    /* All are of one size here: the newest are the largest too. */
    assert_int_equal(files(".interval.heap"), 2);
    assert_int_equal(rcl_prof_dump(NULL, RCL_PROF_GROW), 0);
    assert_int_equal(files(".interval.heap"), 1);
    assert_int_equal(files(".grow.heap"), 1);
    /* What was asked for is never removed. */
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(rcl_prof_dump(NULL, RCL_PROF_MANUAL), 0);
    assert_int_equal(files(".manual.heap"), 5);
    assert_int_equal(files(".interval.heap") + files(".grow.heap"), 2);
    rcl_opt.prof_keep = 0;
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(rcl_prof_dump(NULL, RCL_PROF_AT), 0);
    assert_int_equal(files(".at.heap"), 5);
}

/* --- what cannot be written --------------------------------------------------------------- */

struct refusal {
    char path[5000];
    int error;
    size_t file_limit; /* 0: none */
    bool nobody;       /* without root's powers */
};

static void dump_refused(void *arg)
{
    struct refusal *r = arg;

    if (r->nobody && geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0))
        _exit(UNIT_CHILD_SKIPS);
    if (r->file_limit != 0) {
        struct rlimit limit = {r->file_limit, r->file_limit};
        REQUIRE(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    }
    int error = rcl_prof_dump(r->path, RCL_PROF_MANUAL);
    _exit(error == r->error ? 0 : 100);
}

/* One line, no file, no signal. */
static void assert_refused(const struct refusal *r, const char *because)
{
    struct unit_child child;

    unit_run_child(dump_refused, (void *)r, &child);
    if (WIFEXITED(child.status) && WEXITSTATUS(child.status) == UNIT_CHILD_SKIPS)
        return;
    if (child.status != 0 || strstr(child.text, because) == NULL)
        print_message("%s\n", child.text);
    assert_int_equal(child.status, 0);
    const char *begin = r->path[0] != '\0' ? "libreclaim: no heap profile (manual): cannot write "
                                           : "libreclaim: no heap profile (manual): ";
    assert_ptr_equal(strstr(child.text, begin), child.text);
    assert_non_null(strstr(child.text, because));
    assert_ptr_equal(strchr(child.text, '\n'), child.text + strlen(child.text) - 1);
}

TEST(refusals_are_one_line_and_leave_nothing)
{
    struct refusal r = {.error = ENOENT};

    assert_refused(&r, "the name of the file is empty");

    snprintf(r.path, sizeof r.path, "%s/not/there", folder);
    assert_refused(&r, "the folder does not exist");

    r = (struct refusal){.error = EISDIR};
    snprintf(r.path, sizeof r.path, "%s", folder);
    assert_refused(&r, "it is a folder");
    rmdir(folder);
    assert_int_equal(mkdir(folder, 0777), 0);

    r = (struct refusal){.error = ENAMETOOLONG};
    memset(r.path, 'x', sizeof r.path - 1);
    assert_refused(&r, "the name is too long");

    r = (struct refusal){.error = EACCES, .nobody = true};
    snprintf(r.path, sizeof r.path, "%s/forbidden", folder);
    chmod(folder, 0700);
    assert_refused(&r, "permission denied");

    /* The signal that comes with it is delivered by emulators, which cannot take it back. */
    r = (struct refusal){.error = EFBIG, .file_limit = 700};
    snprintf(r.path, sizeof r.path, "%s/limited", folder);
    if (!unit_emulated())
        assert_refused(&r, "the limit of file sizes is reached");
    assert_int_equal(files(""), 0);
}

/* A file system of one page, in a name space of its own. */
static void fill_a_disk(void *arg)
{
    char path[128];

    (void)arg;
    if (unshare(CLONE_NEWNS) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
        _exit(UNIT_CHILD_SKIPS);
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tmpfs", folder, "tmpfs", 0, "size=4k") != 0)
        _exit(UNIT_CHILD_SKIPS);
    snprintf(path, sizeof path, "%s/full", folder);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    char page[4096] = {0};
    REQUIRE(write(fd, page, sizeof page) == sizeof page);
    close(fd);
    snprintf(path, sizeof path, "%s/dump", folder);
    REQUIRE(rcl_prof_dump(path, RCL_PROF_MANUAL) == ENOSPC);
    DIR *d = opendir(folder);
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        REQUIRE(e->d_name[0] == '.' || strcmp(e->d_name, "full") == 0);
    closedir(d);
}

TEST(a_full_disk)
{
    struct unit_child child;

    unit_run_child(fill_a_disk, NULL, &child);
    if (WIFEXITED(child.status) && WEXITSTATUS(child.status) == UNIT_CHILD_SKIPS)
        skip();
    if (child.status != 0)
        print_message("%s\n", child.text);
    assert_int_equal(child.status, 0);
    assert_non_null(strstr(child.text, "the disk is full"));
    assert_ptr_equal(strchr(child.text, '\n'), child.text + strlen(child.text) - 1);
}

static unsigned lines(const char *text, const char *part)
{
    unsigned n = 0;

    for (const char *at = text; (at = strstr(at, part)) != NULL; at++)
        n++;
    return n;
}

static void dump_into_nothing(void *arg)
{
    char path[128];

    (void)arg;
    snprintf(path, sizeof path, "%s/later/", folder);
    rcl_prof_set_prefix(path);
    for (unsigned i = 0; i < 50; i++) {
        REQUIRE(rcl_prof_dump(NULL, RCL_PROF_INTERVAL) == ENOENT);
        REQUIRE(rcl_prof_dump(NULL, RCL_PROF_GROW) == ENOENT);
    }
    REQUIRE(rcl_prof_dump(NULL, RCL_PROF_FINAL) == ENOENT);
    fprintf(stderr, "folder\n");
    REQUIRE(mkdir(path, 0700) == 0);
    REQUIRE(rcl_prof_dump(NULL, RCL_PROF_INTERVAL) == 0);
    fprintf(stderr, "gone\n");
    REQUIRE(unlink(rcl_prof_last_dump()) == 0 && rmdir(path) == 0);
    for (unsigned i = 0; i < 50; i++)
        REQUIRE(rcl_prof_dump(NULL, RCL_PROF_GDUMP) == ENOENT);
    fprintf(stderr, "file\n");
    path[strlen(path) - 1] = '\0';
    REQUIRE(close(open(path, O_CREAT | O_WRONLY, 0600)) == 0);
    for (unsigned i = 0; i < 50; i++)
        REQUIRE(rcl_prof_dump(NULL, RCL_PROF_AT) == ENOTDIR);
    fprintf(stderr, "asked for\n");
    for (unsigned i = 0; i < 3; i++)
        REQUIRE(rcl_prof_dump(NULL, RCL_PROF_MANUAL) == ENOTDIR);
}

/* Once, until there was a success; another reason too; and whoever asks gets an answer. */
TEST(what_is_tried_again_and_again_is_refused_once)
{
    static const char *const parts[] = {"folder\n", "gone\n", "file\n", "asked for\n"};
    static const unsigned wanted[] = {1, 0, 1, 1, 3};
    struct unit_child child;
    char *at = child.text;

    unit_run_child(dump_into_nothing, NULL, &child);
    if (child.status != 0)
        print_message("%s\n", child.text);
    assert_int_equal(child.status, 0);
    for (size_t i = 0; i < array_len(wanted); i++) {
        char *end = i < array_len(parts) ? strstr(at, parts[i]) : NULL;
        assert_true(end != NULL || i == array_len(parts));
        if (end != NULL)
            *end = '\0';
        assert_int_equal(lines(at, "libreclaim: no heap profile ("), wanted[i]);
        assert_int_equal(lines(at, "libreclaim: "), wanted[i]);
        if (end != NULL)
            at = end + 1;
    }
}

/* --- several at once ---------------------------------------------------------------------- */

static void dump_onto_a_link(void *arg)
{
    char link[128], file[128];

    (void)arg;
    snprintf(link, sizeof link, "%s/link", folder);
    snprintf(file, sizeof file, "%s/file", folder);
    REQUIRE(close(open(file, O_CREAT | O_WRONLY, 0600)) == 0 && symlink(file, link) == 0);
    REQUIRE(rcl_prof_dump(link, RCL_PROF_MANUAL) == ENXIO);
}

TEST(what_is_no_file_is_not_replaced_by_one)
{
    struct unit_child child;

    unit_run_child(dump_onto_a_link, NULL, &child);
    assert_int_equal(child.status, 0);
    assert_non_null(strstr(child.text, "a link, pipe or device is there, no plain file (error "));
    assert_int_equal(files(".tmp"), 0);
}

/* Whole or not at all: with all its mappings, or without a file. */
static void dump_with_few_descriptors(void *arg)
{
    struct rlimit limit;
    char path[128];
    int last = -1;

    (void)arg;
    snprintf(path, sizeof path, "%s/few", folder);
    REQUIRE(rcl_prof_dump(path, RCL_PROF_MANUAL) == 0 && unlink(path) == 0);
    REQUIRE(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = 32;
    REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    for (int fd; (fd = open("/dev/null", O_RDONLY)) >= 0;)
        last = fd;
    for (int left = 0; left < 3; left++, close(last--)) {
        REQUIRE(rcl_prof_dump(path, RCL_PROF_MANUAL) == (left < 2 ? EMFILE : 0));
        REQUIRE((access(path, F_OK) == 0) == (left == 2));
    }
}

TEST(without_descriptors_there_is_no_file)
{
    struct unit_child child;

    unit_run_child(dump_with_few_descriptors, NULL, &child);
    assert_int_equal(child.status, 0);
    assert_int_equal(lines(child.text, "too many files are open in this process"), 2);
    assert_int_equal(files(".tmp"), 0);
}

static void dump_from_elsewhere(void *arg)
{
    (void)arg;
    rcl_opt.prof_keep = 1;
    REQUIRE(chdir(folder) == 0);
    REQUIRE(rcl_prof_set_prefix("here") == 0);
    REQUIRE(rcl_prof_dump(NULL, RCL_PROF_INTERVAL) == 0);
    REQUIRE(files("here.") == 1);
    REQUIRE(chdir("/") == 0);
    REQUIRE(rcl_prof_dump(NULL, RCL_PROF_INTERVAL) == 0);
    REQUIRE(strncmp(rcl_prof_last_dump(), folder, strlen(folder)) == 0);
    REQUIRE(access(rcl_prof_last_dump(), F_OK) == 0);
}

TEST(a_program_that_changes_its_folder_writes_where_it_began)
{
    struct unit_child child;

    unit_run_child(dump_from_elsewhere, NULL, &child);
    assert_int_equal(child.status, 0);
    assert_true(files("here.") <= 2);
}

static uint32_t written, refused;

static void *dump_often(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < 30; i++) {
        int error = rcl_prof_dump(NULL, RCL_PROF_MANUAL);
        REQUIRE(error == 0 || error == EBUSY);
        __atomic_fetch_add(error == 0 ? &written : &refused, 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

static void dump_by_threads(void *arg)
{
    char args[4];

    (void)arg;
    dup2(open("/dev/null", O_WRONLY), STDERR_FILENO); /* a line for each that is refused */
    unit_threads(4, dump_often, args, 1);
    REQUIRE(written + refused == 120 && written > 0);
    REQUIRE(files("") == written);
}

TEST(dumps_at_once_are_whole_or_refused)
{
    struct unit_child child; /* for its lines */

    unit_run_child(dump_by_threads, NULL, &child);
    if (child.status != 0)
        print_message("%s\n", child.text);
    assert_int_equal(child.status, 0);
}

static bool stop;
static unsigned dumped;

static void *dump_until_told(void *arg)
{
    (void)arg;
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        rcl_prof_dump(NULL, RCL_PROF_INTERVAL);
        __atomic_fetch_add(&dumped, 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

/* Whoever ends the process has its profile, whole, and nobody is in the middle of one after it. */
static void end_beside_dumps(void *arg)
{
    pthread_t thread;

    (void)arg;
    rcl_opt.prof_keep = 1;
    REQUIRE(pthread_create(&thread, NULL, dump_until_told, NULL) == 0);
    while (__atomic_load_n(&dumped, __ATOMIC_RELAXED) == 0)
        sched_yield();
    rcl_prof_dump_end();
    unsigned before = files(".heap");
    REQUIRE(rcl_prof_dump(NULL, RCL_PROF_PEAK) == 0);
    rcl_prof_dump_end();
    REQUIRE(rcl_prof_dump(NULL, RCL_PROF_FINAL) == 0);
    REQUIRE(rcl_prof_set_prefix("late") == EBUSY && rcl_prof_dump_boot());
    usleep(20000);
    REQUIRE(files(".heap") == before + 2 && files(".tmp") == 0);
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
}

/* Nothing half written is left of a process that is killed, where files need no name. */
TEST(a_kill_leaves_no_part_of_a_dump)
{
    int unnamed = open(folder, O_WRONLY | O_TMPFILE, 0600);
    if (unnamed < 0)
        skip();
    close(unnamed);
    for (unsigned i = 0; i < 20; i++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
            for (;;)
                rcl_prof_dump(NULL, RCL_PROF_MANUAL);
        usleep(1000 + 500 * i);
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, NULL, 0), child);
    }
    assert_int_equal(files(".tmp"), 0);
}

TEST(the_last_dump_waits_and_is_the_last)
{
    struct unit_child child;

    for (unsigned i = 0; i < 5; i++) {
        unit_run_child(end_beside_dumps, NULL, &child);
        if (child.status != 0)
            print_message("%s\n", child.text);
        assert_int_equal(child.status, 0);
        assert_string_equal(child.text, "");
        tear_down(NULL);
        set_up(NULL);
    }
}

/* The child does not wait for a thread it does not have, and its files are its own. */
TEST(a_child_forked_in_the_middle_of_a_dump)
{
    pthread_t thread;

    if (unit_emulated())
        skip(); /* its own locks are not fork-safe */
    rcl_opt.prof_keep = 1;
    stop = false;
    assert_int_equal(pthread_create(&thread, NULL, dump_until_told, NULL), 0);
    for (unsigned i = 0; i < 100; i++) {
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            alarm(10);
            rcl_prof_dump_forked((int)getppid(), 0);
            _exit(rcl_prof_dump(NULL, RCL_PROF_FINAL));
        }
        int status = -1;
        while (waitpid(pid, &status, 0) < 0)
            ;
        assert_int_equal(status, 0);
    }
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    assert_int_equal(files(".final.heap"), 100);
    assert_int_equal(files(".interval.heap"), 1);
}

static void dump_in_handler(int number)
{
    (void)number;
    rcl_prof_dump(NULL, RCL_PROF_SIGNAL);
}

TEST(a_handler_may_dump)
{
    struct sigaction action = {.sa_handler = dump_in_handler};

    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    signal(SIGUSR1, SIG_DFL);
    assert_int_equal(files(".signal.heap"), 1);
}

#define TESTED(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TESTED(a_name_carries_program_pid_time_bytes_and_reason),
        TESTED(a_name_of_ones_own),
        TESTED(a_prefix_may_be_a_folder_and_has_an_end),
        TESTED(so_many_automatic_ones_are_kept),
        TESTED(refusals_are_one_line_and_leave_nothing),
        TESTED(a_full_disk),
        TESTED(what_is_tried_again_and_again_is_refused_once),
        TESTED(what_is_no_file_is_not_replaced_by_one),
        TESTED(without_descriptors_there_is_no_file),
        TESTED(a_program_that_changes_its_folder_writes_where_it_began),
        TESTED(dumps_at_once_are_whole_or_refused),
        TESTED(the_last_dump_waits_and_is_the_last),
        TESTED(a_kill_leaves_no_part_of_a_dump),
        TESTED(a_child_forked_in_the_middle_of_a_dump),
        TESTED(a_handler_may_dump),
    };

    rcl_os_init();
    if (!rcl_stacks_boot())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
