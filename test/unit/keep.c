/* SPDX-License-Identifier: MIT */
/* Tests of keep.h: pure list work on made-up addresses, which nobody touches. */
#include "unit.h"

#include "keep.h"

enum { BLOCKS = 64, STEP = 4096 };

static struct rcl_huge made[BLOCKS];
static struct rcl_keep keep;
static struct rcl_list gone;

/* Unit n of an address space in which nothing is. */
static char *at(size_t n)
{
    return (char *)(UINT64_C(0x10000000) + n * STEP);
}

static int set_up(void **state)
{
    (void)state;
    memset(made, 0, sizeof made);
    rcl_keep_init(&keep);
    rcl_list_init(&gone);
    return 0;
}

static struct rcl_huge *put(size_t i, size_t from, size_t units)
{
    made[i] = (struct rcl_huge){.base = at(from), .bytes = units * STEP};
    rcl_keep_put(&keep, &made[i], &gone);
    return &made[i];
}

/* Descriptors that were given back, no longer on any other list. */
static size_t count_gone(void)
{
    size_t n = 0;

    for (struct rcl_list *l = gone.next; l != &gone; l = l->next)
        n++;
    return n;
}

static void assert_kept(size_t blocks, size_t units)
{
    size_t n = 0, bytes = 0;

    for (struct rcl_list *l = keep.list.next; l != &keep.list; l = l->next) {
        struct rcl_huge *h = container_of(l, struct rcl_huge, link);
        assert_true(h->kept && h->bytes > 0);
        bytes += h->bytes;
        n++;
    }
    assert_int_equal(n, blocks);
    assert_int_equal(keep.blocks, blocks);
    assert_int_equal(keep.bytes, units * STEP);
    assert_int_equal(bytes, keep.bytes);
}

TEST(neighbours_are_one)
{
    struct rcl_huge *a = put(0, 10, 5);
    assert_kept(1, 5);
    put(1, 16, 4); /* a gap of one between them */
    assert_kept(2, 9);
    assert_int_equal(count_gone(), 0);

    put(2, 15, 1);
    assert_kept(1, 10);
    assert_int_equal(count_gone(), 2);
    assert_ptr_equal(a->base, at(10));
    assert_int_equal(a->bytes, 10 * STEP);

    put(3, 20, 2); /* behind */
    assert_kept(1, 12);
    put(4, 8, 2); /* before */
    assert_kept(1, 14);
    assert_ptr_equal(rcl_keep_at(&keep, at(8)), a);
    assert_null(rcl_keep_at(&keep, at(10)));
    rcl_keep_remove(&keep, a);
    assert_kept(0, 0);
    assert_false(a->kept);
}

TEST(only_kin_are_joined)
{
    put(0, 10, 5);
    made[1] = (struct rcl_huge){.base = at(15), .bytes = 5 * STEP, .kin = 7};
    rcl_keep_put(&keep, &made[1], &gone);
    put(2, 20, 5);
    assert_kept(3, 15);
    assert_int_equal(count_gone(), 0);
    made[3] = (struct rcl_huge){.base = at(25), .bytes = STEP, .kin = 7};
    rcl_keep_put(&keep, &made[3], &gone);
    assert_kept(4, 16);
    made[4] = (struct rcl_huge){.base = at(26), .bytes = STEP, .kin = 7};
    rcl_keep_put(&keep, &made[4], &gone);
    assert_kept(4, 17);
}

TEST(the_whole_is_as_old_as_its_oldest_part)
{
    struct rcl_huge *a = put(0, 0, 2), *b;

    rcl_keep_age(&keep, 3);
    b = put(1, 4, 2);
    rcl_keep_age(&keep, 3);
    assert_int_equal(a->age, 2);
    assert_int_equal(b->age, 1);
    assert_ptr_equal(rcl_keep_oldest(&keep, 0), a);
    assert_ptr_equal(rcl_keep_oldest(&keep, 2), a);
    assert_null(rcl_keep_oldest(&keep, 3));
    put(2, 2, 2);
    assert_kept(1, 6);
    assert_int_equal(rcl_keep_oldest(&keep, 0)->age, 2);

    /* The same from the other side: what is before is the younger one. */
    struct rcl_huge *old = put(3, 20, 1);
    for (unsigned i = 0; i < 9; i++)
        rcl_keep_age(&keep, 3);
    assert_int_equal(old->age, 3);
    struct rcl_huge *young = put(4, 17, 2);
    put(5, 19, 1);
    assert_int_equal(young->bytes, 4 * STEP);
    assert_int_equal(young->age, 3);
    /* Who is old is found wherever he stands. */
    put(6, 30, 1);
    assert_non_null(rcl_keep_oldest(&keep, 3));
}

TEST(a_cut_leaves_the_rest_in_its_place)
{
    struct rcl_huge *a = put(0, 10, 6);

    rcl_keep_age(&keep, 3);
    assert_ptr_equal(rcl_keep_cut(&keep, a, 2 * STEP), at(10));
    assert_kept(1, 4);
    assert_ptr_equal(a->base, at(12));
    assert_int_equal(a->age, 1);
    /* And what was cut off joins it again. */
    put(1, 10, 2);
    assert_kept(1, 6);
    assert_ptr_equal(a->base, at(10));
}

TEST(choices)
{
    assert_null(rcl_keep_oldest(&keep, 0));
    assert_null(rcl_keep_largest(&keep));
    assert_null(rcl_keep_smallest(&keep, 1, 1));
    assert_null(rcl_keep_at(&keep, at(0)));

    struct rcl_huge *five = put(0, 1, 5), *nine = put(1, 16, 9), *three = put(2, 32, 3);
    assert_ptr_equal(rcl_keep_largest(&keep), nine);
    assert_ptr_equal(rcl_keep_smallest(&keep, 1, STEP), three);
    assert_ptr_equal(rcl_keep_smallest(&keep, 3 * STEP, STEP), three);
    assert_ptr_equal(rcl_keep_smallest(&keep, 3 * STEP + 1, STEP), five);
    assert_ptr_equal(rcl_keep_smallest(&keep, 3 * STEP + 1, 16 * STEP), nine);
    assert_ptr_equal(rcl_keep_smallest(&keep, 9 * STEP, STEP), nine);
    assert_null(rcl_keep_smallest(&keep, 9 * STEP + 1, STEP));
    assert_null(rcl_keep_smallest(&keep, 9 * STEP, 64 * STEP));
}

/* Against a map of units: what is kept is what the map says, as few pieces as there are. */
TEST(random_histories)
{
    enum { UNITS = 200, ROUNDS = 20000 };
    static bool kept[UNITS];
    struct unit_random random = unit_random_start();

    memset(kept, 0, sizeof kept);
    for (int round = 0; round < ROUNDS; round++) {
        size_t free_one = 0, pieces = 0, units = 0;
        while (free_one < BLOCKS && made[free_one].kept)
            free_one++;
        if (unit_below(&random, 2) == 0 && free_one < BLOCKS) {
            size_t from = unit_below(&random, UNITS), n = 0;
            size_t most = 1 + unit_below(&random, 8);
            while (n < most && from + n < UNITS && !kept[from + n])
                kept[from + n++] = true;
            if (n > 0)
                put(free_one, from, n);
            struct rcl_list *l;
            while ((l = rcl_list_pop_front(&gone)) != NULL)
                container_of(l, struct rcl_huge, link)->kept = false;
        } else {
            size_t want = 1 + unit_below(&random, 8);
            struct rcl_huge *h = rcl_keep_smallest(&keep, want * STEP, STEP);
            if (h != NULL) {
                size_t from = (size_t)(h->base - at(0)) / STEP;
                if (h->bytes == want * STEP)
                    rcl_keep_remove(&keep, h);
                else
                    rcl_keep_cut(&keep, h, want * STEP);
                for (size_t i = from; i < from + want; i++) {
                    assert_true(kept[i]);
                    kept[i] = false;
                }
            }
        }
        for (size_t i = 0; i < UNITS; i++) {
            units += kept[i];
            pieces += kept[i] && (i == 0 || !kept[i - 1]);
        }
        assert_kept(pieces, units);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(neighbours_are_one, set_up),
        cmocka_unit_test_setup(only_kin_are_joined, set_up),
        cmocka_unit_test_setup(the_whole_is_as_old_as_its_oldest_part, set_up),
        cmocka_unit_test_setup(a_cut_leaves_the_rest_in_its_place, set_up),
        cmocka_unit_test_setup(choices, set_up),
        cmocka_unit_test_setup(random_histories, set_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
