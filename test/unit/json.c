/* SPDX-License-Identifier: MIT */
/* Tests of json.h: what is written is what was meant, whatever the text holds. */
#include "unit.h"

#include "json.h"

static char text[512];

static struct rcl_out out(void)
{
    memset(text, 0, sizeof text);
    return (struct rcl_out){.buf = text, .size = sizeof text - 1};
}

TEST(members_are_separated)
{
    struct rcl_out o = out();
    bool first = true;

    rcl_json_number(&o, &first, "a", 1);
    rcl_json_bool(&o, &first, "b", true);
    rcl_json_bool(&o, &first, "c", false);
    rcl_json_key(&o, &first, "d");
    rcl_json_string(&o, "x");
    assert_string_equal(text, "\"a\":1,\"b\":true,\"c\":false,\"d\":\"x\"");
    assert_false(first);
}

TEST(members_of_an_array_have_no_name)
{
    struct rcl_out o = out();
    bool first = true;

    rcl_json_key(&o, &first, NULL);
    rcl_out_print(&o, "1");
    rcl_json_key(&o, &first, NULL);
    rcl_out_print(&o, "2");
    assert_string_equal(text, "1,2");
}

TEST(any_byte_is_written_so_that_it_can_be_read)
{
    struct rcl_out o = out();

    rcl_json_string(&o, "a\"b\\c\n\x1f~\x7f\x80\xff");
    assert_string_equal(text, "\"a\\\"b\\\\c\\u000a\\u001f~\\u007f\\u0080\\u00ff\"");
    o = out();
    rcl_json_string(&o, "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80");
    assert_string_equal(text, "\"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80\"");
    /* Cut off, overlong, a surrogate, beyond the last one. */
    o = out();
    rcl_json_string(&o, "\xe2\x82");
    assert_string_equal(text, "\"\\u00e2\\u0082\"");
    o = out();
    rcl_json_string(&o, "\xc1\xbf\xe0\x9f\xbf");
    assert_string_equal(text, "\"\\u00c1\\u00bf\\u00e0\\u009f\\u00bf\"");
    o = out();
    rcl_json_string(&o, "\xed\xa0\x80\xf4\x90\x80\x80");
    assert_string_equal(text, "\"\\u00ed\\u00a0\\u0080\\u00f4\\u0090\\u0080\\u0080\"");
    o = out();
    rcl_json_string(&o, "");
    assert_string_equal(text, "\"\"");
}

TEST(the_largest_number)
{
    struct rcl_out o = out();
    bool first = true;

    rcl_json_number(&o, &first, "n", UINT64_MAX);
    assert_string_equal(text, "\"n\":18446744073709551615");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_are_separated),
        cmocka_unit_test(members_of_an_array_have_no_name),
        cmocka_unit_test(any_byte_is_written_so_that_it_can_be_read),
        cmocka_unit_test(the_largest_number),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
