/* SPDX-License-Identifier: MIT */
/* Tests of block.h: blocks of every kind by their address, and addresses of none. */
#include "unit.h"

#include "arena.h"
#include "block.h"
#include "boot.h"
#include "heap.h"
#include "options.h"
#include "thread.h"

static const size_t sizes[] = {1, 100, 4000, 30000, 40000, 250000, 400000, 2 * MIB};

static struct rcl_arena *arena_for(size_t i)
{
    static struct rcl_arena *made;

    assert_true(rcl_boot());
    rcl_gate_enter_patient(&rcl_tls.gate);
    if (made == NULL)
        made = rcl_arena_create();
    rcl_gate_leave(&rcl_tls.gate);
    return i % 2 ? made : NULL;
}

static char *take(size_t i, size_t size)
{
    struct rcl_via via = {.arena = arena_for(i)};
    char *p = rcl_heap_alloc_via(size, 0, false, &via);

    assert_non_null(p);
    return p;
}

TEST(a_block_has_its_size)
{
    for (size_t i = 0; i < 2 * array_len(sizes); i++) {
        size_t size = sizes[i / 2];
        char *p = take(i, size);
        assert_int_equal(rcl_block_usable(p, "test"), rcl_heap_real_size(size, 0));
        assert_int_equal(rcl_block_bytes(p), rcl_block_usable(p, "test"));
        rcl_heap_free(p, "free");
    }
}

TEST(a_run_and_a_mapping_have_descriptors)
{
    char *run = take(0, 400000), *huge = take(0, 2 * MIB);

    assert_ptr_equal(rcl_block_run(run, "test")->base, run);
    assert_ptr_equal(rcl_block_huge(huge, "test")->base, huge);
    rcl_heap_free(run, "free");
    rcl_heap_free(huge, "free");
}

static void use(void *p)
{
    rcl_block_usable(p, "test");
}

TEST(inside_a_block_is_none)
{
    for (size_t i = 0; i < 2 * array_len(sizes); i++) {
        size_t size = sizes[i / 2];
        char *p = take(i, size), start[128];
        snprintf(start, sizeof start, "libreclaim: test(): invalid pointer %p: ", (void *)(p + 8));
        unit_child_dies(use, p + 8, start);
        rcl_heap_free(p, "free");
    }
}

TEST(what_was_freed_is_none)
{
    char *p = take(0, 3 * MIB), *keep = take(0, 64), *q = take(1, 64);

    rcl_heap_free(p, "free");
    unit_child_dies(use, p, "libreclaim: test(): ");
    rcl_heap_free(q, "free"); /* of an explicit arena: no cache keeps it */
    unit_child_dies(use, q, "libreclaim: test(): ");
    rcl_heap_free(keep, "free");
}

TEST(foreign_addresses_are_none)
{
    static int variable;
    int local = 0;

    unit_child_dies(use, &variable, "libreclaim: test(): invalid pointer ");
    unit_child_dies(use, &local, "libreclaim: test(): invalid pointer ");
    unit_child_dies(use, (void *)16, "libreclaim: test(): invalid pointer 0x10: ");
    unit_child_dies(use, (void *)UINTPTR_MAX, "libreclaim: test(): invalid pointer ");
}

static int boot(void **state)
{
    (void)state;
    rcl_opt.background_thread = !UNIT_TSAN; /* its run time needs threads of libc's */
    return rcl_boot() ? 0 : -1;
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_block_has_its_size),
        cmocka_unit_test(a_run_and_a_mapping_have_descriptors),
        cmocka_unit_test(inside_a_block_is_none),
        cmocka_unit_test(what_was_freed_is_none),
        cmocka_unit_test(foreign_addresses_are_none),
    };

    return cmocka_run_group_tests(tests, boot, NULL);
}
