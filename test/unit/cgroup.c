/* SPDX-License-Identifier: MIT */
/* Tests of cgroup.h on folders made for it. */
#include "unit.h"

#include "cgroup.h"

#include <sys/stat.h>

static char root[] = "/tmp/rcl-cgroup-XXXXXX";
static char self[64];

static void put(const char *path, const char *content)
{
    char whole[256];

    snprintf(whole, sizeof whole, "%s/%s", root, path);
    for (char *slash = whole + strlen(root) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = '\0';
        mkdir(whole, 0700);
        *slash = '/';
    }
    FILE *f = fopen(whole, "w");
    assert_non_null(f);
    fputs(content, f);
    fclose(f);
}

static int set_up(void **state)
{
    (void)state;
    strcpy(root, "/tmp/rcl-cgroup-XXXXXX");
    if (mkdtemp(root) == NULL)
        return -1;
    snprintf(self, sizeof self, "%s/self", root);
    return 0;
}

static int tear_down(void **state)
{
    char command[64];

    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    return system(command);
}

static void assert_found(uint64_t used, uint64_t limit)
{
    uint64_t u = 0, l = 0;

    rcl_cgroup_find_in(root, self);
    assert_true(rcl_cgroup_memory(&u, &l));
    assert_int_equal(u, used);
    assert_int_equal(l, limit);
}

static void assert_none(void)
{
    uint64_t u, l;

    rcl_cgroup_find_in(root, self);
    assert_false(rcl_cgroup_memory(&u, &l));
}

TEST(version_2)
{
    put("self", "0::/a/b\n");
    put("a/b/memory.current", "1000\n");
    put("a/b/memory.max", "2000\n");
    assert_found(1000, 2000);
    put("a/b/memory.current", "1500\n");
    assert_found(1500, 2000);
}

TEST(the_nearest_limit_counts)
{
    put("self", "0::/a/b\n");
    put("a/b/memory.current", "10\n");
    put("a/b/memory.max", "max\n");
    put("a/memory.current", "20\n");
    put("a/memory.max", "30\n");
    assert_found(20, 30);
    put("a/memory.max", "max\n");
    assert_none();
    put("memory.current", "7\n");
    put("memory.max", "8\n");
    assert_found(7, 8);
}

/* In a container the path is the host's, and the folder the container's own. */
TEST(a_path_that_is_not_there)
{
    put("self", "0::/docker/0123456789abcdef\n");
    put("memory.current", "70\n");
    put("memory.max", "80\n");
    assert_found(70, 80);
}

TEST(version_1)
{
    put("self", "12:pids:/x\n5:memory:/m\n4:cpu,cpuacct:/x\n0::/y\n");
    put("memory/m/memory.usage_in_bytes", "5\n");
    put("memory/m/memory.limit_in_bytes", "6\n");
    assert_found(5, 6);
    put("memory/m/memory.limit_in_bytes", "9223372036854771712\n");
    assert_none();
    put("self", "5:hugetlb,memory:/m\n");
    put("memory/m/memory.limit_in_bytes", "9\n");
    assert_found(5, 9);
}

TEST(nothing_to_be_found)
{
    assert_none();
    put("self", "");
    assert_none();
    put("self", "nonsense");
    assert_none();
    put("self", "0:\n::\n:::::\n\n0::");
    assert_none();
}

#define TESTED(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TESTED(version_2), TESTED(the_nearest_limit_counts), TESTED(a_path_that_is_not_there),
        TESTED(version_1), TESTED(nothing_to_be_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
