/* SPDX-License-Identifier: MIT */
/* Tests of list.h: random operations against an array. */
#include "unit.h"

#include "list.h"

enum { NODES = 12 };

/* A list, and the same as an array of node numbers. */
struct pair {
    struct rcl_list head;
    struct rcl_list node[NODES];
    size_t order[NODES];
    size_t n;
};

static void pair_init(struct pair *p)
{
    p->n = 0;
    rcl_list_init(&p->head);
    for (size_t i = 0; i < NODES; i++)
        rcl_list_init(&p->node[i]);
}

static void assert_same(const struct pair *p)
{
    const struct rcl_list *at = &p->head;
    bool linked[NODES] = {false};

    for (size_t i = 0; i < p->n; i++) {
        assert_ptr_equal(at->next, &p->node[p->order[i]]);
        assert_ptr_equal(at->next->prev, at);
        at = at->next;
        linked[p->order[i]] = true;
    }
    assert_ptr_equal(at->next, &p->head);
    assert_ptr_equal(p->head.prev, at);
    assert_int_equal(rcl_list_empty(&p->head), p->n == 0);
    for (size_t i = 0; i < NODES; i++)
        assert_int_equal(rcl_list_linked(&p->node[i]), linked[i]);
}

static void put_at(struct pair *p, size_t place, size_t number)
{
    memmove(p->order + place + 1, p->order + place, (p->n - place) * sizeof p->order[0]);
    p->order[place] = number;
    p->n++;
}

static size_t take_at(struct pair *p, size_t place)
{
    size_t number = p->order[place];

    p->n--;
    memmove(p->order + place, p->order + place + 1, (p->n - place) * sizeof p->order[0]);
    return number;
}

static size_t place_of(const struct pair *p, size_t number)
{
    size_t place = 0;

    while (place < p->n && p->order[place] != number)
        place++;
    return place;
}

TEST(a_node_on_no_list_points_to_itself)
{
    struct pair p;

    pair_init(&p);
    assert_same(&p);
    assert_null(rcl_list_pop_front(&p.head));
    assert_same(&p);
}

TEST(random_operations)
{
    struct unit_random random = unit_random_start();
    struct pair p;

    pair_init(&p);
    for (int step = 0; step < 100000; step++) {
        size_t number = unit_below(&random, NODES), place = place_of(&p, number);

        if (place < p.n) {
            rcl_list_remove(&p.node[number]);
            take_at(&p, place);
        } else if (unit_below(&random, 3) == 0) {
            rcl_list_push_front(&p.head, &p.node[number]);
            put_at(&p, 0, number);
        } else if (unit_below(&random, 2) == 0) {
            rcl_list_push_back(&p.head, &p.node[number]);
            put_at(&p, p.n, number);
        } else if (p.n > 0) {
            /* Directly behind another node. */
            size_t at = unit_below(&random, p.n);
            rcl_list_push_front(&p.node[p.order[at]], &p.node[number]);
            put_at(&p, at + 1, number);
        }
        if (unit_below(&random, 8) == 0) {
            struct rcl_list *first = rcl_list_pop_front(&p.head);
            assert_ptr_equal(first, p.n == 0 ? NULL : &p.node[p.order[0]]);
            if (p.n > 0)
                take_at(&p, 0);
        }
        assert_same(&p);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_node_on_no_list_points_to_itself),
        cmocka_unit_test(random_operations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
