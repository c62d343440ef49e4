/* SPDX-License-Identifier: MIT */
/* Tests of file.h. */
#include "unit.h"

#include "file.h"

#include <sys/stat.h>

TEST(a_closed_descriptor_comes_back)
{
    int ends[2];
    char c = 'x';

    assert_int_equal(pipe(ends), 0);
    int kept = rcl_file_keep(ends[1]);
    assert_true(kept > ends[1]);
    assert_int_equal(fcntl(kept, F_GETFD), FD_CLOEXEC);
    rcl_file_reopen(ends[1], -1); /* it is open: nothing happens */
    close(ends[1]);
    rcl_file_reopen(ends[1], kept);
    assert_int_equal(write(ends[1], &c, 1), 1);
    assert_int_equal(read(ends[0], &c, 1), 1);
    close(kept);
    close(ends[0]);
    close(ends[1]);
    assert_int_equal(rcl_file_keep(ends[0]), -1);
}

TEST(files_are_created_renamed_and_removed)
{
    char folder[] = "/tmp/rcl-os-XXXXXX", a[64], b[64];

    assert_non_null(mkdtemp(folder));
    snprintf(a, sizeof a, "%s/a", folder);
    snprintf(b, sizeof b, "%s/b", folder);
    int fd = rcl_file_create(a);
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    assert_int_equal(rcl_os_write(fd, "text", 4), 0);
    assert_int_equal(rcl_os_close(fd), 0);
    assert_int_equal(rcl_os_close(fd), EBADF);
    assert_int_equal(rcl_os_write(fd, "text", 4), EBADF);
    assert_int_equal(rcl_os_rename(a, b), 0);
    assert_int_equal(rcl_os_rename(a, b), ENOENT);
    char text[8];
    assert_int_equal(rcl_os_read_file(b, text, sizeof text), 4);
    assert_memory_equal(text, "text", 4);
    fd = rcl_file_create(b); /* empty again */
    assert_int_equal(rcl_os_close(fd), 0);
    assert_int_equal(rcl_os_read_file(b, text, sizeof text), 0);
    assert_int_equal(symlink(b, a), 0);
    assert_int_equal(rcl_file_create(a), -ELOOP);
    assert_int_equal(rcl_os_rename(b, a), ENXIO); /* a link stays one */
    assert_int_equal(readlink(a, text, sizeof text), (ssize_t)sizeof text);
    assert_int_equal(rcl_file_create(folder), -EISDIR);
    rcl_os_unlink(a);
    rcl_os_unlink(b);
    assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_closed_descriptor_comes_back),
        cmocka_unit_test(files_are_created_renamed_and_removed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
