/* SPDX-License-Identifier: MIT */
/* Tests of prof_pylayout.h: what is not exactly as known is refused, with a reason. */
#include "python.h"

#include "prof_pylayout.h"

static struct rcl_pyinfo info;

static const char *find(unsigned long version)
{
    Py_Version = version;
    rcl_python_find(&info);
    return info.why_not;
}

TEST(what_is_as_known_is_found)
{
    fake_start();
    assert_null(find(0x030b02f0));
    assert_int_equal(info.layout.minor, 11);
    assert_int_equal(info.code_type, (uintptr_t)PyCode_Type);
    assert_ptr_equal(info.bound, PyGILState_GetThisThreadState);
    assert_ptr_equal(info.finalizing, (char *)_PyRuntime + 24);
}

TEST(unknown_versions_are_refused)
{
    fake_start();
    assert_non_null(find(0x030800f0));
    assert_non_null(find(0x031000f0));
    assert_string_equal(find(0x020712f0), ""); /* no Python 3 at all */
}

TEST(another_size_of_code_objects_is_refused)
{
    fake_start();
    fake_word(PyCode_Type, 32, CO_BYTES + 8);
    assert_non_null(find(0x030b02f0));
    fake_start();
    assert_non_null(find(0x030c00f0)); /* 3.12's are larger */
}

TEST(a_field_at_another_place_is_refused)
{
    struct fake_member members[array_len(fake_members)];

    for (size_t i = 0; i + 1 < array_len(members); i++) {
        fake_start();
        memcpy(members, fake_members, sizeof members);
        members[i].offset += 8;
        fake_word(PyCode_Type, 240, (uintptr_t)members);
        assert_non_null(find(0x030b02f0));
    }
    fake_start();
    assert_null(find(0x030b02f0));
}

/* As 3.13 has it: words by number. */
static void offsets_of_313(uint64_t version, uint64_t free_threaded)
{
    static const uint8_t places[][2] = {{4, 96},   {23, 72},  {24, 152}, {29, 8},
                                        {30, 0},   {31, 56},  {33, 70},  {35, 112},
                                        {37, 128}, {38, 136}, {39, 68},  {43, 200}};

    memset(_PyRuntime, 0, sizeof _PyRuntime);
    memcpy(_PyRuntime, "xdebugpy", 8);
    _PyRuntime[1] = version;
    _PyRuntime[2] = free_threaded;
    for (size_t i = 0; i < array_len(places); i++)
        _PyRuntime[places[i][0]] = places[i][1];
}

TEST(from_3_13_on_the_interpreters_own_table_is_read)
{
    struct fake_member members[array_len(fake_members)];

    memcpy(members, fake_members, sizeof members);
    members[2].offset = 68;
    fake_word(PyCode_Type, 32, 200);
    fake_word(PyCode_Type, 240, (uintptr_t)members);
    offsets_of_313(0x030d00f0, 0);
    assert_null(find(0x030d00f0));
    assert_int_equal(info.layout.fr_owner, 70);
    assert_ptr_equal(info.finalizing, (char *)_PyRuntime + 96);
    offsets_of_313(0x030d00f0, 1);
    assert_non_null(find(0x030d00f0)); /* without the lock */
    offsets_of_313(0x030e00f0, 0);
    assert_non_null(find(0x030d00f0));
    offsets_of_313(0x030d00b2, 0);
    assert_non_null(find(0x030d00f0)); /* a beta */
    offsets_of_313(0x030d00f0, 0);
    _PyRuntime[33] = 5000;
    assert_non_null(find(0x030d00f0));
    memset(_PyRuntime, 0, sizeof _PyRuntime);
    assert_non_null(find(0x030d00f0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_as_known_is_found),
        cmocka_unit_test(unknown_versions_are_refused),
        cmocka_unit_test(another_size_of_code_objects_is_refused),
        cmocka_unit_test(a_field_at_another_place_is_refused),
        cmocka_unit_test(from_3_13_on_the_interpreters_own_table_is_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
