/* SPDX-License-Identifier: MIT */
/* Tests of prof_maps.h: the kernel's text is passed on whole, and build ids are the files'. */
#include "sink.h"

#include "prof_maps.h"

static struct unit_text printed;
static const char *const text = printed.text;

static void print(void (*what)(struct rcl_out *))
{
    char buf[64];
    struct rcl_out o = unit_text_begin(&printed, buf, sizeof buf);

    assert_int_equal(rcl_maps_open(), 0);
    what(&o);
    rcl_maps_close();
    rcl_out_flush(&o);
}

TEST(every_mapping_is_there)
{
    char line[4096];
    FILE *f = fopen("/proc/self/maps", "r");
    unsigned lines = 0;

    assert_non_null(f);
    print(rcl_maps_print);
    assert_ptr_equal(strstr(text, "\nMAPPED_LIBRARIES:\n"), text);
    while (fgets(line, sizeof line, f) != NULL) {
        if (strchr(line, '/') != NULL || strstr(line, "[stack]") != NULL) {
            assert_non_null(strstr(text, line)); /* others may have changed since */
            lines++;
        }
    }
    fclose(f);
    assert_true(lines > 5);
}

TEST(an_address_is_found_in_its_mapping)
{
    uintptr_t start, end, here = (uintptr_t)print;

    assert_true(rcl_maps_find(here, &start, &end));
    assert_true(start <= here && here < end);
    assert_false(rcl_maps_find(8, &start, &end));
    assert_int_equal(start | end, 0);
}

/* What readelf says of this program. */
TEST(build_ids_are_those_of_the_files)
{
    char command[256], said[4096] = "", path[1024], *id;
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);

    assert_true(n > 0);
    path[n] = '\0';
    print(rcl_maps_print_build_ids);
    snprintf(command, sizeof command, "readelf -n '/proc/%d/exe' 2>/dev/null", (int)getpid());
    FILE *f = popen(command, "r");
    assert_non_null(f);
    said[fread(said, 1, sizeof said - 1, f)] = '\0';
    pclose(f);
    id = strstr(said, "Build ID: ");
    char byte;
    if (id == NULL || !rcl_os_copy(&byte, path, 1))
        skip(); /* no readelf here, a linker that makes no ids, or no process_vm_readv */
    id += strlen("Build ID: ");
    id[strcspn(id, "\n ")] = '\0';
    char *line = strstr(text, path);
    assert_non_null(line);
    assert_memory_equal(line + strlen(path) + 1, id, strlen(id));
    assert_int_equal(line[strlen(path) + 1 + strlen(id)], '\n');
    assert_non_null(strstr(text, "# build-id /"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_mapping_is_there),
        cmocka_unit_test(an_address_is_found_in_its_mapping),
        cmocka_unit_test(build_ids_are_those_of_the_files),
    };

    rcl_os_init();
    if (!rcl_maps_boot())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
