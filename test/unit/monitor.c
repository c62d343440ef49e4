/* SPDX-License-Identifier: MIT */
/*
 * Tests of monitor.h, each in a child: reports upon a signal and by the clock, beside
 * blocked threads and around forks, and files that cannot be written.
 */
#include "unit.h"

#include "background.h"
#include "boot.h"
#include "heap.h"
#include "monitor.h"
#include "options.h"
#include "purge.h"
#include "thread.h"

#include <dirent.h>
#include <sys/stat.h>
#include <time.h>

static char folder[64];

static int make_folder(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/rcl-monitor-XXXXXX");
    return mkdtemp(folder) == NULL;
}

static int remove_folder(void **state)
{
    char path[sizeof folder + 256];
    DIR *d = opendir(folder);
    struct dirent *e;
    (void)state;

    while ((e = readdir(d)) != NULL) {
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        unlink(path);
    }
    closedir(d);
    return rmdir(folder);
}

static const char *in_folder(const char *name)
{
    static char path[sizeof folder + 64];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void report_to(const char *name)
{
    snprintf(rcl_opt.stats_path, sizeof rcl_opt.stats_path, "%s", in_folder(name));
}

static void sleep_ms(int ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&t, &t) != 0 && errno == EINTR)
        ;
}

/* Wait until a file is there; its text. */
static const char *file_text(const char *name)
{
    static char text[100000];

    for (int tries = 0; tries < 1000; tries++) {
        FILE *f = fopen(in_folder(name), "r");
        if (f != NULL) {
            size_t n = fread(text, 1, sizeof text - 1, f);
            fclose(f);
            text[n] = '\0';
            return text;
        }
        sleep_ms(10);
    }
    return "";
}

static size_t files(void)
{
    DIR *d = opendir(folder);
    size_t n = 0;
    struct dirent *e;

    while ((e = readdir(d)) != NULL)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

/* The program's threads: without the one that an emulator has beside them. */
static size_t threads(void)
{
    DIR *d = opendir("/proc/self/task");
    size_t n = 0;
    struct dirent *e;

    while ((e = readdir(d)) != NULL)
        n += e->d_name[0] != '.';
    closedir(d);
    return n - unit_emulated();
}

static void wait_for_threads(size_t n)
{
    for (int tries = 0; tries < 1000 && threads() != n; tries++)
        sleep_ms(5);
    REQUIRE(threads() == n);
}

/* --- names --------------------------------------------------------------------------------- */

TEST(the_process_id_goes_into_the_path)
{
    char path[32], wanted[64];

    assert_true(rcl_monitor_path(path, sizeof path, "/x/%p.%q%"));
    snprintf(wanted, sizeof wanted, "/x/%d.%%q%%", getpid());
    assert_string_equal(path, wanted);
    assert_true(rcl_monitor_path(path, 6, "12345"));
    assert_false(rcl_monitor_path(path, 5, "12345"));
    assert_true(rcl_monitor_path(path, 1, ""));
    assert_string_equal(path, "");
}

/* --- signals ------------------------------------------------------------------------------- */

static int caught_before;

static void programs_own(int number)
{
    caught_before = number;
}

static void upon_a_signal(void *arg)
{
    (void)arg;
    signal(SIGUSR2, programs_own);
    rcl_opt.stats_signal = SIGUSR2;
    report_to("x.json");
    rcl_monitor_boot();
    REQUIRE(threads() == 1); /* nothing waits for it */
    raise(SIGUSR2);
    REQUIRE(caught_before == SIGUSR2);
    REQUIRE(strncmp(file_text("x.json"), "{\"jemalloc\":{", 13) == 0);
    wait_for_threads(1);
    REQUIRE(files() == 1); /* and nothing is left beside it */
    /* A second one replaces the first. */
    unlink(in_folder("x.json"));
    raise(SIGUSR2);
    REQUIRE(file_text("x.json")[0] == '{');
}

TEST(a_signal_makes_a_report)
{
    unit_child_passes(upon_a_signal, NULL);
}

static void ending_decides(void *arg)
{
    (void)arg;
    report_to("y.prom");
    REQUIRE(rcl_monitor_report(&rcl_tls.gate) == 0);
    REQUIRE(strncmp(file_text("y.prom"), "# Verdict: ", 11) == 0);
    REQUIRE(strstr(file_text("y.prom"), "\n# HELP libreclaim_") != NULL);
    report_to("y.txt");
    REQUIRE(rcl_monitor_report(&rcl_tls.gate) == 0);
    REQUIRE(strncmp(file_text("y.txt"), "___ Begin libreclaim statistics ___\n", 36) == 0);
}

TEST(the_ending_of_the_name_decides_the_format)
{
    unit_child_passes(ending_decides, NULL);
}

static void purge_signal(void *arg)
{
    void *block[100];
    (void)arg;
    rcl_opt.background_thread = 0;
    rcl_opt.dirty_min = (int64_t)1 << 40;
    rcl_opt.purge_signal = SIGUSR1;
    rcl_monitor_boot();
    for (size_t i = 0; i < array_len(block); i++)
        memset(block[i] = rcl_heap_alloc(100000), 1, 100000);
    for (size_t i = 0; i < array_len(block); i++)
        rcl_heap_free(block[i], "free");
    REQUIRE(rcl_purge_dirty() > 0 || rcl_purge_pinned() > 0);
    raise(SIGUSR1);
    for (int tries = 0; tries < 1000 && rcl_purge_dirty() > 0; tries++)
        sleep_ms(5);
    REQUIRE(rcl_purge_dirty() == 0);
    wait_for_threads(1);
}

TEST(a_signal_returns_everything_freed)
{
    unit_child_passes(purge_signal, NULL);
}

/* Signals from all sides while threads allocate: each is answered, none is lost for ever. */
static void *allocate(void *arg)
{
    struct unit_random random = {(uintptr_t)arg};

    for (int i = 0; i < 3000; i++) {
        void *p = rcl_heap_alloc(unit_below(&random, 200000));
        REQUIRE(p != NULL);
        rcl_heap_free(p, "free");
        if (i % 50 == 0)
            kill(getpid(), i % 100 == 0 ? SIGUSR1 : SIGUSR2);
    }
    return NULL;
}

static void at_work(void *arg)
{
    char args[3];
    (void)arg;
    rcl_opt.stats_signal = SIGUSR2;
    rcl_opt.purge_signal = SIGUSR1;
    report_to("z.prom");
    rcl_monitor_boot();
    unit_threads(3, allocate, args, 1);
    unlink(in_folder("z.prom"));
    kill(getpid(), SIGUSR2);
    REQUIRE(file_text("z.prom")[0] == '#');
}

TEST(signals_while_threads_are_at_work)
{
    unit_child_passes(at_work, NULL);
}

/* --- the clock ----------------------------------------------------------------------------- */

/* What "%p.prom" stands for. */
static const char *own_file(void)
{
    static char name[32];

    snprintf(name, sizeof name, "%d.prom", getpid());
    return name;
}

static void by_the_clock(void *arg)
{
    (void)arg;
    rcl_opt.background_thread = 0; /* it would be counted too */
    rcl_opt.stats_interval_ms = 20;
    report_to("%p.prom");
    rcl_monitor_boot();
    for (int i = 0; i < 3; i++) { /* again and again, though this thread is blocked */
        REQUIRE(file_text(own_file())[0] == '#');
        unlink(in_folder(own_file()));
    }
    REQUIRE(threads() == 2);

    /* Around a fork there is one thread; a later free, or allocation, brings the other back. */
    int out = -1;
    fflush(NULL);
    pid_t child = fork();
    REQUIRE(child >= 0);
    REQUIRE(threads() == 1);
    unlink(in_folder(own_file()));
    for (int tries = 0; tries < 1000 && threads() == 1; tries++) {
        sleep_ms(10);
        void *p = rcl_heap_alloc(2 * MIB);
        if (child != 0)
            rcl_heap_free(p, "free");
    }
    REQUIRE(file_text(own_file())[0] == '#');
    if (child == 0)
        _exit(0);
    REQUIRE(waitpid(child, &out, 0) == child && out == 0);
}

TEST(an_interval_goes_on_after_a_fork)
{
    unit_child_passes(by_the_clock, NULL);
}

static void last_one(void *arg)
{
    (void)arg;
    rcl_opt.stats_interval_ms = 3600000;
    report_to("l.prom");
    rcl_monitor_boot();
    wait_for_threads(2);
    rcl_monitor_exit(&rcl_tls.gate);
    REQUIRE(threads() == 1);
    REQUIRE(files() == 1);
    REQUIRE(file_text("l.prom")[0] == '#');
}

TEST(a_last_report_at_the_end)
{
    unit_child_passes(last_one, NULL);
}

static void by_default(void *arg)
{
    struct sigaction before[SIGRTMAX + 1], after;
    memset(before, 0, sizeof before);
    memset(&after, 0, sizeof after);
    (void)arg;
    for (int i = 1; i <= SIGRTMAX; i++)
        sigaction(i, NULL, &before[i]);
    rcl_monitor_boot();
    rcl_monitor_exit(&rcl_tls.gate);
    for (int i = 1; i <= SIGRTMAX; i++) {
        if (sigaction(i, NULL, &after) == 0) /* two are libc's own */
            REQUIRE(before[i].sa_handler == after.sa_handler);
    }
    REQUIRE(threads() == 1 && files() == 0);
}

TEST(by_default_nothing_happens)
{
    unit_child_passes(by_default, NULL);
}

/* --- files that cannot be written ---------------------------------------------------------- */

static void cannot_write(void *arg)
{
    int pipe_ends[2];
    char text[1000];
    (void)arg;

    REQUIRE(pipe(pipe_ends) == 0);
    dup2(pipe_ends[1], 2);
    close(pipe_ends[1]);
    report_to("none/such.prom");
    REQUIRE(rcl_monitor_report(&rcl_tls.gate) == ENOENT);
    REQUIRE(rcl_monitor_report(&rcl_tls.gate) == ENOENT);
    snprintf(rcl_opt.stats_path, sizeof rcl_opt.stats_path, "%s", folder);
    REQUIRE(rcl_monitor_report(&rcl_tls.gate) == EISDIR);
    snprintf(rcl_opt.stats_path, sizeof rcl_opt.stats_path, "/dev/null/x");
    REQUIRE(rcl_monitor_report(&rcl_tls.gate) == ENOTDIR);
    close(2);
    ssize_t n = read(pipe_ends[0], text, sizeof text - 1);
    REQUIRE(n > 0);
    text[n] = '\0';
    REQUIRE(strchr(text, '\n') == text + n - 1); /* one line for all of it */
    REQUIRE(strstr(text, "libreclaim: stats_path: cannot write ") == text);
    REQUIRE(strstr(text, "no such folder (error 2)") != NULL);
    REQUIRE(files() == 0);
}

static void report_in_vain(void *arg)
{
    (void)arg;
    REQUIRE(rcl_monitor_report(&rcl_tls.gate) == ENOENT);
}

/* Children of one program, each of which fails: the first one says it. */
static void nobody_can_write(void *arg)
{
    struct unit_child child;
    (void)arg;

    report_to("none/such.prom");
    rcl_opt.stats_signal = SIGUSR2;
    rcl_monitor_boot();
    for (int i = 0; i < 3; i++) {
        unit_run_child(report_in_vain, NULL, &child);
        REQUIRE(WIFEXITED(child.status) && WEXITSTATUS(child.status) == 0);
        REQUIRE((strstr(child.text, "cannot write") != NULL) == (i == 0));
        REQUIRE((child.text[0] == '\0') == (i > 0));
    }
}

TEST(a_file_that_cannot_be_written_is_one_line)
{
    unit_child_passes(cannot_write, NULL);
    unit_child_passes(nobody_can_write, NULL);
}

static void no_room(void *arg)
{
    struct rlimit limit = {100, 100};
    (void)arg;
    signal(SIGXFSZ, SIG_IGN);
    report_to("full.prom");
    REQUIRE(rcl_monitor_report(&rcl_tls.gate) == 0);
    REQUIRE(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    close(2);
    REQUIRE(rcl_monitor_report(&rcl_tls.gate) == EFBIG);
    REQUIRE(files() == 1); /* the old report is whole, the new one gone */
    REQUIRE(strlen(file_text("full.prom")) > 1000);
}

TEST(half_a_report_never_shows)
{
    unit_child_passes(no_room, NULL);
}

static void not_into_a_link(void *arg)
{
    char target[sizeof folder + 64], link[sizeof folder + 64];
    (void)arg;
    strcpy(target, in_folder("target"));
    snprintf(link, sizeof link, "%s/a.prom.%d.tmp", folder, getpid());
    REQUIRE(symlink(target, link) == 0);
    close(2);
    report_to("a.prom");
    REQUIRE(rcl_monitor_report(&rcl_tls.gate) == ELOOP);
    REQUIRE(access(target, F_OK) != 0);
}

TEST(a_link_in_the_way_is_not_followed)
{
    unit_child_passes(not_into_a_link, NULL);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_process_id_goes_into_the_path),
        cmocka_unit_test_setup_teardown(a_signal_makes_a_report, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(the_ending_of_the_name_decides_the_format, make_folder,
                                        remove_folder),
        cmocka_unit_test(a_signal_returns_everything_freed),
        cmocka_unit_test_setup_teardown(signals_while_threads_are_at_work, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(an_interval_goes_on_after_a_fork, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(a_last_report_at_the_end, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(by_default_nothing_happens, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_file_that_cannot_be_written_is_one_line, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(half_a_report_never_shows, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_link_in_the_way_is_not_followed, make_folder,
                                        remove_folder),
    };

    if (UNIT_TSAN)
        return 77; /* its run time needs threads of libc's */
    if (!rcl_boot())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
