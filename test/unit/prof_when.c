/* SPDX-License-Identifier: MIT */
/* Tests of prof_when.h: which dump is written when, seen by the files. */
#include "unit.h"

#include "account.h"
#include "cgroup.h"
#include "options.h"
#include "prof_dump.h"
#include "prof_stack.h"
#include "prof_when.h"

#include <dirent.h>
#include <sys/stat.h>

static char folder[32];
static struct rcl_stack *stack;

static const struct rcl_options defaults = {
#define OPT(name, type, min, max, def, unit, text) .name = (def),
#include "options.def"
#undef OPT
};

static int set_up(void **state)
{
    static const uint64_t frame[] = {0x1000};
    char prefix[64];

    (void)state;
    rcl_opt = defaults;
    rcl_opt.prof_keep = 0;
    strcpy(folder, "/tmp/rcl-when-XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(prefix, sizeof prefix, "%s/p", folder);
    rcl_prof_set_prefix(prefix);
    stack = rcl_stack_find(frame, 1, 1);
    rcl_stack_remove(stack, stack->live);
    rcl_stacks_clear();
    rcl_prof_watch_reset();
    rcl_account.used_pages = 0;
    return 0;
}

static int tear_down(void **state)
{
    char command[64];

    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static unsigned files(const char *part)
{
    DIR *d = opendir(folder);
    unsigned n = 0;

    REQUIRE(d != NULL);
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        n += strstr(e->d_name, part) != NULL;
    closedir(d);
    return n;
}

static void allocate(size_t bytes)
{
    rcl_stack_add(stack, (struct rcl_prof_weight){RCL_PROF_UNIT, bytes});
    rcl_prof_watch();
}

static void release(size_t bytes)
{
    rcl_stack_remove(stack, (struct rcl_prof_weight){RCL_PROF_UNIT, bytes});
}

TEST(nothing_unasked_for)
{
    rcl_prof_watch_boot();
    for (unsigned i = 0; i < 100; i++) {
        rcl_account.mapped_bytes += MIB;
        allocate(100 * MIB);
    }
    assert_int_equal(files("heap"), 0);
}

TEST(an_interval)
{
    rcl_opt.lg_prof_interval = 20;
    for (unsigned i = 0; i < 40; i++) {
        allocate(MIB / 4);
        release(MIB / 4);
        assert_int_equal(files(".interval.heap"), (i + 1) / 4);
    }
    allocate(50 * MIB); /* several at once are one */
    assert_int_equal(files(".interval.heap"), 11);
    allocate(MIB - 1);
    assert_int_equal(files(".interval.heap"), 11);
    allocate(1);
    assert_int_equal(files(".interval.heap"), 12);
}

TEST(growth_of_live_bytes)
{
    rcl_opt.prof_grow = 50;
    allocate(15 * MIB);
    assert_int_equal(files(".grow.heap"), 0);
    allocate(5 * MIB); /* 20 */
    assert_int_equal(files(".grow.heap"), 1);
    allocate(9 * MIB);
    assert_int_equal(files(".grow.heap"), 1);
    allocate(2 * MIB); /* 31 */
    assert_int_equal(files(".grow.heap"), 2);
    release(20 * MIB);
    allocate(30 * MIB); /* 41: no new peak by half */
    assert_int_equal(files(".grow.heap"), 2);
    allocate(10 * MIB);
    assert_int_equal(files(".grow.heap"), 3);
}

TEST(more_mapped_than_ever)
{
    rcl_account.mapped_bytes = 100 * MIB;
    assert_false(rcl_prof_gdump());
    rcl_prof_set_gdump(true);
    assert_true(rcl_prof_gdump());
    allocate(1);
    allocate(1);
    assert_int_equal(files(".gdump.heap"), 1);
    rcl_account.mapped_bytes = 50 * MIB;
    allocate(1);
    assert_int_equal(files(".gdump.heap"), 1);
    rcl_account.mapped_bytes = 101 * MIB;
    allocate(1);
    assert_int_equal(files(".gdump.heap"), 2);
    rcl_prof_set_gdump(false);
    rcl_account.mapped_bytes = 200 * MIB;
    allocate(1);
    assert_int_equal(files(".gdump.heap"), 2);
}

TEST(a_mark_in_bytes)
{
    strcpy(rcl_opt.prof_at, "64m");
    rcl_prof_watch_boot();
    rcl_account.used_pages = (int64_t)((63 * MIB) >> rcl_page_shift());
    allocate(1);
    assert_int_equal(files(".at.heap"), 0);
    rcl_account.used_pages = (int64_t)((64 * MIB) >> rcl_page_shift());
    allocate(1);
    allocate(1);
    assert_int_equal(files(".at.heap"), 1);
    rcl_account.used_pages = (int64_t)((40 * MIB) >> rcl_page_shift());
    allocate(1);
    rcl_account.used_pages = (int64_t)((70 * MIB) >> rcl_page_shift());
    allocate(1); /* it has not fallen far enough */
    assert_int_equal(files(".at.heap"), 1);
    rcl_account.used_pages = (int64_t)((31 * MIB) >> rcl_page_shift());
    allocate(1);
    rcl_account.used_pages = (int64_t)((70 * MIB) >> rcl_page_shift());
    allocate(1);
    assert_int_equal(files(".at.heap"), 2);
}

/* The profile of that moment is what it is all for: a refusal does not take it away. */
static void mark_without_a_folder(void *unused)
{
    char path[64];

    (void)unused;
    snprintf(path, sizeof path, "%s/later/", folder);
    rcl_prof_set_prefix(path);
    strcpy(rcl_opt.prof_at, "64m");
    rcl_prof_watch_boot();
    rcl_account.used_pages = (int64_t)((70 * MIB) >> rcl_page_shift());
    allocate(1);
    REQUIRE(mkdir(path, 0700) == 0);
    uint64_t end = rcl_os_now_ns() + 5000000000u;
    do {
        allocate(1);
    } while (strstr(rcl_prof_last_dump(), ".at.heap") == NULL && rcl_os_now_ns() < end);
    allocate(1);
    strcpy(folder, path);
    REQUIRE(files(".at.heap") == 1);
}

TEST(a_mark_whose_dump_is_refused_is_tried_again)
{
    struct unit_child child;

    unit_run_child(mark_without_a_folder, NULL, &child);
    assert_int_equal(child.status, 0);
    assert_ptr_equal(strstr(child.text, "libreclaim: no heap profile (at): "), child.text);
    assert_ptr_equal(strchr(child.text, '\n'), child.text + strlen(child.text) - 1);
}

static void boot_with(void *arg)
{
    strcpy(rcl_opt.prof_at, arg);
    rcl_prof_watch_boot();
}

/* A share of nothing is said to be that, where this group has no limit. */
TEST(a_share_without_a_limit_is_one_line)
{
    struct unit_child child;

    unit_run_child(boot_with, "90%", &child);
    assert_int_equal(child.status, 0);
    if (child.text[0] != '\0') {
        assert_ptr_equal(strstr(child.text, "libreclaim: prof_at: 90% of what?"), child.text);
        assert_ptr_equal(strchr(child.text, '\n'), child.text + strlen(child.text) - 1);
    }
    unit_run_child(boot_with, "1g", &child);
    assert_int_equal(child.status, 0);
    assert_string_equal(child.text, "");
}

static void write_file(const char *name, const char *text)
{
    char path[64];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    REQUIRE(f != NULL && fputs(text, f) >= 0 && fclose(f) == 0);
}

static void grow_in_a_group(void *unused)
{
    char self[64];

    (void)unused;
    boot_with("50%");
    write_file("self", "0::/\n");
    write_file("memory.max", "1000000000\n");
    write_file("memory.current", "100000000\n");
    snprintf(self, sizeof self, "%s/self", folder);
    rcl_cgroup_find_in(folder, self);
    allocate(1); /* looks, unless there was a look just now */
    usleep(40000);
    allocate(1); /* looks */
    REQUIRE(files(".at.heap") == 0);
    write_file("memory.current", "600000000\n");
    /* No time for another look has gone by, but half of the way. */
    rcl_account.used_pages = (int64_t)(250000000u >> rcl_page_shift());
    allocate(1);
    REQUIRE(files(".at.heap") == 1);
    write_file("memory.current", "700000000\n");
    rcl_account.used_pages *= 2;
    allocate(1);
    REQUIRE(files(".at.heap") == 1); /* once */
    _exit(0);
}

static void fill_a_group_without_samples(void *unused)
{
    char self[64];

    (void)unused;
    REQUIRE(!rcl_prof_watches_time());
    boot_with("50%");
    REQUIRE(rcl_prof_watches_time());
    write_file("self", "0::/\n");
    write_file("memory.max", "1000000000\n");
    write_file("memory.current", "600000000\n");
    snprintf(self, sizeof self, "%s/self", folder);
    rcl_cgroup_find_in(folder, self);
    REQUIRE(rcl_prof_watch_time() == 1000000000 && files(".at.heap") == 0); /* nothing to tell */
    write_file("memory.current", "100000000\n");
    rcl_stack_add(stack, (struct rcl_prof_weight){RCL_PROF_UNIT, 1});
    REQUIRE(rcl_prof_watch_time() == 100000000 && files(".at.heap") == 0);
    write_file("memory.current", "499999999\n");
    REQUIRE(rcl_prof_watch_time() == 20000000 && files(".at.heap") == 0);
    write_file("memory.current", "500000000\n");
    REQUIRE(rcl_prof_watch_time() == 20000000 && files(".at.heap") == 1);
    REQUIRE(rcl_prof_watch_time() == 20000000 && files(".at.heap") == 1); /* once */
    _exit(0);
}

/* Interpreters map memory past malloc, and what is allocated now may be written later. */
TEST(a_share_of_the_group_is_not_missed_by_who_allocates_nothing)
{
    unit_child_passes(fill_a_group_without_samples, NULL);
}

/* Who fills its group in a few milliseconds is killed in the next: the dump must be there. */
TEST(a_share_of_the_group_is_not_missed_by_who_is_quick)
{
    unit_child_passes(grow_in_a_group, NULL);
}

TEST(a_failed_allocation_once_in_a_while)
{
    rcl_prof_watch_failure();
    assert_int_equal(files(".failure.heap"), 0); /* there is nothing to tell */
    allocate(1);
    rcl_opt.prof_failure = 0;
    rcl_prof_watch_failure();
    assert_int_equal(files(".failure.heap"), 0);
    rcl_opt.prof_failure = 1;
    rcl_prof_watch_failure();
    rcl_prof_watch_failure();
    assert_int_equal(files(".failure.heap"), 1);
}

static volatile sig_atomic_t seen;

static void count(int number)
{
    (void)number;
    seen++;
}

static void on_usr1(void *arg)
{
    (void)arg;
    rcl_opt.prof_signal = SIGUSR1;
    rcl_prof_watch_boot();
    errno = UNIT_ERRNO;
    raise(SIGUSR1);
    raise(SIGUSR1);
    REQUIRE(errno == UNIT_ERRNO);
    REQUIRE(files(".signal.heap") == 2);
    _exit(7);
}

static void on_usr1_with_a_handler(void *arg)
{
    (void)arg;
    signal(SIGUSR1, count);
    rcl_opt.prof_signal = SIGUSR1;
    rcl_prof_watch_boot();
    raise(SIGUSR1);
    REQUIRE(seen == 1 && files(".signal.heap") == 1);
}

static void on_term(void *arg)
{
    (void)arg;
    rcl_opt.prof_signal = SIGTERM;
    rcl_prof_watch_boot();
    raise(SIGTERM);
    _exit(7);
}

TEST(a_signal)
{
    struct unit_child child;

    unit_run_child(on_usr1, NULL, &child);
    assert_true(WIFEXITED(child.status) && WEXITSTATUS(child.status) == 7);
    tear_down(NULL);
    set_up(NULL);
    unit_child_passes(on_usr1_with_a_handler, NULL);
    tear_down(NULL);
    set_up(NULL);
    /* The end of a program is still its end. */
    unit_run_child(on_term, NULL, &child);
    assert_true(WIFSIGNALED(child.status));
    assert_int_equal(WTERMSIG(child.status), SIGTERM);
    assert_int_equal(files(".signal.heap"), 1);
    assert_int_equal(files(".tmp"), 0);
}

#define TESTED(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TESTED(nothing_unasked_for),
        TESTED(an_interval),
        TESTED(growth_of_live_bytes),
        TESTED(more_mapped_than_ever),
        TESTED(a_share_without_a_limit_is_one_line),
        TESTED(a_share_of_the_group_is_not_missed_by_who_is_quick),
        TESTED(a_share_of_the_group_is_not_missed_by_who_allocates_nothing),
        TESTED(a_failed_allocation_once_in_a_while),
        TESTED(a_signal),
        TESTED(a_mark_whose_dump_is_refused_is_tried_again),
        TESTED(a_mark_in_bytes), /* the last: the mark stays */
    };

    rcl_os_init();
    if (!rcl_stacks_boot())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
