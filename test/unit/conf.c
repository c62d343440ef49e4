/* SPDX-License-Identifier: MIT */
/*
 * Tests of conf.h: which source counts more.  Options are read before main() begins, so
 * this program is started anew with each scene; with an argument it tells, instead of
 * testing, what it found.
 */
#define _GNU_SOURCE 1
#include "unit.h"

#include "boot.h"
#include "conf.h"
#include "options.h"

#include <sched.h>
#include <sys/mount.h>

/* As a program does that wants options of its own; every start of this program has it. */
const char *malloc_conf = "dirty_share:11,dirty_min:1000,narenas:11,tcache_max:11,nonsense:1";

struct scene {
    const char *malloc_link, *reclaim_link; /* NULL: none */
    const char *malloc_conf, *reclaim_conf;
};

static void set_or_not(const char *name, const char *value)
{
    if (value != NULL)
        setenv(name, value, 1);
    else
        unsetenv(name);
}

/* An /etc of our own, which nobody else sees. */
static void make_links(const struct scene *scene)
{
    if (scene->malloc_link == NULL && scene->reclaim_link == NULL)
        return;
    if ((unshare(CLONE_NEWNS) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", "/etc", "tmpfs", 0, NULL) != 0)
        _exit(UNIT_CHILD_SKIPS);
    if (scene->malloc_link != NULL)
        REQUIRE(symlink(scene->malloc_link, "/etc/malloc.conf") == 0);
    if (scene->reclaim_link != NULL)
        REQUIRE(symlink(scene->reclaim_link, "/etc/reclaim.conf") == 0);
}

static void become(void *arg)
{
    const struct scene *scene = arg;
    char *emulator = getenv("EMULATOR"), self[1024];

    REQUIRE(rcl_os_read_link("/proc/self/exe", self, sizeof self) > 0);
    if (unit_emulated() || emulator != NULL)
        _exit(UNIT_CHILD_SKIPS);
    make_links(scene);
    set_or_not("MALLOC_CONF", scene->malloc_conf);
    set_or_not("RECLAIM_CONF", scene->reclaim_conf);
    execl(self, self, "--tell", (char *)NULL);
    _exit(UNIT_CHILD_SKIPS);
}

/* What it writes to stderr. */
static const char *play(struct scene scene)
{
    static struct unit_child child;

    unit_run_child(become, &scene, &child);
    if (WIFEXITED(child.status) && WEXITSTATUS(child.status) == UNIT_CHILD_SKIPS)
        skip();
    if (!WIFEXITED(child.status) || WEXITSTATUS(child.status) != 0)
        print_message("%s", child.text);
    assert_true(WIFEXITED(child.status));
    assert_int_equal(WEXITSTATUS(child.status), 0);
    return child.text;
}

static int tell(void)
{
    REQUIRE(rcl_boot());
    fprintf(stderr, "%lld %lld %lld %lld\n", (long long)rcl_opt.dirty_share,
            (long long)rcl_opt.dirty_min, (long long)rcl_opt.narenas,
            (long long)rcl_opt.tcache_max);
    return 0;
}

static const char complaint[] = "libreclaim: malloc_conf: \"nonsense\" is no option; ignored\n";

/* After the complaint that every start makes. */
static void assert_tells(struct scene scene, const char *expected)
{
    const char *text = play(scene);

    assert_memory_equal(text, complaint, sizeof complaint - 1);
    assert_string_equal(text + sizeof complaint - 1, expected);
}

TEST(the_variable_of_the_program_is_read)
{
    assert_tells((struct scene){0}, "11 1000 11 11\n");
}

TEST(the_environment_counts_more)
{
    assert_tells((struct scene){.malloc_conf = "narenas:4,dirty_min:4"}, "11 4 4 11\n");
    assert_tells((struct scene){.malloc_conf = "narenas:4,dirty_min:4",
                                .reclaim_conf = "narenas:5,tcache_max:5"},
                 "11 4 5 5\n");
}

TEST(links_stand_between)
{
    assert_tells((struct scene){.malloc_link = "narenas:2"}, "11 1000 2 11\n");
    assert_tells((struct scene){.malloc_link = "narenas:2,dirty_min:2,tcache_max:2",
                                .reclaim_link = "dirty_min:3,tcache_max:3",
                                .malloc_conf = "tcache_max:4"},
                 "11 3 2 4\n");
}

TEST(complaints_name_the_link)
{
    const char *text = play((struct scene){.reclaim_link = "narena:2"});

    assert_string_equal(text + sizeof complaint - 1,
                        "libreclaim: /etc/reclaim.conf: \"narena\" is no option; did you mean "
                        "\"narenas\"?; ignored\n11 1000 11 11\n");
}

TEST(what_configure_was_told_is_a_text)
{
    struct rcl_options o = {0};

    rcl_options_parse(&o, rcl_conf_built_in, NULL, NULL); /* would call NULL at a mistake */
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_variable_of_the_program_is_read),
        cmocka_unit_test(the_environment_counts_more),
        cmocka_unit_test(links_stand_between),
        cmocka_unit_test(complaints_name_the_link),
        cmocka_unit_test(what_configure_was_told_is_a_text),
    };

    if (argc > 1 && strcmp(argv[1], "--tell") == 0)
        return tell();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
