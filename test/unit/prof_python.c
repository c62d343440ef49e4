/* SPDX-License-Identifier: MIT */
/*
 * Tests of prof_python.h on an interpreter made of bytes (python.h): frames in order, each
 * function once, and no fault whatever the chain looks like.  Real interpreters are looked
 * at by test/hosts/profile_python.sh.
 */
#include "python.h"
#include "sink.h"

#include "prof_python.h"
#include "prof_stack.h"

enum { MAX = 64 };

static struct rcl_python_room room;
static struct rcl_python_frame found[MAX];

static struct unit_text printed;

/* The line that explains a number. */
static const char *line_of(uint64_t number)
{
    static char line[256];
    char start[64], buf[100];
    struct rcl_out o = unit_text_begin(&printed, buf, sizeof buf);

    rcl_python_print(&o);
    rcl_out_flush(&o);
    snprintf(start, sizeof start, "# frame 0x%llx ", (unsigned long long)number);
    const char *at = strstr(printed.text, start);
    if (at == NULL)
        return "";
    snprintf(line, sizeof line, "%.*s", (int)strcspn(at, "\n"), at);
    return line + strlen(start);
}

static int set_up(void **state)
{
    (void)state;
    memset(&room, 0, sizeof room);
    fake_has_state = false;
    return 0;
}

TEST(no_thread_state_no_frames)
{
    assert_int_equal(rcl_python_walk(found, MAX, &room), 0);
}

TEST(frames_come_innermost_first)
{
    char *outer = fake_code("/a/outer.py", "outer", 10), *inner = fake_code("b.py", "C.inner", 20);
    char *f1 = fake_frame(outer, 1, NULL, true), *f2 = fake_frame(inner, 3, f1, false);
    char *cframe = fake_enter(f2);

    assert_int_equal(rcl_python_walk(found, MAX, &room), 2);
    assert_int_equal(found[0].code, (uintptr_t)inner);
    assert_int_equal(found[0].instruction, 3);
    assert_int_equal(found[0].anchor, 0);
    assert_int_equal(found[1].code, (uintptr_t)outer);
    assert_int_equal(found[1].anchor, (uintptr_t)cframe);
    assert_int_equal(rcl_python_walk(found, 1, &room), 1);
    assert_string_equal(line_of(rcl_python_number(&found[0], &room)), "20 C.inner\tb.py");
    rcl_python_walk(found, MAX, &room);
    assert_string_equal(line_of(rcl_python_number(&found[1], &room)), "10 outer\t/a/outer.py");
    /* An instruction outside of the code has the line of the function. */
    found[0].instruction = -1;
    assert_string_equal(line_of(rcl_python_number(&found[0], &room)), "20 C.inner\tb.py");
}

TEST(a_function_made_again_is_the_same)
{
    uint64_t first = 0;

    for (unsigned i = 0; i < 50; i++) {
        char *code = fake_code("<string>", "again", 5);
        fake_enter(fake_frame(code, 2, NULL, true));
        assert_int_equal(rcl_python_walk(found, MAX, &room), 1);
        uint64_t number = rcl_python_number(&found[0], &room);
        assert_true(number != 0 && (i == 0 || number == first));
        first = number;
    }
}

TEST(an_address_used_again_is_another)
{
    char *code = fake_code("x.py", "before", 5);

    fake_enter(fake_frame(code, 2, NULL, true));
    rcl_python_walk(found, MAX, &room);
    uint64_t first = rcl_python_number(&found[0], &room);
    fake_word(code, CO_QUALNAME, (uintptr_t)fake_str("after"));
    rcl_python_walk(found, MAX, &room);
    uint64_t second = rcl_python_number(&found[0], &room);
    assert_int_not_equal(first, second);
    assert_string_equal(line_of(second), "5 after\tx.py");
    assert_string_equal(line_of(first), "5 before\tx.py");
}

TEST(a_runtime_that_another_thread_takes_down_is_left_alone)
{
    fake_enter(fake_frame(fake_code("x.py", "f", 1), 0, NULL, true));
    assert_int_equal(rcl_python_walk(found, MAX, &room), 1);
    _PyRuntime[3] = 0x1000; /* finalizing: somebody else */
    assert_int_equal(rcl_python_walk(found, MAX, &room), 0);
    _PyRuntime[3] = (uintptr_t)fake_state;
    assert_int_equal(rcl_python_walk(found, MAX, &room), 1);
    _PyRuntime[3] = 0;
}

/* Pointers that lead nowhere, at each place where one is followed. */
TEST(bad_pointers_end_the_walk)
{
    size_t page = unit_kernel_page();
    char *hole = mmap(NULL, 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *code = fake_code("x.py", "f", 1), *frame = fake_frame(code, 0, NULL, true);
    const uintptr_t bad[] = {1,
                             8,
                             4096,
                             0x10001,
                             (uintptr_t)hole,
                             (uintptr_t)hole + page,
                             (uintptr_t)-8,
                             (uintptr_t)1 << 47,
                             (uintptr_t)fake_state + 1};
    static const struct {
        bool in_frame; /* else in the code object */
        size_t offset;
    } place[] = {{true, FR_CODE},  {true, FR_PREVIOUS},  {true, FR_INSTR}, {false, 8},
                 {false, CO_FILE}, {false, CO_QUALNAME}, {false, CO_TABLE}};

    assert_ptr_not_equal(hole, MAP_FAILED);
    for (size_t i = 0; i < array_len(bad); i++) {
        fake_enter((char *)bad[i]);
        assert_int_equal(rcl_python_walk(found, MAX, &room), 0);
        fake_word(fake_state, TS_CFRAME, bad[i]);
        assert_int_equal(rcl_python_walk(found, MAX, &room), 0);
        for (size_t k = 0; k < array_len(place); k++) {
            char *object = place[k].in_frame ? frame : code;
            uintptr_t good;
            memcpy(&good, object + place[k].offset, sizeof good);
            fake_word(object, place[k].offset, bad[i]);
            fake_enter(frame);
            unsigned n = rcl_python_walk(found, MAX, &room);
            assert_true(n <= 1);
            if (n == 1)
                rcl_python_number(&found[0], &room);
            fake_word(object, place[k].offset, good);
        }
    }
    fake_enter(frame);
    assert_int_equal(rcl_python_walk(found, MAX, &room), 1);
    assert_int_not_equal(rcl_python_number(&found[0], &room), 0);
    munmap(hole, 2 * page);
}

TEST(a_circle_of_frames_ends)
{
    char *code = fake_code("x.py", "f", 1), *a = fake_frame(code, 0, NULL, false);
    char *b = fake_frame(code, 0, a, false);

    fake_word(a, FR_PREVIOUS, (uintptr_t)b);
    fake_enter(b);
    assert_int_equal(rcl_python_walk(found, MAX, &room), MAX);
    a[FR_OWNER] = 9; /* no such owner */
    assert_int_equal(rcl_python_walk(found, MAX, &room), 1);
}

TEST(strings_that_are_none)
{
    char *code = fake_code("x.py", "f", 1), *name;

    memcpy(&name, code + CO_QUALNAME, sizeof name);
    fake_enter(fake_frame(code, 0, NULL, true));
    rcl_python_walk(found, MAX, &room);
    fake_word(name, 16, 1 << 30); /* long */
    fake_word(name, 24, 99);
    assert_int_equal(rcl_python_number(&found[0], &room), 0);
    fake_word(name, 16, 1);
    fake_int(name, 32, 0); /* of no kind */
    assert_int_equal(rcl_python_number(&found[0], &room), 0);
    fake_int(name, 32, 1 << 2 | 1 << 5 | 1 << 6);
    name[STR_TEXT] = '\n'; /* would break the line */
    assert_string_equal(line_of(rcl_python_number(&found[0], &room)), "1 ?\tx.py");
}

TEST(random_bytes_for_a_chain)
{
    struct unit_random random = unit_random_start();
    static char memory[4096] RCL_ALIGNED(16);

    for (unsigned round = 0; round < 3000; round++) {
        for (size_t i = 0; i < sizeof memory; i += 8) {
            uint64_t kind = unit_below(&random, 4);
            fake_word(memory, i,
                      kind == 0   ? (uintptr_t)memory + unit_below(&random, sizeof memory / 8) * 8
                      : kind == 1 ? (uintptr_t)PyCode_Type
                      : kind == 2 ? unit_below(&random, 100)
                                  : unit_next(&random));
        }
        fake_enter(memory + unit_below(&random, sizeof memory / 8) * 8);
        unsigned n = rcl_python_walk(found, MAX, &room);
        for (unsigned i = 0; i < n; i++)
            rcl_python_number(&found[i], &room);
    }
}

#define TESTED(name) cmocka_unit_test_setup(name, set_up)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TESTED(no_thread_state_no_frames),
        TESTED(frames_come_innermost_first),
        TESTED(a_function_made_again_is_the_same),
        TESTED(an_address_used_again_is_another),
        TESTED(a_runtime_that_another_thread_takes_down_is_left_alone),
        TESTED(bad_pointers_end_the_walk),
        TESTED(a_circle_of_frames_ends),
        TESTED(strings_that_are_none),
        TESTED(random_bytes_for_a_chain),
    };

    rcl_os_init();
    fake_start();
    if (!rcl_python_look())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
