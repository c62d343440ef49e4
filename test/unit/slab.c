/* SPDX-License-Identifier: MIT */
/*
 * Tests of slab.h: random operations on slabs of every class against a model with one
 * bool for everything.  A slab does not touch the memory it manages, so the addresses
 * are invented.
 */
#include "unit.h"

#include "sizeclass.h"
#include "die.h"
#include "slab_verify.h"

#define BASE ((char *)((uintptr_t)1 << 36))

enum { BATCH = 40 };

struct model {
    struct rcl_span *s;
    size_t size, page; /* bytes */
    bool used[UINT16_MAX];
    bool dirty[RCL_SLAB_PAGES_MAX];
    bool held[RCL_SLAB_PAGES_MAX];    /* in the purge that is under way */
    unsigned age[RCL_SLAB_PAGES_MAX]; /* where returnable */
    uint64_t refused;                 /* by the kernel, and not in use since */
    bool purging;
};

static struct model m;

/* --- what the model says ------------------------------------------------------------------ */

static size_t first_page(size_t slot)
{
    return slot * m.size / m.page;
}

static size_t last_page(size_t slot)
{
    return ((slot + 1) * m.size - 1) / m.page;
}

static bool ready(size_t slot)
{
    bool all = !m.used[slot];

    for (size_t p = first_page(slot); p <= last_page(slot); p++)
        all = all && m.dirty[p] && !m.held[p];
    return all;
}

static uint64_t pages_in_use(void)
{
    uint64_t pages = 0;

    for (size_t slot = 0; slot < m.s->slots; slot++)
        for (size_t p = first_page(slot); m.used[slot] && p <= last_page(slot); p++)
            pages |= (uint64_t)1 << p;
    return pages;
}

static uint64_t mask_of(const bool *pages)
{
    uint64_t mask = 0;

    for (size_t p = 0; p < m.s->pages; p++)
        mask |= (uint64_t)pages[p] << p;
    return mask;
}

static uint64_t returnable(void)
{
    return mask_of(m.dirty) & ~pages_in_use();
}

static size_t count_used(void)
{
    size_t n = 0;

    for (size_t slot = 0; slot < m.s->slots; slot++)
        n += m.used[slot];
    return n;
}

static size_t count_ready(void)
{
    size_t n = 0;

    for (size_t slot = 0; slot < m.s->slots; slot++)
        n += ready(slot);
    return n;
}

static void assert_same(void)
{
    const struct rcl_span *s = m.s;
    uint64_t idle = returnable(), old = 0;

    slab_verify(s);
    assert_int_equal(s->free_slots, s->slots - count_used());
    assert_int_equal(s->ready_slots, count_ready());
    assert_int_equal(s->dirty, mask_of(m.dirty));
    assert_int_equal(s->returnable, idle);
    assert_int_equal(s->purging, m.purging);
    assert_int_equal(rcl_slab_empty(s), count_used() == 0 && !m.purging);
    for (size_t p = 0; p < s->pages; p++) {
        unsigned age = (unsigned)((s->age_high >> p & 1) * 2 + (s->age_low >> p & 1));
        if (idle >> p & 1)
            assert_int_equal(age, m.age[p]);
        old |= (uint64_t)((idle >> p & 1) != 0 && m.age[p] == RCL_AGE_MAX) << p;
    }
    m.refused &= idle;
    assert_int_equal(s->refused, m.refused);
    old &= ~m.refused;
    assert_int_equal(rcl_slab_old(s), old);
}

/* --- operations on both ---------------------------------------------------------------------- */

static void make(unsigned cls, uint64_t dirty)
{
    const struct rcl_class *c = &rcl_classes[cls];

    free(m.s);
    memset(&m, 0, sizeof m);
    m.s = malloc(rcl_span_bytes(c->slots));
    assert_non_null(m.s);
    memset(m.s, 0xff, rcl_span_bytes(c->slots));
    m.size = c->size;
    m.page = rcl_page_size();
    m.s->base = BASE;
    m.s->pages = c->slab_pages;
    m.s->slots = c->slots;
    m.s->cls = (uint8_t)cls;
    if (c->slab_pages < 64)
        dirty &= ((uint64_t)1 << c->slab_pages) - 1;
    rcl_slab_init(m.s, dirty);
    for (size_t p = 0; p < m.s->pages; p++)
        m.dirty[p] = dirty >> p & 1;
    assert_same();
}

static void *block(size_t slot)
{
    return m.s->base + slot * m.size;
}

/* What lies in slots from now on; the pages that become returnable get this age. */
static void settle(uint64_t before, unsigned age)
{
    uint64_t fresh = returnable() & ~before;

    for (size_t p = 0; p < m.s->pages; p++)
        if (fresh >> p & 1)
            m.age[p] = age;
}

static void take(size_t n)
{
    void *out[BATCH + 1];
    size_t retaken, slot = 0, expected = rcl_min(n, count_ready());
    uint64_t before = returnable();

    out[expected] = &out;
    assert_int_equal(rcl_slab_take(m.s, out, n, &retaken), expected);
    assert_ptr_equal(out[expected], &out);
    for (size_t i = 0; i < expected; i++, slot++) {
        while (!ready(slot)) /* the lowest first */
            slot++;
        assert_ptr_equal(out[i], block(slot));
        m.used[slot] = true;
    }
    assert_int_equal(retaken, (unsigned)__builtin_popcountll(before & ~returnable()));
}

/* Activated pages are used at once, by whoever asked: the bin. */
static void activate_and_take(size_t n)
{
    size_t clean = SIZE_MAX, slot = 0, expected_clean = 0;
    bool zero, expected_zero = true;

    while (slot < m.s->slots && (m.used[slot] || ready(slot)))
        slot++;
    if (m.purging || slot == m.s->slots) {
        assert_false(rcl_slab_activate(m.s, &clean, &zero));
        return;
    }
    if (count_ready() > 0)
        return;
    for (size_t p = first_page(slot); p <= last_page(slot); p++) {
        expected_clean += !m.dirty[p];
        expected_zero = expected_zero && !m.dirty[p];
        m.dirty[p] = true;
    }
    assert_true(rcl_slab_activate(m.s, &clean, &zero));
    assert_int_equal(clean, expected_clean);
    assert_int_equal(zero, expected_zero);
    assert_true(ready(slot));

    /* As take(), but for the fresh pages, which were in no count yet. */
    void *out[BATCH];
    size_t retaken, got = rcl_slab_take(m.s, out, n, &retaken);
    assert_in_range(got, 1, n);
    assert_ptr_equal(out[0], block(slot));
    for (size_t i = 0; i < got; i++) {
        size_t number = (size_t)((char *)out[i] - m.s->base) / m.size;
        assert_true(ready(number));
        m.used[number] = true;
    }
}

/* Up to n blocks in use, from a random place: side by side upwards or downwards, or scattered. */
static size_t choose_used(struct unit_random *random, void **p, size_t n)
{
    size_t chosen = 0, slots = m.s->slots, start = unit_below(random, slots);
    size_t order = unit_below(random, 3);

    for (size_t i = 0; i < slots && chosen < n; i++) {
        size_t scattered = (start + i * (1 + i % 3)) % slots;
        size_t slot = order == 0   ? (start + i) % slots
                      : order == 1 ? (start + slots - i) % slots
                                   : scattered;
        bool again = !m.used[slot];
        for (size_t k = 0; k < chosen; k++)
            again = again || p[k] == block(slot);
        if (!again)
            p[chosen++] = block(slot);
    }
    return chosen;
}

/* All bits from the lowest to the highest that is set. */
static uint64_t ones_between(uint64_t w)
{
    return (~(uint64_t)0 >> __builtin_clzll(w)) & (~(uint64_t)0 << __builtin_ctzll(w));
}

static void put(struct unit_random *random, size_t n, bool old)
{
    void *p[BATCH + 1];
    uint64_t before = returnable(), touched = 0, expected_touched = 0;
    size_t chosen = choose_used(random, p, n), done;

    p[chosen] = BASE + unit_below(random, 2) * (size_t)m.s->pages * m.page; /* the end, or... */
    if (p[chosen] == BASE)
        p[chosen] = BASE - 16; /* ...below: either way another slab's */
    for (size_t i = 0; i < chosen; i++) {
        size_t slot = (size_t)((char *)p[i] - BASE) / m.size;
        m.used[slot] = false;
        for (size_t page = first_page(slot); page <= last_page(slot); page++)
            expected_touched |= (uint64_t)1 << page;
    }
    assert_int_equal(rcl_slab_put(m.s, p, chosen + 1, &done, &touched), RCL_SLAB_OK);
    assert_int_equal(done, chosen);
    /* Pages between them may be named too, but none outside. */
    assert_int_equal(touched & expected_touched, expected_touched);
    if (chosen > 0)
        assert_int_equal(touched & ~ones_between(expected_touched), 0);
    else
        assert_int_equal(touched, 0);
    assert_int_equal(rcl_slab_settle(m.s, touched, old),
                     (unsigned)__builtin_popcountll(returnable() & ~before));
    settle(before, old ? RCL_AGE_MAX : 0);
}

static void age(void)
{
    rcl_slab_age(m.s);
    for (size_t p = 0; p < m.s->pages; p++)
        m.age[p] = m.age[p] < RCL_AGE_MAX ? m.age[p] + 1 : RCL_AGE_MAX;
}

static void hold(uint64_t pages)
{
    rcl_slab_hold(m.s, pages);
    for (size_t p = 0; p < m.s->pages; p++)
        m.held[p] = pages >> p & 1;
    m.purging = true;
}

static void finish(bool purged)
{
    uint64_t refused = purged ? 0 : mask_of(m.held);

    rcl_slab_finish(m.s, mask_of(m.held), refused);
    m.refused |= refused;
    for (size_t p = 0; p < m.s->pages; p++) {
        if (m.held[p]) {
            m.dirty[p] = !purged;
            m.age[p] = 0;
        }
        m.held[p] = false;
    }
    m.purging = false;
}

static void one_step(struct unit_random *random)
{
    switch (unit_below(random, 9)) {
    case 0:
    case 1:
        take(1 + unit_below(random, BATCH));
        break;
    case 2:
    case 3:
        activate_and_take(1 + unit_below(random, BATCH));
        break;
    case 4:
    case 5:
    case 6:
        put(random, 1 + unit_below(random, BATCH), unit_below(random, 4) == 0);
        break;
    case 7:
        age();
        break;
    default:
        if (m.purging)
            finish(unit_below(random, 3) != 0);
        else if (returnable() != 0)
            hold(returnable() & (unit_below(random, 2) == 0 ? unit_next(random) : ~UINT64_C(0)));
    }
    assert_same();
}

/* --- tests -------------------------------------------------------------------------------- */

TEST(descriptors_have_room_for_their_maps)
{
    assert_true(rcl_span_bytes(1) <= sizeof(struct rcl_span));
    assert_int_equal(rcl_span_bytes(0), rcl_span_bytes(1));
    for (size_t slots = 2; slots < 5000; slots++)
        assert_int_equal(rcl_span_bytes(slots),
                         sizeof(struct rcl_span) + 2 * RCL_BITS_WORDS(slots) * sizeof(uint64_t));
}

TEST(a_fresh_slab_is_touched_page_by_page)
{
    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_SMALL_LAST; cls++) {
        make(cls, 0);
        assert_int_equal(m.s->ready_slots, 0);
        size_t dirty = 0;
        while (count_used() < m.s->slots) {
            if (m.s->ready_slots == 0)
                activate_and_take(1);
            else
                take(1);
            /* No page is dirty ahead of the block that needs it. */
            size_t pages = (size_t)__builtin_popcountll(m.s->dirty);
            assert_int_equal(pages, last_page(count_used() - 1) + 1);
            assert_true(pages >= dirty);
            dirty = pages;
        }
        assert_same();
        take(1);
        activate_and_take(1);
        assert_same();
    }
}

TEST(a_slab_on_dirty_pages_is_ready_at_once)
{
    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_SMALL_LAST; cls++) {
        make(cls, ~UINT64_C(0));
        assert_int_equal(m.s->ready_slots, m.s->slots);
        assert_int_equal(m.s->returnable, m.s->dirty);
    }
}

TEST(any_pages_may_be_dirty_at_first)
{
    struct unit_random random = unit_random_start();

    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_SMALL_LAST; cls++)
        for (int i = 0; i < 8; i++)
            make(cls, unit_next(&random) | unit_next(&random));
}

TEST(random_operations_on_every_class)
{
    struct unit_random random = unit_random_start();

    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_SMALL_LAST; cls++) {
        make(cls, unit_below(&random, 2) == 0 ? 0 : unit_next(&random));
        for (int step = 0; step < 250; step++)
            one_step(&random);
    }
}

TEST(long_histories_of_some_classes)
{
    /* Many to a page, across two, larger than one, larger than several. */
    static const size_t sizes[] = {48, 512, 3072, 5120, 20480, RCL_SMALL_MAX};
    struct unit_random random = unit_random_start();

    for (size_t i = 0; i < array_len(sizes); i++) {
        make(rcl_class_of_small(sizes[i]), 0);
        for (int step = 0; step < 4000; step++)
            one_step(&random);
    }
}

TEST(taking_beside_pages_that_are_in_a_purge)
{
    /* A class of which a word of the maps covers several pages. */
    make(rcl_class_of_small(rcl_page_size() / 8), ~UINT64_C(0));
    if (m.s->pages < 3)
        skip();
    hold((uint64_t)2);
    assert_same();
    /* Blocks on the pages before and behind it are taken in one call. */
    take(BATCH / 2);
    assert_same();
    assert_true(m.s->returnable & 2);
    finish(true);
    assert_same();
    assert_int_equal(m.s->dirty & 2, 0);
}

TEST(a_held_slab_is_not_empty)
{
    make(RCL_CLASS_FIRST, 1);
    assert_true(rcl_slab_empty(m.s));
    hold(1);
    assert_false(rcl_slab_empty(m.s));
    assert_same();
    finish(false);
    assert_true(rcl_slab_empty(m.s));
    assert_same();
}

/* --- bad pointers ------------------------------------------------------------------------- */

static void assert_put(void *p, enum rcl_slab_error expected)
{
    size_t done = SIZE_MAX;
    uint64_t touched = 0;

    assert_int_equal(rcl_slab_check(m.s, p), expected);
    if (expected == RCL_SLAB_OK)
        return;
    assert_int_equal(rcl_slab_put(m.s, &p, 1, &done, &touched), expected);
    assert_int_equal(done, 0);
    assert_int_equal(touched, 0);
}

TEST(only_the_start_of_a_block_in_use_is_one)
{
    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_SMALL_LAST; cls += 3) {
        make(cls, ~UINT64_C(0));
        take(BATCH);
        for (size_t slot = 0; slot < m.s->slots; slot++) {
            char *p = block(slot);

            assert_put(p, m.used[slot] ? RCL_SLAB_OK : RCL_SLAB_NOT_IN_USE);
            assert_put(p + 1, RCL_SLAB_NOT_A_BLOCK);
            assert_put(p + m.size - 1, RCL_SLAB_NOT_A_BLOCK);
            assert_put(p + m.size / 2 + 1, RCL_SLAB_NOT_A_BLOCK);
        }
        /* Behind the last block, where the slab has a tail. */
        for (char *p = block(m.s->slots); p < BASE + m.s->pages * m.page; p += 16)
            assert_put(p, RCL_SLAB_NOT_A_BLOCK);
        assert_same();
    }
}

TEST(an_error_in_a_batch_leaves_it_and_the_rest_alone)
{
    make(rcl_class_of_small(64), ~UINT64_C(0));
    take(BATCH);
    void *bad[] = {(char *)block(2) + 8, block(0), block(BATCH)};
    static const enum rcl_slab_error errors[] = {RCL_SLAB_NOT_A_BLOCK, RCL_SLAB_NOT_IN_USE,
                                                 RCL_SLAB_NOT_IN_USE};

    for (size_t i = 0; i < array_len(bad); i++) {
        /* Two good ones, a bad one (the middle one: given back twice), a good one. */
        void *p[] = {block(i == 1 ? 0 : 2 + 2 * i), block(3 + 2 * i), bad[i], block(20)};
        uint64_t before = returnable(), touched = 0;
        size_t done;

        assert_int_equal(rcl_slab_put(m.s, p, 4, &done, &touched), errors[i]);
        assert_int_equal(done, 2);
        assert_ptr_equal(p[done], bad[i]);
        for (size_t k = 0; k < 2; k++)
            m.used[(size_t)((char *)p[k] - BASE) / m.size] = false;
        rcl_slab_settle(m.s, touched, false);
        settle(before, 0);
        assert_same();
        assert_int_equal(rcl_slab_check(m.s, block(20)), RCL_SLAB_OK);
    }
}

TEST(an_error_in_a_row_leaves_it_and_the_rest_alone)
{
    for (size_t wrong = 1; wrong < 12; wrong++) {
        for (unsigned down = 0; down < 2; down++) {
            void *p[12];
            uint64_t before, touched = 0;
            size_t done;

            make(rcl_class_of_small(64), ~UINT64_C(0));
            take(BATCH);
            for (size_t i = 0; i < 12; i++)
                p[i] = block(10 + (down ? 11 - i : i));
            assert_int_equal(rcl_slab_put(m.s, &p[wrong], 1, &done, &touched), RCL_SLAB_OK);
            m.used[(size_t)((char *)p[wrong] - BASE) / m.size] = false;
            before = returnable();
            assert_int_equal(rcl_slab_put(m.s, p, 12, &done, &touched), RCL_SLAB_NOT_IN_USE);
            assert_int_equal(done, wrong);
            for (size_t i = 0; i < wrong; i++)
                m.used[(size_t)((char *)p[i] - BASE) / m.size] = false;
            rcl_slab_settle(m.s, touched, false);
            settle(before, 0);
            assert_same();
        }
    }
}

/* --- the check checks --------------------------------------------------------------------- */

static void break_it(void *arg)
{
    struct rcl_span *s = m.s;
    uint64_t *ready_map = s->bits + RCL_BITS_WORDS(s->slots);

    switch ((int)(intptr_t)arg) {
    case 0: /* ready, but in use */
        rcl_bits_set_range(ready_map, 0, 1);
        break;
    case 1: /* in use on a clean page */
        s->dirty = 0;
        break;
    case 2: /* in use on a returnable page */
        s->returnable = 1;
        break;
    case 3: /* should be ready */
        rcl_bits_clear_range(ready_map, 1, 1);
        s->ready_slots--;
        break;
    case 4: /* counts */
        s->free_slots++;
        break;
    case 5:
        s->ready_slots--;
        break;
    case 6: /* a page that is returnable and is not known to be */
        s->returnable = 0;
        break;
    default: /* a clean page is returnable */
        s->returnable |= (uint64_t)1 << (s->pages - 1);
        s->dirty &= ~((uint64_t)1 << (s->pages - 1));
    }
    slab_verify(s);
}

TEST(verify_finds_what_is_broken)
{
    for (intptr_t what = 0; what <= 7; what++) {
        /* A slab of several pages, of which the first is in use and the last is idle. */
        make(rcl_class_of_small(rcl_page_size() / 2), ~UINT64_C(0));
        take(1);
        assert_same();
        unit_child_dies(break_it, (void *)what, "libreclaim: slab 0x");
    }
}

static void hold_what_is_in_use(void *arg)
{
    (void)arg;
    rcl_slab_hold(m.s, 1);
}

TEST(only_returnable_pages_are_held)
{
    if (!RCL_DEBUG)
        skip();
    make(RCL_CLASS_FIRST, ~UINT64_C(0));
    take(1);
    unit_child_dies(hold_what_is_in_use, NULL, "libreclaim: internal error, please report: ");
}

static int set_up(void **state)
{
    (void)state;
    rcl_os_init();
    rcl_sizeclass_init(rcl_page_size());
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(m.s);
    return 0;
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(descriptors_have_room_for_their_maps),
        cmocka_unit_test(a_fresh_slab_is_touched_page_by_page),
        cmocka_unit_test(a_slab_on_dirty_pages_is_ready_at_once),
        cmocka_unit_test(any_pages_may_be_dirty_at_first),
        cmocka_unit_test(random_operations_on_every_class),
        cmocka_unit_test(long_histories_of_some_classes),
        cmocka_unit_test(taking_beside_pages_that_are_in_a_purge),
        cmocka_unit_test(a_held_slab_is_not_empty),
        cmocka_unit_test(only_the_start_of_a_block_in_use_is_one),
        cmocka_unit_test(an_error_in_a_batch_leaves_it_and_the_rest_alone),
        cmocka_unit_test(an_error_in_a_row_leaves_it_and_the_rest_alone),
        cmocka_unit_test(verify_finds_what_is_broken),
        cmocka_unit_test(only_returnable_pages_are_held),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
