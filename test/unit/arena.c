/* SPDX-License-Identifier: MIT */
/*
 * Tests of arena.h.  Arenas are made once in a process, so each test boots in a forked
 * child of its own.
 */
#include "unit.h"

#include "account.h"
#include "arena.h"
#include "large.h"
#include "meta.h"
#include "options.h"
#include "pagemap.h"

enum { BATCH = 40, THREADS = 4 };

/* Boot with this many arenas at most. */
static void boot(int64_t narenas)
{
    rcl_opt.narenas = narenas;
    REQUIRE(rcl_arena_boot());
}

/* --- how many, and whose ---------------------------------------------------------------------- */

static void make_as_threads_come(void *arg)
{
    struct rcl_arena *arena[3];
    size_t limit = rcl_min(3, RCL_ARENAS_MAX);

    (void)arg;
    boot(3);
    REQUIRE(rcl_arena_limit() == limit);
    REQUIRE(rcl_arena_count() == 1);
    REQUIRE(rcl_arena_boot() && rcl_arena_count() == 1);
    for (unsigned i = 0; i < limit; i++) {
        arena[i] = rcl_arena_assign(NULL);
        REQUIRE(arena[i] == rcl_arena_get(i) && arena[i]->index == i);
        REQUIRE(rcl_arena_count() == i + 1);
    }
    /* From here on they are shared, evenly. */
    for (unsigned i = 0; i < 2 * limit; i++)
        rcl_arena_assign(NULL);
    for (unsigned i = 0; i < limit; i++)
        REQUIRE(arena[i]->threads == 3);
    REQUIRE(rcl_arena_count() == limit);
    /* The one that lost a thread gets the next. */
    struct rcl_arena *left = arena[limit - 1];
    rcl_arena_release(left);
    REQUIRE(rcl_arena_assign(NULL) == left);
}

TEST(arenas_are_made_as_threads_come)
{
    unit_child_passes(make_as_threads_come, NULL);
}

static void come_and_go(void *arg)
{
    (void)arg;
    boot(8);
    struct rcl_arena *first = rcl_arena_assign(NULL);
    for (int i = 0; i < 100; i++) {
        rcl_arena_release(first);
        REQUIRE(rcl_arena_assign(NULL) == first);
    }
    REQUIRE(rcl_arena_count() == 1);
}

TEST(one_thread_after_the_other_needs_one_arena)
{
    unit_child_passes(come_and_go, NULL);
}

static void come_back(void *arg)
{
    (void)arg;
    boot(3);
    struct rcl_arena *a[] = {rcl_arena_assign(NULL), rcl_arena_assign(NULL),
                             rcl_arena_assign(NULL)};
    for (unsigned i = 0; i < rcl_arena_limit(); i++) {
        /* To where its blocks are, as long as no other arena has fewer threads. */
        rcl_arena_release(a[i]);
        REQUIRE(rcl_arena_assign(a[i]) == a[i]);
    }
    if (rcl_arena_limit() < 3)
        return;
    rcl_arena_release(a[2]);
    REQUIRE(rcl_arena_assign(a[1]) == a[2]);
    rcl_arena_release(a[0]);
    rcl_arena_release(a[1]);
    rcl_arena_release(a[2]);
    for (unsigned i = 0; i < 3; i++) {
        REQUIRE(rcl_arena_assign(a[i]) == a[i]);
        rcl_arena_release(a[i]);
    }
}

TEST(who_comes_back_gets_the_arena_it_had)
{
    unit_child_passes(come_back, NULL);
}

static void boot_by_processors(void *arg)
{
    (void)arg;
    boot(0);
    REQUIRE(rcl_arena_limit() == rcl_min(rcl_os_ncpu(), RCL_ARENAS_MAX));
}

TEST(by_default_there_is_one_for_each_processor)
{
    unit_child_passes(boot_by_processors, NULL);
}

static void ask_for_the_most(void *arg)
{
    (void)arg;
    boot(256);
    REQUIRE(rcl_arena_limit() == rcl_min(256, RCL_ARENAS_MAX));
    for (unsigned i = 0; i < 2 * rcl_arena_limit(); i++)
        REQUIRE(rcl_arena_assign(NULL) != NULL);
    REQUIRE(rcl_arena_count() == rcl_arena_limit());
}

TEST(there_may_be_many)
{
    unit_child_passes(ask_for_the_most, NULL);
}

static void *assign(void *arg)
{
    *(struct rcl_arena **)arg = rcl_arena_assign(NULL);
    return NULL;
}

static void assign_at_the_same_time(void *arg)
{
    struct rcl_arena *got[UNIT_THREADS_MAX];
    uint32_t sum = 0;

    (void)arg;
    boot(UNIT_THREADS_MAX);
    unit_threads(UNIT_THREADS_MAX, assign, got, sizeof got[0]);
    for (unsigned i = 0; i < UNIT_THREADS_MAX; i++)
        REQUIRE(got[i] == rcl_arena_get(got[i]->index));
    REQUIRE(rcl_arena_count() <= rcl_arena_limit());
    for (unsigned i = 0; i < rcl_arena_count(); i++)
        sum += rcl_arena_get(i)->threads;
    REQUIRE(sum == UNIT_THREADS_MAX);
}

TEST(several_threads_at_the_same_time)
{
    unit_child_passes(assign_at_the_same_time, NULL);
}

/* --- blocks ------------------------------------------------------------------------------- */

static size_t take(struct rcl_arena *a, unsigned cls, void **out, size_t n)
{
    bool zero;
    size_t got = rcl_blocks_take(a, cls, out, n, &zero);

    REQUIRE(got >= 1 && got <= n);
    REQUIRE(!zero || unit_zero(out[0], rcl_classes[cls].size));
    for (size_t i = 0; i < got; i++) {
        REQUIRE(rcl_pagemap_class(out[i]) == cls);
        struct rcl_span *s = rcl_pagemap_desc(out[i]);
        REQUIRE(s->arena == a);
        unit_stamp(out[i], rcl_classes[cls].size, (uintptr_t)out[i]);
    }
    return got;
}

static void assert_nothing_in_use(void)
{
    REQUIRE(rcl_account_get(&rcl_account.used_pages) == 0);
    for (unsigned i = 0; i < rcl_arena_count(); i++)
        for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_SMALL_LAST; cls++)
            REQUIRE(rcl_arena_get(i)->bin[cls].live == 0);
}

static void take_and_put_all_classes(void *arg)
{
    void *p[4 * BATCH];

    (void)arg;
    boot(2);
    rcl_arena_assign(NULL);
    struct rcl_arena *a = rcl_arena_get(0), *b = rcl_arena_assign(NULL);
    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_MEDIUM_LAST; cls++) {
        size_t n = 0;
        /* A medium block is a run of its own: they come one by one. */
        if (!rcl_class_is_small(cls))
            REQUIRE(take(a, cls, p, BATCH) == 1 && ++n == 1);
        /* From both in turn. */
        for (int round = 0; round < 4 && n + BATCH <= array_len(p); round++)
            n += take(round % 2 == 0 ? a : b, cls, p + n, 1 + (size_t)round * 7);
        for (size_t i = 0; i < n; i++)
            REQUIRE(unit_stamped(p[i], rcl_classes[cls].size, (uintptr_t)p[i]));
        /* And all back together, whoever they belong to. */
        rcl_blocks_put(cls, p, n, RCL_AGE_NEW, "free");
        assert_nothing_in_use();
    }
}

TEST(blocks_go_back_to_where_they_came_from)
{
    unit_child_passes(take_and_put_all_classes, NULL);
}

static void see_the_age(void *arg)
{
    void *p;

    (void)arg;
    boot(1);
    struct rcl_arena *a = rcl_arena_get(0);
    static const enum rcl_age ages[] = {RCL_AGE_NEW, RCL_AGE_OLD};
    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_MEDIUM_LAST; cls += 7) {
        for (size_t i = 0; i < 2; i++) {
            take(a, cls, &p, 1);
            rcl_blocks_put(cls, &p, 1, ages[i], "free");
            size_t old = rcl_runs_purge(&a->runs, RCL_PURGE_OLD, SIZE_MAX);
            REQUIRE((old != 0) == (ages[i] == RCL_AGE_OLD));
            rcl_runs_purge(&a->runs, RCL_PURGE_ANY, SIZE_MAX);
        }
    }
}

TEST(what_idle_caches_give_back_is_old)
{
    unit_child_passes(see_the_age, NULL);
}

/* --- bad pointers ------------------------------------------------------------------------- */

enum bad { TWICE, TWICE_AT_ONCE, INSIDE };

struct bad_put {
    unsigned cls;
    enum bad what;
};

static void put_bad(void *arg)
{
    const struct bad_put *bad = arg;
    void *p[2], *again;

    boot(1);
    take(rcl_arena_get(0), bad->cls, p, 1);
    p[1] = again = p[0];
    if (bad->what == TWICE)
        rcl_blocks_put(bad->cls, p, 1, RCL_AGE_NEW, "caller");
    if (bad->what == INSIDE)
        again = (char *)again + 8;
    if (bad->what == TWICE_AT_ONCE)
        rcl_blocks_put(bad->cls, p, 2, RCL_AGE_NEW, "caller");
    rcl_blocks_put(bad->cls, &again, 1, RCL_AGE_NEW, "caller");
}

TEST(a_bad_pointer_ends_the_program)
{
    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_MEDIUM_LAST; cls += 25) {
        struct bad_put twice = {cls, TWICE}, at_once = {cls, TWICE_AT_ONCE}, inside = {cls, INSIDE};

        unit_child_dies(put_bad, &twice, "libreclaim: caller(): double free of 0x");
        unit_child_dies(put_bad, &at_once, "libreclaim: caller(): double free of 0x");
        unit_child_dies(put_bad, &inside, "libreclaim: caller(): invalid pointer 0x");
    }
}

/* --- out of memory ------------------------------------------------------------------------ */

static void boot_without_memory(void *arg)
{
    (void)arg;
    unit_limit_memory(0);
    rcl_opt.narenas = 2;
    REQUIRE(!rcl_arena_boot());
    REQUIRE(rcl_arena_count() == 0);
    unit_unlimit_memory();
    REQUIRE(rcl_arena_boot() && rcl_arena_count() == 1);
}

TEST(without_memory_there_is_no_arena)
{
    unit_child_passes(boot_without_memory, NULL);
}

static void assign_without_memory(void *arg)
{
    (void)arg;
    boot(4);
    struct rcl_arena *first = rcl_arena_assign(NULL);
    unit_limit_memory(0);
    REQUIRE(rcl_arena_assign(NULL) == first);
    REQUIRE(rcl_arena_count() == 1);
    void *p;
    bool zero;
    REQUIRE(rcl_blocks_take(first, RCL_CLASS_FIRST, &p, 1, &zero) == 0);
    REQUIRE(rcl_blocks_take(first, RCL_MEDIUM_LAST, &p, 1, &zero) == 0);
    unit_unlimit_memory();
    REQUIRE(rcl_blocks_take(first, RCL_CLASS_FIRST, &p, 1, &zero) == 1);
}

TEST(without_memory_for_another_arena_one_is_shared)
{
    unit_child_passes(assign_without_memory, NULL);
}

/* --- threads ------------------------------------------------------------------------------ */

enum { ROUNDS = 300, SHELF = 50 };

static void *shelf[SHELF]; /* blocks on their way from one thread to another; class in the shelf */
static unsigned shelf_class[SHELF];
static struct rcl_lock shelf_lock;

static void *work(void *arg)
{
    struct unit_random random = {(uintptr_t)arg};
    struct rcl_arena *a = rcl_arena_assign(NULL);
    void *p[BATCH];

    for (int round = 0; round < ROUNDS; round++) {
        unsigned cls = RCL_CLASS_FIRST + (unsigned)unit_below(&random, RCL_MEDIUM_LAST);
        size_t n = take(a, cls, p, 1 + unit_below(&random, BATCH));
        /* Half of them go back, one goes to another thread and one comes from there. */
        for (size_t i = 0; i < n; i++)
            REQUIRE(unit_stamped(p[i], rcl_classes[cls].size, (uintptr_t)p[i]));
        void *own = p[--n], *other;
        unsigned other_cls;
        rcl_blocks_put(cls, p, n, RCL_AGE_NEW, "free");
        rcl_lock(&shelf_lock);
        size_t place = unit_below(&random, SHELF);
        other = shelf[place];
        other_cls = shelf_class[place];
        shelf[place] = own;
        shelf_class[place] = cls;
        rcl_unlock(&shelf_lock);
        if (other != NULL) {
            REQUIRE(unit_stamped(other, rcl_classes[other_cls].size, (uintptr_t)other));
            rcl_blocks_put(other_cls, &other, 1, RCL_AGE_NEW, "free");
        }
        if (round % 8 == 0)
            rcl_runs_purge(&a->runs, RCL_PURGE_ANY, 100);
    }
    rcl_arena_release(a);
    return NULL;
}

static void exchange_between_arenas(void *arg)
{
    char args[THREADS];

    (void)arg;
    boot(2);
    unit_threads(THREADS, work, args, 1);
    for (size_t i = 0; i < SHELF; i++)
        if (shelf[i] != NULL)
            rcl_blocks_put(shelf_class[i], &shelf[i], 1, RCL_AGE_NEW, "free");
    assert_nothing_in_use();
}

TEST(several_threads_exchange_blocks)
{
    unit_child_passes(exchange_between_arenas, NULL);
}

static int set_up(void **state)
{
    (void)state;
    rcl_os_init();
    rcl_sizeclass_init(rcl_page_size());
    return 0;
}

/* --- explicit arenas ------------------------------------------------------------------------- */

static void find_by_index(void *arg)
{
    (void)arg;
    boot(3);
    size_t limit = rcl_arena_limit();
    REQUIRE(rcl_arena_find(0, false) == rcl_arena_get(0));
    if (limit > 1) {
        /* An automatic one is made when it is named. */
        REQUIRE(rcl_arena_find(1, false) == NULL);
        struct rcl_arena *a = rcl_arena_find(1, true);
        REQUIRE(a != NULL && a->index == 1 && !a->is_explicit);
        REQUIRE(rcl_arena_find(1, true) == a && rcl_arena_count() == 2);
    }
    REQUIRE(rcl_arena_find((unsigned)limit, true) == NULL);
    REQUIRE(rcl_arena_find(RCL_ARENA_INDEXES, true) == NULL);
    REQUIRE(rcl_arena_find(UINT32_MAX, true) == NULL);
}

TEST(arenas_are_found_by_index)
{
    unit_child_passes(find_by_index, NULL);
}

static void create_and_retire(void *arg)
{
    (void)arg;
    boot(2);
    unsigned limit = rcl_arena_limit();
    struct rcl_arena *a = rcl_arena_create(), *b = rcl_arena_create();
    REQUIRE(a->is_explicit && a->index == limit && b->index == limit + 1);
    REQUIRE(rcl_arena_indexes() == limit + 2);
    REQUIRE(rcl_arena_find(limit, false) == a);
    /* No thread is put there. */
    for (int i = 0; i < 10; i++)
        REQUIRE(!rcl_arena_assign(a)->is_explicit);
    REQUIRE(a->threads == 0 && b->threads == 0);
    rcl_arena_retire(a);
    REQUIRE(rcl_arena_find(limit, true) == NULL);
    REQUIRE(rcl_arena_create() == a && rcl_arena_find(limit, false) == a);
    REQUIRE(rcl_arena_indexes() == limit + 2);
}

TEST(explicit_arenas_come_behind_and_are_used_again)
{
    unit_child_passes(create_and_retire, NULL);
}

static void run_out_of_indexes(void *arg)
{
    (void)arg;
    boot(1);
    unsigned n = rcl_arena_limit();
    while (rcl_arena_create() != NULL)
        n++;
    REQUIRE(n == RCL_ARENA_INDEXES);
    REQUIRE(rcl_arena_indexes() == RCL_ARENA_INDEXES);
}

TEST(there_are_as_many_as_flags_can_name)
{
    unit_child_passes(run_out_of_indexes, NULL);
}

static void discard_all(void *arg)
{
    (void)arg;
    boot(1);
    struct rcl_arena *a = rcl_arena_create(), *b = rcl_arena_create();
    int64_t used = rcl_account_get(&rcl_account.used_pages);
    void *kept[BATCH], *p[BATCH];
    struct rcl_run run;
    bool zero;
    size_t n_kept = rcl_blocks_take(b, 5, kept, BATCH, &zero);
    int64_t with_kept = rcl_account_get(&rcl_account.used_pages);

    REQUIRE(n_kept > 0 && with_kept > used);
    for (int i = 0; i < 3000; i++) {
        unsigned cls = RCL_CLASS_FIRST + (unsigned)i % RCL_MEDIUM_LAST;
        REQUIRE(rcl_blocks_take(a, cls, p, BATCH, &zero) > 0);
        REQUIRE(rcl_pagemap_class(p[0]) == RCL_CLASS_APART && rcl_block_class(p[0]) == cls);
        /* Some go back, so that slabs are full, part-used, empty. */
        if (i % 3 == 0)
            rcl_blocks_put(cls, p, 1, RCL_AGE_NEW, "free");
        if (i % 100 == 0)
            REQUIRE(rcl_large_take(&a->runs, a, 400000, 1, RCL_CLASS_LARGE, &run) != NULL);
    }
    size_t chunk = 0, slices = 1;
    while (rcl_arena_discard(a, &chunk))
        slices++;
    REQUIRE(slices > 1);
    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_SMALL_LAST; cls++)
        REQUIRE(a->bin[cls].live == 0 && a->bin[cls].slabs == 0 && a->bin[cls].open == 0);
    REQUIRE(rcl_account_get(&rcl_account.used_pages) == with_kept);
    REQUIRE(rcl_pagemap_class(p[0]) == RCL_CLASS_NONE);
    rcl_runs_purge(&a->runs, RCL_PURGE_ANY, SIZE_MAX);
    rcl_runs_unmap_empty(&a->runs, 0, true);
    struct rcl_runs_stats stats;
    rcl_runs_usage(&a->runs, &stats);
    REQUIRE(stats.pages == 0);
    /* The neighbour has lost nothing, and the arena works. */
    rcl_blocks_put(5, kept, n_kept, RCL_AGE_NEW, "free");
    REQUIRE(rcl_account_get(&rcl_account.used_pages) == used);
    REQUIRE(rcl_blocks_take(a, 5, p, BATCH, &zero) > 0);
}

TEST(discarding_leaves_nothing_and_every_count_true)
{
    unit_child_passes(discard_all, NULL);
}

static void decay_of_each(void *arg)
{
    (void)arg;
    boot(1);
    struct rcl_arena *first = rcl_arena_get(0), *a = rcl_arena_create();
    REQUIRE(!rcl_arena_own_decay());
    REQUIRE(rcl_arena_decay_ms(a) == rcl_opt.dirty_decay_ms);
    rcl_arena_set_next_decay_ms(77);
    REQUIRE(rcl_arena_next_decay_ms() == 77 && rcl_arena_decay_ms(a) == rcl_opt.dirty_decay_ms);
    struct rcl_arena *b = rcl_arena_create();
    REQUIRE(rcl_arena_decay_ms(b) == 77 && rcl_arena_own_decay());
    rcl_arena_set_decay_ms(a, 5);
    REQUIRE(rcl_arena_decay_ms(a) == 5 && rcl_demand_decay_ms() == rcl_opt.dirty_decay_ms);
    /* What belongs to no arena follows the first. */
    rcl_arena_set_decay_ms(first, 0);
    REQUIRE(rcl_demand_decay_ms() == 0 && rcl_demand_ceiling() == 0);
    /* Anew, it has what arenas to come have. */
    rcl_arena_retire(a);
    REQUIRE(rcl_arena_create() == a && rcl_arena_decay_ms(a) == 77);
}

TEST(each_arena_has_its_own_decay)
{
    unit_child_passes(decay_of_each, NULL);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(arenas_are_made_as_threads_come),
        cmocka_unit_test(one_thread_after_the_other_needs_one_arena),
        cmocka_unit_test(who_comes_back_gets_the_arena_it_had),
        cmocka_unit_test(by_default_there_is_one_for_each_processor),
        cmocka_unit_test(there_may_be_many),
        cmocka_unit_test(several_threads_at_the_same_time),
        cmocka_unit_test(blocks_go_back_to_where_they_came_from),
        cmocka_unit_test(what_idle_caches_give_back_is_old),
        cmocka_unit_test(a_bad_pointer_ends_the_program),
        cmocka_unit_test(without_memory_there_is_no_arena),
        cmocka_unit_test(without_memory_for_another_arena_one_is_shared),
        cmocka_unit_test(several_threads_exchange_blocks),
        cmocka_unit_test(arenas_are_found_by_index),
        cmocka_unit_test(explicit_arenas_come_behind_and_are_used_again),
        cmocka_unit_test(there_are_as_many_as_flags_can_name),
        cmocka_unit_test(discarding_leaves_nothing_and_every_count_true),
        cmocka_unit_test(each_arena_has_its_own_decay),
    };

    return cmocka_run_group_tests(tests, set_up, NULL);
}
