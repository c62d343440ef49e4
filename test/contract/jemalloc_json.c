/* SPDX-License-Identifier: MIT */
/*
 * malloc_stats_print("J"): a real parser takes it, what readers of jemalloc's JSON look for is
 * there, its parts add up, and mallctl says the same of the same moment.
 */
#include "jemalloc.h"

#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#pragma weak malloc_stats_print

static const char judge[] =
    "import json, sys\n"
    "j = json.load(sys.stdin)['jemalloc']\n"
    "assert j['version'].startswith('5.'), j['version']\n"
    "for name in ('debug', 'fill', 'prof', 'stats', 'utrace', 'xmalloc', 'cache_oblivious'):\n"
    "    assert isinstance(j['config'][name], bool)\n"
    "for name in ('abort', 'abort_conf', 'retain', 'dss', 'narenas', 'percpu_arena',\n"
    "             'oversize_threshold', 'metadata_thp', 'background_thread', 'dirty_decay_ms',\n"
    "             'muzzy_decay_ms', 'junk', 'zero', 'utrace', 'xmalloc', 'tcache', 'tcache_max',\n"
    "             'thp', 'stats_print', 'stats_print_opts', 'prof', 'zero_realloc'):\n"
    "    assert name in j['opt'], name\n"
    "a = j['arenas']\n"
    "assert a['narenas'] >= 1 and a['quantum'] == 16 and a['page'] >= 4096\n"
    "assert isinstance(a['dirty_decay_ms'], int) and 'muzzy_decay_ms' in a\n"
    "assert a['tcache_max'] > 0 and a['nhbins'] >= a['nbins']\n"
    "assert len(a['bin']) == a['nbins'] and len(a['lextent']) == a['nlextents']\n"
    "sizes = [b['size'] for b in a['bin']] + [e['size'] for e in a['lextent']]\n"
    "assert sizes == sorted(set(sizes)), sizes\n"
    "for b in a['bin']:\n"
    "    assert 0 < b['nregs'] * b['size'] <= b['slab_size'] and b['nshards'] == 1\n"
    "s = j['stats']\n"
    "assert s['allocated'] <= s['active'] <= s['resident'] <= s['mapped'], s\n"
    "assert s['metadata'] > 0 and s['retained'] >= 0\n"
    "assert s['background_thread']['num_threads'] in (0, 1)\n"
    "arenas = j['stats.arenas']\n"
    "m = arenas['merged']\n"
    "assert m['pactive'] * a['page'] == s['active'] and m['resident'] == s['resident']\n"
    "assert m['mapped'] == s['mapped'] and m['retained'] == s['retained']\n"
    "assert m['small']['allocated'] + m['large']['allocated'] - m['tcache_bytes'] == "
    "s['allocated']\n"
    "one = [arenas[i] for i in arenas if i.isdigit()]\n"
    "assert one\n"
    "for g in one + [m]:\n"
    "    assert g['uptime_ns'] > 0 and g['nthreads'] >= 0\n"
    "    assert len(g['bins']) == a['nbins'] and len(g['lextents']) == a['nlextents']\n"
    "    assert sum(b['curregs'] * t['size'] for b, t in zip(g['bins'], a['bin'])) == "
    "g['small']['allocated']\n"
    "    large = sum(e['curlextents'] * t['size'] for e, t in zip(g['lextents'], a['lextent']))\n"
    "    assert g['large']['allocated'] <= large <= g['large']['allocated'] * 5 / 4, (g, large)\n"
    "    for b in g['bins']:\n"
    "        assert b['nmalloc'] - b['ndalloc'] == b['curregs']\n"
    "        assert b['curslabs'] >= b['nonfull_slabs'] and b['mutex']['num_wait'] >= 0\n"
    "    for e in g['lextents']:\n"
    "        assert e['nmalloc'] - e['ndalloc'] == e['curlextents']\n"
    "for part in ('small', 'large'):\n"
    "    for name in ('allocated', 'nmalloc', 'ndalloc', 'nrequests', 'nfills', 'nflushes'):\n"
    "        assert m[part][name] == sum(g[part][name] for g in one), (part, name)\n"
    "if len(sys.argv) > 1:\n"
    "    i, size = sys.argv[1], int(sys.argv[2])\n"
    "    assert arenas[i]['large']['allocated'] == size, arenas[i]['large']\n"
    "    live = [t['size'] for e, t in zip(arenas[i]['lextents'], a['lextent']) "
    "if e['curlextents']]\n"
    "    assert live == [size], live\n";

static void to_file(void *file, const char *piece)
{
    fputs(piece, file);
}

static FILE *report(const char *opts)
{
    static char buffer[65536]; /* of ours: what stdio took would come between two looks */
    FILE *file = tmpfile();

    assert_non_null(file);
    setvbuf(file, buffer, _IOFBF, sizeof buffer);
    malloc_stats_print(to_file, file, opts);
    assert_int_equal(fflush(file), 0);
    return file;
}

static void judged(FILE *file, const char *first, const char *second)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        lseek(fileno(file), 0, SEEK_SET);
        dup2(fileno(file), STDIN_FILENO);
        unsetenv("LD_PRELOAD"); /* the judge stands outside */
        execl("/usr/bin/python3", "python3", "-c", judge, first, second, (char *)NULL);
        _exit(127);
    }
    assert_true(test_exited_well(test_wait(child)));
}

static void need_python(void)
{
    if (access("/usr/bin/python3", X_OK) != 0)
        skip();
}

static void test_a_parser_takes_it(void **state)
{
    static void *p[3000];
    (void)state;
    need_python();

    for (size_t i = 0; i < COUNT_OF(p); i++)
        assert_non_null(p[i] = malloc(i % 50 == 0 ? i * 1000 + 1 : i + 1));
    for (size_t i = 0; i < COUNT_OF(p); i += 3)
        free(p[i]);
    FILE *file = report("J");
    judged(file, NULL, NULL);
    fclose(file);
    for (size_t i = 0; i < COUNT_OF(p); i++)
        if (i % 3 != 0)
            free(p[i]);
}

/* A huge block is counted in the arena it was asked from, and so it is by mallctl. */
static void test_a_huge_block_is_its_arenas(void **state)
{
    unsigned index;
    size_t length = sizeof index, size = 5 * MIB;
    char first[16], second[24];
    (void)state;
    need_python();

    assert_int_equal(mallctl("arenas.create", &index, &length, NULL, 0), 0);
    void *p = mallocx(size, MALLOCX_ARENA(index));
    assert_non_null(p);
    assert_int_equal(ctl_arena_of(p), index);
    ctl_epoch();
    assert_int_equal(ctl_size(ctl_name("stats.arenas.%zu.large.allocated", index, 0)), size);
    assert_true(
        ctl_size(ctl_name("stats.arenas.%zu.pactive", index, 0)) * ctl_size("arenas.page") >= size);
    snprintf(first, sizeof first, "%u", index);
    snprintf(second, sizeof second, "%zu", size);
    FILE *file = report("J");
    judged(file, first, second);
    fclose(file);
    assert_int_equal(ctl_do(ctl_name("arena.%zu.destroy", index, 0)), 0);
}

static size_t number_in(FILE *file, const char *key)
{
    static char text[8 * MIB];
    char quoted[64];

    rewind(file);
    size_t n = fread(text, 1, sizeof text - 1, file);
    text[n] = '\0';
    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    const char *at = strstr(text, "\"stats\":{");
    assert_non_null(at);
    at = strstr(at, quoted);
    assert_non_null(at);
    return (size_t)strtoull(at + strlen(quoted), NULL, 10);
}

static void test_mallctl_says_the_same(void **state)
{
    static const char *const names[] = {"stats.allocated", "stats.active", "stats.metadata",
                                        "stats.resident",  "stats.mapped", "stats.retained"};
    (void)state;

    fclose(report("J")); /* what the first one takes */
    for (int round = 0; round < 20; round++) {
        size_t seen[COUNT_OF(names)], told[COUNT_OF(names)], alike = 0;
        FILE *file = report("J");
        ctl_epoch();
        for (size_t i = 0; i < COUNT_OF(names); i++)
            seen[i] = ctl_size(names[i]);
        for (size_t i = 0; i < COUNT_OF(names); i++)
            told[i] = number_in(file, names[i] + strlen("stats."));
        fclose(file);
        for (size_t i = 0; i < COUNT_OF(names); i++)
            alike += seen[i] == told[i];
        assert_true(seen[0] <= seen[1] && seen[1] <= seen[3] && seen[3] <= seen[4]);
        if (alike == COUNT_OF(names))
            return;
        /* The helper was at work between the two looks: once more. */
    }
    fail_msg("mallctl and malloc_stats_print never agreed");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_parser_takes_it),
        cmocka_unit_test(test_a_huge_block_is_its_arenas),
        cmocka_unit_test(test_mallctl_says_the_same),
    };

    test_begin();
    jemalloc_begin();
    REQUIRE(malloc_stats_print != NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
