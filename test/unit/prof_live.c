/* SPDX-License-Identifier: MIT */
/*
 * Tests of prof_live.h, against a model: which addresses are samples, and which granules
 * are marked.  The blocks are real ones, as the class of a marked granule is their descriptor's.
 */
#include "unit.h"

#include "blocks.h"
#include "gate.h"
#include "prof_live.h"
#include "span.h"

enum { MODE = 0x100 + 20 }; /* the first one, at a mean distance of 2^19 bytes */

static struct rcl_stack *stack(void)
{
    static const uint64_t frame[] = {0x1234};

    return rcl_stack_find(frame, 1, 1);
}

static size_t samples(void)
{
    struct rcl_stacks_total t;

    rcl_stacks_total(&t);
    return t.live_samples;
}

TEST(samples_come_and_go_as_the_model_says)
{
    enum { BLOCKS = 600, ROUNDS = 20000 };
    static void *block[BLOCKS];
    static bool sampled[BLOCKS];
    unsigned cls = rcl_class_of_small(48);
    struct unit_random random = unit_random_start();
    size_t n = 0;

    for (size_t i = 0; i < BLOCKS; i++)
        block[i] = block_get(cls);
    for (unsigned round = 0; round < ROUNDS; round++) {
        size_t i = unit_below(&random, BLOCKS);
        if (sampled[i]) {
            assert_true(rcl_live_remove(block[i]));
            n--;
        } else {
            assert_false(rcl_live_remove(block[i]));
            assert_true(rcl_live_add(block[i], 48, stack(), MODE));
            n++;
        }
        sampled[i] = !sampled[i];
        assert_int_equal(samples(), n);
        if (round % 500 != 0)
            continue;
        for (size_t k = 0; k < BLOCKS; k++) {
            bool marked = false;
            for (size_t m = 0; m < BLOCKS; m++)
                marked = marked || (sampled[m] && (uintptr_t)block[m] / RCL_GRANULE ==
                                                      (uintptr_t)block[k] / RCL_GRANULE);
            assert_int_equal(rcl_pagemap_class(block[k]), marked ? RCL_CLASS_SAMPLED : cls);
            assert_int_equal(rcl_block_class(block[k]), cls);
        }
    }
    for (size_t i = 0; i < BLOCKS; i++)
        assert_int_equal(rcl_live_remove(block[i]), sampled[i]);
    for (size_t i = 0; i < BLOCKS; i++) {
        assert_int_equal(rcl_pagemap_class(block[i]), cls);
        block_put(cls, block[i]);
    }
    assert_int_equal(samples(), 0);
}

TEST(a_table_of_many_thousand_grows_and_is_emptied)
{
    enum { BLOCKS = 50000 };
    static void *block[BLOCKS];
    unsigned cls = rcl_class_of_small(16);

    for (size_t i = 0; i < BLOCKS; i++) {
        block[i] = block_get(cls);
        assert_true(rcl_live_add(block[i], 16, stack(), MODE));
    }
    assert_int_equal(samples(), BLOCKS);
    for (size_t i = 0; i < BLOCKS; i += 2)
        assert_true(rcl_live_remove(block[i]));
    assert_int_equal(samples(), BLOCKS / 2);
    rcl_live_forget(MODE);
    assert_int_equal(samples(), 0);
    for (size_t i = 0; i < BLOCKS; i++) {
        assert_false(rcl_live_remove(block[i]));
        assert_int_equal(rcl_pagemap_class(block[i]), cls);
        block_put(cls, block[i]);
    }
}

TEST(what_was_drawn_before_all_was_forgotten_is_refused)
{
    unsigned cls = rcl_class_of_small(100);
    void *p = block_get(cls);

    rcl_live_forget(MODE + 0x100);
    assert_false(rcl_live_add(p, 100, stack(), MODE));
    assert_false(rcl_live_add(p, 100, stack(), MODE + 0x100));
    assert_int_equal(rcl_pagemap_class(p), cls);
    assert_true(rcl_live_add(p, 100, stack(), MODE + 0x200));
    assert_true(rcl_live_remove(p));
    block_put(cls, p);
}

/* Each thread samples blocks of its own; many share granules and shards with other threads'. */
static void *come_and_go(void *arg)
{
    void **block = arg;

    for (unsigned round = 0; round < 300; round++) {
        for (size_t i = 0; i < 40; i++)
            REQUIRE(rcl_live_add(block[i], 64, stack(), MODE + 0x300));
        for (size_t i = 0; i < 40; i++) {
            REQUIRE(rcl_pagemap_class(block[i]) == RCL_CLASS_SAMPLED);
            REQUIRE(rcl_live_remove(block[i]));
        }
    }
    return NULL;
}

TEST(threads_share_granules)
{
    static void *block[4][40];
    unsigned cls = rcl_class_of_small(64);

    for (size_t i = 0; i < 40; i++)
        for (unsigned t = 0; t < 4; t++)
            block[t][i] = block_get(cls);
    unit_threads(4, come_and_go, block, sizeof block[0]);
    assert_int_equal(samples(), 0);
    for (size_t i = 0; i < 40; i++)
        for (unsigned t = 0; t < 4; t++) {
            assert_int_equal(rcl_pagemap_class(block[t][i]), cls);
            block_put(cls, block[t][i]);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(samples_come_and_go_as_the_model_says),
        cmocka_unit_test(a_table_of_many_thousand_grows_and_is_emptied),
        cmocka_unit_test(what_was_drawn_before_all_was_forgotten_is_refused),
        cmocka_unit_test(threads_share_granules),
    };

    if (!block_boot(1000000000) || !rcl_stacks_boot() || !rcl_live_boot())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
