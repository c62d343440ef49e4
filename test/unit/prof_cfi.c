/* SPDX-License-Identifier: MIT */
/* Tests of prof_cfi.h on tables made by hand: each rule, and bytes that are no rules. */
#include "unit.h"

#include "prof_cfi.h"

enum { START = 0x1000, LENGTH = 0x100, ROOM = 512 };

/* An .eh_frame: one CIE, one FDE, and where it begins in `bytes`. */
struct table {
    uint8_t bytes[ROOM];
    size_t used, fde;
};

static void put(struct table *t, const void *data, size_t bytes)
{
    assert_true(t->used + bytes <= ROOM);
    memcpy(t->bytes + t->used, data, bytes);
    t->used += bytes;
}

static void put_byte(struct table *t, unsigned byte)
{
    uint8_t b = (uint8_t)byte;
    put(t, &b, 1);
}

static void put_word(struct table *t, uint32_t word)
{
    put(t, &word, sizeof word);
}

static void end_record(struct table *t, size_t from)
{
    while ((t->used - from) % 4 != 0)
        put_byte(t, 0);
    uint32_t length = (uint32_t)(t->used - from - 4);
    memcpy(t->bytes + from, &length, sizeof length);
}

/* Pointers as words of 4 bytes without a base; code in bytes, data in words downwards. */
static void make(struct table *t, const char *letters, const void *program, size_t bytes)
{
    static const uint8_t common[] = {0x0c, 7, 8, 0x90, 1}; /* CFA is rsp + 8, the pc just below */

    memset(t, 0, sizeof *t);
    put_word(t, 0);
    put_word(t, 0);
    put_byte(t, 1);
    put(t, letters, strlen(letters) + 1);
    put_byte(t, 1);
    put_byte(t, 0x78);
    put_byte(t, 16);
    if (letters[0] == 'z') {
        put_byte(t, (unsigned)strlen(letters + 1));
        for (const char *l = letters + 1; *l != '\0'; l++)
            if (*l != 'S')
                put_byte(t, 0x03);
        if (strchr(letters, 'S') != NULL)
            put_byte(t, 0);
    }
    put(t, common, sizeof common);
    end_record(t, 0);
    t->fde = t->used;
    put_word(t, 0);
    put_word(t, (uint32_t)(t->used));
    if (letters[0] == 'z') {
        put_word(t, START);
        put_word(t, LENGTH);
        put_byte(t, 0);
    } else {
        uint64_t start = START, length = LENGTH;
        put(t, &start, 8);
        put(t, &length, 8);
    }
    put(t, program, bytes);
    end_record(t, t->fde);
}

static struct rcl_cfi_row row_at(const struct table *t, uintptr_t pc)
{
    struct rcl_cfi u;
    struct rcl_cfi_row row;

    assert_true(rcl_cfi_read(&u, t->bytes + t->fde, pc));
    assert_true(rcl_cfi_row(&row, &u, pc));
    return row;
}

/* push rbp; mov rbp, rsp; push rbx; ...; in the middle a way out, and back. */
static const uint8_t usual[] = {0x41, 0x0e, 16,   0x86, 2,    0x43, 0x0d, 6, 0x02, 0x10, 0x83,
                                3,    0x41, 0x0a, 0xc3, 0xc6, 0x0c, 7,    8, 0x41, 0x0b};

static void check_usual(const struct table *t)
{
    struct rcl_cfi_row row = row_at(t, START);

    assert_int_equal(row.cfa_kind, RCL_CFI_REGISTER);
    assert_int_equal(row.cfa_register, 7);
    assert_int_equal(row.cfa_n, 8);
    assert_int_equal(row.kind[RCL_CFI_PC], RCL_CFI_AT_OFFSET);
    assert_int_equal(row.n[RCL_CFI_PC], -8);
    assert_int_equal(row.kind[6], RCL_CFI_SAME);
    row = row_at(t, START + 1);
    assert_int_equal(row.cfa_n, 16);
    assert_int_equal(row.kind[6], RCL_CFI_AT_OFFSET);
    assert_int_equal(row.n[6], -16);
    row = row_at(t, START + 4);
    assert_int_equal(row.cfa_register, 6);
    assert_int_equal(row.cfa_n, 16);
    assert_int_equal(row.kind[3], RCL_CFI_SAME);
    row = row_at(t, START + 0x14);
    assert_int_equal(row.n[3], -24);
    row = row_at(t, START + 0x15); /* the way out */
    assert_int_equal(row.cfa_register, 7);
    assert_int_equal(row.cfa_n, 8);
    assert_int_equal(row.kind[3], RCL_CFI_SAME);
    assert_int_equal(row.kind[6], RCL_CFI_SAME);
    row = row_at(t, START + LENGTH - 1); /* and back */
    assert_int_equal(row.cfa_register, 6);
    assert_int_equal(row.n[3], -24);
}

TEST(a_function_as_compilers_write_it)
{
    struct table t;

    make(&t, "zR", usual, sizeof usual);
    check_usual(&t);
    make(&t, "zPLR", usual, sizeof usual);
    struct rcl_cfi u;
    assert_false(rcl_cfi_read(&u, t.bytes + t.fde, START)); /* P wants more room than it has */
    make(&t, "", usual, sizeof usual);
    check_usual(&t);
}

TEST(a_trampoline_of_signals_is_known)
{
    struct table t;
    struct rcl_cfi u;

    make(&t, "zR", usual, sizeof usual);
    assert_true(rcl_cfi_read(&u, t.bytes + t.fde, START));
    assert_false(u.signal);
    make(&t, "zRS", usual, sizeof usual);
    assert_true(rcl_cfi_read(&u, t.bytes + t.fde, START));
    assert_true(u.signal);
}

TEST(another_pc_has_no_rules)
{
    struct table t;
    struct rcl_cfi u;

    make(&t, "zR", usual, sizeof usual);
    assert_false(rcl_cfi_read(&u, t.bytes + t.fde, START - 1));
    assert_false(rcl_cfi_read(&u, t.bytes + t.fde, START + LENGTH));
    assert_false(rcl_cfi_read(&u, t.bytes, START)); /* a CIE is no FDE */
}

TEST(the_rarer_rules)
{
    static const uint8_t program[] = {
        0x07, 16,   0x08, 3, 0x09, 12, 6,    0x14, 13,   2,    0x15, 14,   0x7f, 0x10, 15,   1,
        0x70, 0x16, 6,    2, 0x77, 8,  0x0f, 3,    0x76, 0x78, 0x06, 0x05, 99,   1,    0x2e, 4};
    struct table t;

    make(&t, "zR", program, sizeof program);
    struct rcl_cfi_row row = row_at(&t, START);
    assert_int_equal(row.kind[16], RCL_CFI_LOST);
    assert_int_equal(row.kind[3], RCL_CFI_SAME);
    assert_int_equal(row.kind[12], RCL_CFI_REGISTER);
    assert_int_equal(row.n[12], 6);
    assert_int_equal(row.kind[13], RCL_CFI_IS_OFFSET);
    assert_int_equal(row.n[13], -16);
    assert_int_equal(row.n[14], 8);
    assert_int_equal(row.kind[15], RCL_CFI_AT_EXPRESSION);
    assert_int_equal(t.bytes[row.n[15]], 1); /* its length: the CIE is where the table begins */
    assert_int_equal(row.kind[6], RCL_CFI_IS_EXPRESSION);
    assert_int_equal(t.bytes[row.n[6]], 2);
    assert_int_equal(row.cfa_kind, RCL_CFI_IS_EXPRESSION);
    assert_int_equal(t.bytes[row.cfa_n], 3);
}

TEST(programs_that_are_none)
{
    static const uint8_t programs[][4] = {
        {0x0b},             /* nothing to recall */
        {0x3c},             /* no instruction */
        {0x0c, 7},          /* cut off */
        {0x0f, 0x7f, 0, 0}, /* an expression past the end */
    };
    static const uint8_t lengths[] = {1, 1, 2, 4};
    struct table t;
    struct rcl_cfi u;
    struct rcl_cfi_row row;

    for (size_t i = 0; i < array_len(programs); i++) {
        make(&t, "zR", programs[i], lengths[i]);
        assert_true(rcl_cfi_read(&u, t.bytes + t.fde, START));
        if (i == 2) /* padding makes it whole: CFA is rsp + 0 */
            assert_true(rcl_cfi_row(&row, &u, START));
        else
            assert_false(rcl_cfi_row(&row, &u, START));
    }
}

/* Nothing is read outside the records: they stand before a page that cannot be read. */
TEST(random_bytes_are_read_to_their_end_at_most)
{
    struct unit_random random = unit_random_start();
    size_t page = unit_kernel_page();
    char *pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    assert_ptr_not_equal(pages, MAP_FAILED);
    assert_int_equal(mprotect(pages + page, page, PROT_NONE), 0);
    for (unsigned round = 0; round < 20000; round++) {
        uint8_t program[64];
        struct table t;
        struct rcl_cfi u;
        struct rcl_cfi_row row;
        size_t bytes = unit_below(&random, sizeof program);
        for (size_t i = 0; i < bytes; i++)
            program[i] = (uint8_t)unit_next(&random);
        make(&t, "zR", program, bytes);
        uint8_t *at = (uint8_t *)pages + page - t.used;
        memcpy(at, t.bytes, t.used);
        for (unsigned flips = (unsigned)unit_below(&random, 3); flips > 0; flips--) {
            size_t i = 8 + unit_below(&random, t.used - 8);
            if (i < t.fde || i >= t.fde + 8) /* lengths and distances are the linker's */
                at[i] = (uint8_t)unit_next(&random);
        }
        if (rcl_cfi_read(&u, at + t.fde, START + LENGTH / 2))
            rcl_cfi_row(&row, &u, START + LENGTH / 2);
    }
    munmap(pages, 2 * page);
}

TEST(the_header_is_searched)
{
    enum { N = 37 };
    static uint32_t room[(sizeof(struct rcl_cfi_header) + N * sizeof(struct rcl_cfi_entry)) / 4];
    struct rcl_cfi_header *h = (struct rcl_cfi_header *)room;
    uintptr_t base = (uintptr_t)h;
    uint32_t index;

    h->version = 1;
    h->count_encoding = 0x03;
    h->table_encoding = 0x3b;
    h->count = N;
    for (int i = 0; i < N; i++)
        h->entry[i].start = 1000 + 100 * i;
    assert_false(rcl_cfi_find(h, base + 999, &index));
    assert_false(rcl_cfi_find(h, base - 1, &index));
    for (uint32_t i = 0; i < N; i++) {
        assert_true(rcl_cfi_find(h, base + 1000 + 100 * i, &index));
        assert_int_equal(index, i);
        assert_true(rcl_cfi_find(h, base + 1099 + 100 * i, &index));
        assert_int_equal(index, i);
    }
    h->table_encoding = 0x1b;
    assert_false(rcl_cfi_find(h, base + 2000, &index));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_function_as_compilers_write_it),
        cmocka_unit_test(a_trampoline_of_signals_is_known),
        cmocka_unit_test(another_pc_has_no_rules),
        cmocka_unit_test(the_rarer_rules),
        cmocka_unit_test(programs_that_are_none),
        cmocka_unit_test(random_bytes_are_read_to_their_end_at_most),
        cmocka_unit_test(the_header_is_searched),
    };

    rcl_os_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
