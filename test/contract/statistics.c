/* SPDX-License-Identifier: MIT */
/*
 * malloc_trim, mallinfo, mallinfo2, malloc_stats, malloc_info, mallopt: they must speak
 * of this allocator's memory, not of libc's unused heap, in the forms that programs read.
 */
#include "../testlib.h"

#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

enum {
    BLOCKS = 640,
    BLOCK_SIZE = 100 * 1024, /* under glibc's mmap threshold: counts as heap everywhere */
};

static void *block[BLOCKS];

static void take(void)
{
    for (size_t i = 0; i < BLOCKS; i++) {
        block[i] = malloc(BLOCK_SIZE);
        assert_non_null(block[i]);
        memset(block[i], (int)i, BLOCK_SIZE);
    }
}

static void give(void)
{
    for (size_t i = 0; i < BLOCKS; i++)
        free(block[i]);
}

static size_t in_use(void)
{
    struct mallinfo2 info = mallinfo2();

    return info.uordblks + info.hblkhd;
}

static void test_mallinfo2_follows_the_blocks(void **state)
{
    size_t asked = (size_t)BLOCKS * BLOCK_SIZE;
    (void)state;

    size_t before = in_use();
    take();
    size_t during = in_use();
    struct mallinfo2 info = mallinfo2();
    give();
    size_t after = in_use();

    assert_true(during >= before + asked);
    assert_true(during <= before + BLOCKS * test_footprint(BLOCK_SIZE) + asked / 4);
    assert_true(info.arena + info.hblkhd >= asked); /* what came from the system */
    assert_true(after <= before + 4 * MIB);
}

static void test_mallinfo2_sees_huge_blocks(void **state)
{
    size_t before = in_use();
    void *huge = malloc(100 * MIB);
    size_t during = in_use();
    (void)state;

    assert_non_null(huge);
    free(huge);
    assert_true(during >= before + 100 * MIB);
    assert_true(during <= before + 110 * MIB);
    assert_true(in_use() <= before + MIB);
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations" /* mallinfo is what is tested */
static void test_mallinfo_agrees_with_mallinfo2(void **state)
{
    (void)state;
    take();
    struct mallinfo narrow = mallinfo();
    struct mallinfo2 wide = mallinfo2();
    give();

    assert_true(wide.uordblks < INT32_MAX && wide.arena < INT32_MAX); /* else int cannot say */
    assert_int_equal(narrow.uordblks, (int)wide.uordblks);
    assert_int_equal(narrow.arena, (int)wide.arena);
    assert_int_equal(narrow.hblkhd, (int)wide.hblkhd);
}
#pragma GCC diagnostic pop

static void test_trim_keeps_live_blocks(void **state)
{
    static void *small[3000];
    (void)state;

    take();
    for (size_t i = 0; i < COUNT_OF(small); i++) {
        small[i] = malloc(1 + i);
        assert_non_null(small[i]);
        test_fill(small[i], 1 + i, i);
    }
    for (size_t i = 0; i < COUNT_OF(small); i += 2) {
        free(small[i]);
        small[i] = NULL;
    }
    give();
    for (size_t pad = 0; pad <= 64 * MIB; pad = pad * 8 + 1000) {
        errno = TEST_ERRNO;
        int answer = malloc_trim(pad);
        assert_true(answer == 0 || answer == 1);
        assert_int_equal(errno, TEST_ERRNO);
        for (size_t i = 1; i < COUNT_OF(small); i += 2)
            assert_true(test_intact(small[i], 1 + i, 1 + i, i));
    }
    for (size_t i = 1; i < COUNT_OF(small); i += 2)
        free(small[i]);
}

/* 1 means that memory went back: so it does when there was some, and resident memory falls. */
static void test_trim_says_what_it_did(void **state)
{
    (void)state;
    size_t before = test_resident();
    void *kept[200];

    for (size_t i = 0; i < COUNT_OF(kept); i++) {
        kept[i] = malloc(20000);
        assert_non_null(kept[i]);
        memset(kept[i], 1, 20000);
    }
    for (size_t i = 0; i < COUNT_OF(kept); i++)
        free(kept[i]);
    size_t freed = test_resident();
    int answer = malloc_trim(0);
    size_t trimmed = test_resident();

    assert_true(answer == 0 || answer == 1);
    if (freed > before + 2 * MIB)
        assert_int_equal(answer, 1);
    assert_true(trimmed <= before + 2 * MIB);
}

/* ---- malloc_stats ------------------------------------------------------------------------ */

static void test_malloc_stats_writes_to_stderr(void **state)
{
    char text[65536];
    int pipe_ends[2];
    (void)state;

    assert_int_equal(pipe(pipe_ends), 0);
    assert_true(fcntl(pipe_ends[1], F_SETPIPE_SZ, (int)sizeof text) > 0);
    int saved = dup(STDERR_FILENO);
    assert_true(saved >= 0);
    fflush(stderr);
    dup2(pipe_ends[1], STDERR_FILENO);
    malloc_stats();
    fflush(stderr);
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(pipe_ends[1]);

    ssize_t length = 0, got;
    while ((got = read(pipe_ends[0], text + length, sizeof text - 1 - (size_t)length)) > 0)
        length += got;
    close(pipe_ends[0]);
    text[length] = '\0';
    assert_true(length > 20);
    assert_int_equal(text[length - 1], '\n');
    assert_non_null(strpbrk(text, "0123456789"));
    assert_int_equal(strspn(text, "\n"), 0);
    for (ssize_t i = 0; i < length; i++)
        assert_true(text[i] == '\n' || text[i] == '\t' || (text[i] >= ' ' && text[i] <= '~'));
}

/* ---- malloc_info ------------------------------------------------------------------------- */

static char *info_text(size_t *length)
{
    char *text = NULL;
    FILE *memory = open_memstream(&text, length);

    assert_non_null(memory);
    assert_int_equal(malloc_info(0, memory), 0);
    assert_int_equal(fclose(memory), 0);
    assert_non_null(text);
    return text;
}

/*
 * Tags nest, attributes are quoted, there is one root.  Not a whole XML parser, but it
 * needs nothing installed; the next test asks a real one where there is a Python.
 */
static const char *skip_tag(const char *at, char *open_names, size_t *depth)
{
    const char *name = at + 1 + (at[1] == '/');
    size_t name_length = strcspn(name, " \t\n/>");
    const char *end = name + name_length;

    assert_true(name_length > 0 && name_length < 31);
    while (*end != '>') {
        assert_true(*end != '\0' && *end != '<');
        if (*end == '"') {
            end = strchr(end + 1, '"');
            assert_non_null(end);
        }
        end++;
    }
    if (at[1] == '/') {
        assert_true(*depth > 0);
        const char *opened = open_names + --*depth * 32;
        assert_int_equal(strlen(opened), name_length);
        assert_memory_equal(opened, name, name_length);
    } else if (end[-1] != '/') {
        assert_true(*depth < 8);
        memcpy(open_names + *depth * 32, name, name_length);
        open_names[*depth * 32 + name_length] = '\0';
        ++*depth;
    }
    return end + 1;
}

static void test_malloc_info_is_well_formed(void **state)
{
    char open_names[8 * 32];
    size_t length, depth = 0, roots = 0;
    char *text = info_text(&length);
    const char *at = text;
    (void)state;

    assert_int_equal(strlen(text), length);
    while (*at != '\0') {
        if (strncmp(at, "<?", 2) == 0) {
            assert_ptr_equal(at, text);
            at = strstr(at, "?>");
            assert_non_null(at);
            at += 2;
        } else if (*at == '<') {
            roots += depth == 0;
            at = skip_tag(at, open_names, &depth);
        } else {
            assert_true(*at != '>' && *at != '&');
            assert_true(depth > 0 || strchr(" \t\r\n", *at) != NULL);
            at++;
        }
    }
    assert_int_equal(depth, 0);
    assert_int_equal(roots, 1);
    assert_ptr_equal(strstr(text, "<malloc version=\"1\">"), text);
    free(text);
}

/* What monitoring programs take from it: <system type="current" size="..."/>. */
static void test_malloc_info_knows_the_size(void **state)
{
    (void)state;
    take();
    size_t length, most = 0;
    char *text = info_text(&length);
    give();

    for (const char *at = text; (at = strstr(at, "<system type=\"current\" size=\"")); at++) {
        size_t size = (size_t)strtoull(strstr(at, "size=\"") + 6, NULL, 10);
        most = size > most ? size : most;
    }
    assert_true(most >= (size_t)BLOCKS * BLOCK_SIZE);
    assert_true(most <= BLOCKS * test_footprint(BLOCK_SIZE) * 2);
    assert_non_null(strstr(text, "<total type="));
    free(text);
}

static size_t info_number(const char *what)
{
    size_t length;
    char *text = info_text(&length);
    const char *at = strstr(text, what);

    assert_non_null(at);
    size_t n = (size_t)strtoull(at + strlen(what), NULL, 10);
    free(text);
    return n;
}

/* <system type="max"> does not fall when memory is given back. */
static void test_malloc_info_knows_the_maximum(void **state)
{
    (void)state;
    take();
    size_t full = info_number("<system type=\"current\" size=\"");
    give();
    malloc_trim(0);
    size_t current = info_number("<system type=\"current\" size=\"");
    size_t most = info_number("<system type=\"max\" size=\"");
    assert_true(most >= full && most > current);
    assert_true(full - current >= (size_t)BLOCKS * BLOCK_SIZE / 2);
}

static void test_malloc_info_satisfies_a_real_parser(void **state)
{
    static const char program[] =
        "import sys, xml.etree.ElementTree as tree\n"
        "root = tree.parse(sys.stdin.buffer).getroot()\n"
        "assert root.tag == 'malloc' and root.get('version') == '1', root.attrib\n"
        "current = [int(e.get('size')) for e in root.findall('system') if "
        "e.get('type') == 'current']\n"
        "assert len(current) == 1 and current[0] > 0, current\n"
        "for e in root.iter('total'):\n"
        "    assert e.get('type') in ('fast', 'rest', 'mmap'), e.attrib\n"
        "    int(e.get('count')), int(e.get('size'))\n"
        "for heap in root.findall('heap'):\n"
        "    int(heap.get('nr'))\n"
        "    for e in heap.findall('sizes/size'):\n"
        "        assert int(e.get('from')) <= int(e.get('to'))\n"
        "        assert int(e.get('total')) >= 0 and int(e.get('count')) >= 0\n";
    (void)state;

    if (access("/usr/bin/python3", X_OK) != 0)
        skip();

    FILE *file = tmpfile();
    assert_non_null(file);
    take();
    assert_int_equal(malloc_info(0, file), 0);
    give();
    assert_int_equal(fflush(file), 0);

    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        lseek(fileno(file), 0, SEEK_SET);
        dup2(fileno(file), STDIN_FILENO);
        unsetenv("LD_PRELOAD"); /* the judge stands outside */
        execl("/usr/bin/python3", "python3", "-c", program, (char *)NULL);
        _exit(127);
    }
    assert_true(test_exited_well(test_wait(child)));
    fclose(file);
}

static void test_malloc_info_takes_no_options(void **state)
{
    char *text = NULL;
    size_t length = 0;
    FILE *memory = open_memstream(&text, &length);
    (void)state;

    assert_int_not_equal(malloc_info(1, memory), 0);
    assert_int_not_equal(malloc_info(-1, memory), 0);
    fclose(memory);
    assert_int_equal(length, 0);
    free(text);
}

/* ---- mallopt ----------------------------------------------------------------------------- */

static void *ask_on_a_small_stack(void *argument)
{
    struct mallinfo2 info = mallinfo2();

    REQUIRE(info.uordblks + info.hblkhd > 0);
    REQUIRE(malloc_info(0, argument) == 0);
    return NULL;
}

static void test_a_small_stack_is_enough(void **state)
{
    static char text[65536]; /* the stream's own buffer, so that little else is needed */
    pthread_attr_t attributes;
    pthread_t thread;
    FILE *stream = fmemopen(text, sizeof text, "w");
    (void)state;

    if (test_foreign())
        skip(); /* glibc's malloc_info needs more */
    assert_non_null(stream);
    void *p = malloc(1000);
    assert_int_equal(pthread_attr_init(&attributes), 0);
    assert_int_equal(pthread_attr_setstacksize(&attributes, (size_t)PTHREAD_STACK_MIN), 0);
    assert_int_equal(pthread_create(&thread, &attributes, ask_on_a_small_stack, stream), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    pthread_attr_destroy(&attributes);
    assert_int_equal(fclose(stream), 0);
    assert_non_null(strstr(text, "</malloc>"));
    free(p);
}

static void test_mallopt_answers_and_harms_nothing(void **state)
{
    static const int settings[][2] = {
        {M_TRIM_THRESHOLD, 128 * 1024},
        {M_TOP_PAD, 0},
        {M_MMAP_THRESHOLD, 128 * 1024},
        {M_MMAP_MAX, 65536},
        {M_CHECK_ACTION, 3},
        {M_PERTURB, 0},
        {M_ARENA_TEST, 8},
        {M_ARENA_MAX, 2},
        {M_MXFAST, 64},
        {-1000, 5},
        {12345, -1},
    };
    (void)state;

    for (size_t i = 0; i < COUNT_OF(settings); i++) {
        int answer = mallopt(settings[i][0], settings[i][1]);

        assert_true(answer == 0 || answer == 1);
        for (size_t size = 1; size <= 4 * MIB; size *= 4) {
            void *one = malloc(size);
            assert_non_null(one);
            test_fill(one, size, i);
            assert_true(test_intact(one, size, size, i));
            free(one);
        }
    }
    /* glibc's manual: 1 on success.  Programs check it for these two and give up on 0. */
    assert_int_equal(mallopt(M_MMAP_THRESHOLD, 256 * 1024), 1);
    assert_int_equal(mallopt(M_ARENA_MAX, 1), 1);
    /* What is not done is not said to be. */
    if (!test_foreign()) {
        assert_int_equal(mallopt(M_PERTURB, 0x55), 0);
        assert_int_equal(mallopt(M_MXFAST, 100000), 0);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mallinfo2_follows_the_blocks),
        cmocka_unit_test(test_mallinfo2_sees_huge_blocks),
        cmocka_unit_test(test_mallinfo_agrees_with_mallinfo2),
        cmocka_unit_test(test_trim_keeps_live_blocks),
        cmocka_unit_test(test_trim_says_what_it_did),
        cmocka_unit_test(test_malloc_stats_writes_to_stderr),
        cmocka_unit_test(test_malloc_info_is_well_formed),
        cmocka_unit_test(test_malloc_info_knows_the_size),
        cmocka_unit_test(test_malloc_info_knows_the_maximum),
        cmocka_unit_test(test_malloc_info_satisfies_a_real_parser),
        cmocka_unit_test(test_malloc_info_takes_no_options),
        cmocka_unit_test(test_a_small_stack_is_enough),
        cmocka_unit_test(test_mallopt_answers_and_harms_nothing),
    };

    test_begin();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
