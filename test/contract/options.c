/* SPDX-License-Identifier: MIT */
/*
 * What each option does, seen from outside: this program is started anew with an option
 * set and a scene to play.  A scene writes what it finds to stderr; the parent compares.
 * (Decay, the helper and the ceiling have tests of their own; the parser has its own too.)
 */
#include "jemalloc.h"

#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static const size_t sizes[] = {1, 100, 3000, 20000, 40000, 200000, 500000, 2000000};

/* ---- scenes, in the program started anew ------------------------------------------------- */

static bool all_are(const void *block, size_t from, size_t to, unsigned char byte)
{
    const volatile unsigned char *p = block;

    for (size_t i = from; i < to; i++)
        if (p[i] != byte)
            return false;
    return true;
}

static void soil_and_free(size_t size)
{
    void *p[4];

    for (int i = 0; i < 4; i++)
        memset(p[i] = malloc(size), 0x77, size);
    for (int i = 0; i < 4; i++)
        free(p[i]);
}

/* Blocks are full of this byte, calloc's of zeros, and growth is filled too. */
static void fills_new_with(unsigned char byte)
{
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        for (int round = 0; round < 3; round++) {
            soil_and_free(sizes[i]);
            unsigned char *p = malloc(sizes[i]);
            size_t usable = malloc_usable_size(p);
            REQUIRE(all_are(p, 0, usable, byte));
            unsigned char *q = aligned_alloc(64, sizes[i]);
            REQUIRE(all_are(q, 0, malloc_usable_size(q), byte));
            unsigned char *z = calloc(1, sizes[i]);
            REQUIRE(all_are(z, 0, sizes[i], 0));
            memset(p, 0x33, usable);
            p = realloc(p, usable * 3);
            REQUIRE(all_are(p, 0, usable, 0x33));
            REQUIRE(all_are(p, usable, malloc_usable_size(p), byte));
            free(p);
            free(q);
            free(z);
        }
    }
}

static void *thread_fills_zero(void *arg)
{
    fills_new_with(0);
    return arg;
}

/* Where it stands, a block may become longer than before though less is asked for. */
static void zero_after_a_change_of_class(void)
{
    static const size_t sizes[] = {66000, 73000, 40000, 300000, 250000, 262000};
    void *p = malloc(1000000);

    memset(p, 1, 1000000); /* what the next blocks find */
    free(p);
    REQUIRE(posix_memalign(&p, 8192, 67000) == 0);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        p = realloc(p, sizes[i]);
        const char *bytes = p;
        for (size_t at = 0; at < malloc_usable_size(p); at++)
            REQUIRE(bytes[at] == 0);
    }
    free(p);
}

static void scene_zero(void)
{
    pthread_t thread;

    fills_new_with(0);
    zero_after_a_change_of_class();
    REQUIRE(pthread_create(&thread, NULL, thread_fills_zero, NULL) == 0);
    REQUIRE(pthread_join(thread, NULL) == 0);
    REQUIRE(ctl_bool("opt.zero"));
    REQUIRE(!ctl_bool("thread.tcache.enabled"));
}

static void scene_junk_new(void)
{
    fills_new_with(0xa5);
}

/* Freed blocks are read, which only their page being still there makes possible. */
static void fills_freed(bool filled)
{
    void *keep[64], *block[64];

    for (int i = 0; i < 64; i++) {
        keep[i] = malloc(100);
        block[i] = malloc(100);
        memset(block[i], 0x33, 100);
    }
    for (int i = 0; i < 64; i++) {
        uintptr_t address = (uintptr_t)block[i];
        free(block[i]);
        REQUIRE(all_are((void *)address, 0, 100, filled ? 0x5a : 0x33));
    }
    for (int i = 0; i < 64; i++)
        free(keep[i]);
}

static void scene_junk_free(void)
{
    fills_freed(true);
}

static void scene_junk_not_free(void)
{
    fills_freed(false);
}

static void scene_too_much(void)
{
    test_say(malloc(opaque_size(SIZE_MAX / 4)) == NULL ? "null\n" : "block\n");
}

static void scene_calloc_too_much(void)
{
    test_say(calloc(opaque_size(SIZE_MAX / 2), 3) == NULL ? "null\n" : "block\n");
}

static void scene_memalign_too_much(void)
{
    void *p;
    test_say(posix_memalign(&p, 64, opaque_size(SIZE_MAX / 4)) == ENOMEM ? "null\n" : "block\n");
}

static void scene_mallocx_too_much(void)
{
    test_say(mallocx(opaque_size(SIZE_MAX / 4), 64) == NULL ? "null\n" : "block\n");
}

static void scene_rallocx_too_much(void)
{
    void *p = mallocx(100, 0);
    test_say(rallocx(p, opaque_size(SIZE_MAX / 2 + 1), 0) == NULL ? "null\n" : "block\n");
}

/* Shrinking never fails. */
static void scene_shrink(void)
{
    char *p = malloc(10 * MIB);
    p = realloc(p, 100);
    test_say(p != NULL ? "block\n" : "null\n");
}

static void scene_realloc_to_nothing(void)
{
    void *p = malloc(1000);
    test_say(realloc(p, opaque_size(0)) == NULL ? "null\n" : "block\n");
}

static void scene_caching(void)
{
    char text[64];
    size_t j = 0;

    while (ctl_size(ctl_name("arenas.bin.%zu.size", j, 0)) < 2000)
        j++;
    ctl_epoch();
    uint64_t before = ctl_u64(ctl_name("stats.arenas.4096.bins.%zu.nmalloc", j, 0));
    for (int i = 0; i < 100; i++)
        free(opaque(malloc(2000)));
    ctl_epoch();
    uint64_t taken = ctl_u64(ctl_name("stats.arenas.4096.bins.%zu.nmalloc", j, 0)) - before;
    snprintf(text, sizeof text, "%s\n", taken >= 100 ? "each from the bin" : "cached");
    test_say(text);
}

static pthread_barrier_t together;

static void *tell_arena(void *arg)
{
    free(opaque(malloc(100)));
    *(unsigned *)arg = ctl_unsigned("thread.arena");
    pthread_barrier_wait(&together);
    return NULL;
}

static void scene_arenas(void)
{
    unsigned arena[4], highest = 0;
    pthread_t thread[4];
    char text[64];

    REQUIRE(pthread_barrier_init(&together, NULL, 4) == 0);
    for (int i = 0; i < 4; i++)
        REQUIRE(pthread_create(&thread[i], NULL, tell_arena, &arena[i]) == 0);
    for (int i = 0; i < 4; i++) {
        REQUIRE(pthread_join(thread[i], NULL) == 0);
        highest = arena[i] > highest ? arena[i] : highest;
    }
    REQUIRE(highest < ctl_unsigned("arenas.narenas"));
    snprintf(text, sizeof text, "%u, %s\n", ctl_unsigned("arenas.narenas"),
             highest == 0 ? "one used" : "more used");
    test_say(text);
}

/* What the kernel was asked for the mapping around p: "hg", "nh" or nothing. */
static void say_advice(const void *p)
{
    FILE *maps = fopen("/proc/self/smaps", "r");
    char line[512];
    bool inside = false;

    REQUIRE(maps != NULL);
    while (fgets(line, sizeof line, maps) != NULL) {
        unsigned long from, to;
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            inside = (uintptr_t)p >= from && (uintptr_t)p < to;
        else if (inside && strncmp(line, "VmFlags:", 8) == 0)
            test_say(strstr(line, " nh") ? "nh " : strstr(line, " hg") ? "hg " : "-- ");
    }
    fclose(maps);
}

static void scene_huge_pages(void)
{
    void *huge = malloc(32 * MIB);
    void *small = malloc(100);

    memset(huge, 1, 32 * MIB);
    say_advice(small);
    say_advice((char *)huge + 16 * MIB);
    test_say("\n");
    free(huge);
    free(small);
}

static size_t address_space(void)
{
    char text[128];
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t length = read(fd, text, sizeof text - 1);

    REQUIRE(length > 0);
    close(fd);
    text[length] = '\0';
    return (size_t)strtoull(text, NULL, 10) * (size_t)sysconf(_SC_PAGESIZE);
}

static void scene_address_space(void)
{
    static void *block[20000];
    size_t bytes = COUNT_OF(block) * 5000;

    for (size_t i = 0; i < COUNT_OF(block); i++)
        memset(block[i] = malloc(5000), 1, 5000);
    size_t full = address_space(), resident = test_resident();
    for (size_t i = 0; i < COUNT_OF(block); i++)
        free(block[i]);
    malloc_trim(0);
    REQUIRE(test_resident() + bytes * 9 / 10 < resident);
    ctl_epoch();
    bool kept = ctl_size("stats.retained") > bytes / 2;
    REQUIRE(kept == (address_space() + bytes / 2 > full));
    test_say(kept ? "kept\n" : "gone\n");
}

/* The library warns. */
static void scene_warning(void)
{
    const char *path = "/nonexistent/profile";
    bool failed = mallctl("prof.dump", NULL, NULL, &path, sizeof path) != 0;

    test_say(failed ? "went on\n" : "no warning\n");
}

static void scene_nothing(void)
{
    for (size_t i = 0; i < COUNT_OF(sizes); i++)
        free(opaque(malloc(sizes[i])));
    test_say("done\n");
}

static const struct scene {
    const char *name;
    void (*play)(void);
} scenes[] = {
    {"zero", scene_zero},
    {"junk-new", scene_junk_new},
    {"junk-free", scene_junk_free},
    {"junk-not-free", scene_junk_not_free},
    {"too-much", scene_too_much},
    {"calloc-too-much", scene_calloc_too_much},
    {"memalign-too-much", scene_memalign_too_much},
    {"mallocx-too-much", scene_mallocx_too_much},
    {"rallocx-too-much", scene_rallocx_too_much},
    {"shrink", scene_shrink},
    {"realloc-to-nothing", scene_realloc_to_nothing},
    {"caching", scene_caching},
    {"arenas", scene_arenas},
    {"huge-pages", scene_huge_pages},
    {"address-space", scene_address_space},
    {"warning", scene_warning},
    {"nothing", scene_nothing},
};

/* ---- the parent -------------------------------------------------------------------------- */

static char said[65536];

/* How it ended, as waitpid gives it; what it wrote is in `said`. */
static int start(const char *conf, const char *scene)
{
    int ends[2];
    size_t length = 0;

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        dup2(ends[1], STDERR_FILENO);
        setenv("RECLAIM_CONF", conf, 1);
        execl("/proc/self/exe", "options", scene, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    for (ssize_t n; length < sizeof said - 1; length += (size_t)n) {
        n = read(ends[0], said + length, sizeof said - 1 - length);
        if (n <= 0)
            break;
    }
    said[length] = '\0';
    close(ends[0]);
    return test_wait_watched(child);
}

static void expect(const char *conf, const char *scene, const char *text)
{
    int status = start(conf, scene);

    if (!test_exited_well(status) || strcmp(said, text) != 0)
        print_message("%s, %s: %s\n", conf, scene, said);
    assert_true(test_exited_well(status));
    assert_string_equal(said, text);
}

static void expect_death(const char *conf, const char *scene, const char *part)
{
    int status = start(conf, scene);

    if (strstr(said, part) == NULL)
        print_message("%s, %s: %s\n", conf, scene, said);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    assert_non_null(strstr(said, part));
    assert_ptr_equal(strchr(said, '\n'), said + strlen(said) - 1);
}

static void test_zero(void **state)
{
    (void)state;
    expect("zero:true", "zero", "");
    expect("zero:true,junk:alloc", "zero", ""); /* zero comes first, as in jemalloc */
}

static void test_junk(void **state)
{
    (void)state;
    expect("junk:true", "junk-new", "");
    expect("junk:alloc", "junk-new", "");
    expect("junk:true", "junk-free", "");
    expect("junk:free", "junk-free", "");
    expect("junk:alloc", "junk-not-free", "");
    expect("junk:false", "junk-not-free", "");
}

static void test_xmalloc(void **state)
{
    static const char *const scene[] = {"too-much", "calloc-too-much", "memalign-too-much",
                                        "mallocx-too-much", "rallocx-too-much"};
    (void)state;

    for (size_t i = 0; i < COUNT_OF(scene); i++) {
        expect("", scene[i], "null\n");
        expect("xmalloc:false", scene[i], "null\n");
        expect_death("xmalloc:true", scene[i], "libreclaim: out of memory for ");
    }
    expect("xmalloc:true", "shrink", "block\n");
    expect("xmalloc:true", "nothing", "done\n");
}

static void test_zero_realloc(void **state)
{
    (void)state;
    expect("", "realloc-to-nothing", "null\n");
    expect("zero_realloc:free", "realloc-to-nothing", "null\n");
    expect("zero_realloc:alloc", "realloc-to-nothing", "block\n");
    expect_death("zero_realloc:abort", "realloc-to-nothing", "libreclaim: realloc(): size 0 for ");
}

static void test_caches(void **state)
{
    (void)state;
    expect("", "caching", "cached\n");
    expect("tcache:false", "caching", "each from the bin\n");
    expect("tcache_max:1k", "caching", "each from the bin\n");
    expect("tcache_max:4k", "caching", "cached\n");
    expect("lg_tcache_max:10", "caching", "each from the bin\n");
    expect("lg_tcache_max:11", "caching", "cached\n");
}

static void test_narenas(void **state)
{
    (void)state;
    if (test_hostile_build())
        skip(); /* which has one arena, whatever is asked for */
    expect("narenas:1", "arenas", "1, one used\n");
    expect("narenas:5", "arenas", "5, more used\n");
}

/* Whether the system gives huge pages where nobody asks for them. */
static bool unasked(void)
{
    char text[64] = "";
    int fd = open("/sys/kernel/mm/transparent_hugepage/enabled", O_RDONLY | O_CLOEXEC);

    if (fd >= 0 && read(fd, text, sizeof text - 1) < 0)
        text[0] = '\0';
    if (fd >= 0)
        close(fd);
    return strstr(text, "[madvise]") == NULL && strstr(text, "[never]") == NULL;
}

static void test_thp(void **state)
{
    static const char *const modes[] = {"auto", "never", "default", "always"};
    /* The same as the system: where it gives huge pages to nobody who has not asked, none. */
    const char *advice[] = {unasked() ? "nh -- \n" : "nh nh \n", "nh nh \n", "-- -- \n",
                            "hg hg \n"};
    (void)state;

    start("thp:always", "huge-pages");
    if (strstr(said, "hg") == NULL)
        skip(); /* the kernel has no huge pages, or does not tell */
    for (size_t i = 0; i < COUNT_OF(modes); i++) {
        char conf[64];
        snprintf(conf, sizeof conf, "thp:%s", modes[i]);
        expect(conf, "huge-pages", advice[i]);
    }
}

static void test_retain(void **state)
{
    (void)state;
    expect("retain:false", "address-space", "gone\n");
    expect("retain:true", "address-space", "kept\n");
}

static void test_abort(void **state)
{
    static const char *const off[] = {"", "abort:false"};
    (void)state;

    for (size_t i = 0; i < COUNT_OF(off); i++) {
        assert_true(test_exited_well(start(off[i], "warning")));
        assert_ptr_equal(strstr(said, "libreclaim: no heap profile (manual): "), said);
        assert_non_null(strstr(said, "\nwent on\n"));
    }
    int status = start("abort:true", "warning");
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_ptr_equal(strstr(said, "libreclaim: no heap profile (manual): "), said);
    assert_non_null(strstr(said, "\nlibreclaim: abort: stopped because of the warning above\n"));
    assert_null(strstr(said, "went on"));
    expect("abort:true", "nothing", "done\n");
}

static void test_complaints(void **state)
{
    static const struct {
        const char *conf, *line;
    } cases[] = {
        {"dirty_decay_ms:", "\"dirty_decay_ms\" has no value (write key:value)"},
        {"narenas", "\"narenas\" has no value (write key:value)"},
        {":5", "\":5\" has no key (write key:value)"},
        {"narenas:99999999999999999999",
         "narenas: \"99999999999999999999\" is too large (0 to 1048576)"},
        {"narenas:many", "narenas: \"many\" is not a number (0 to 1048576)"},
        {"dirty_share:1025", "dirty_share: \"1025\" is out of range (0 to 1024)"},
        {"tcache:yes", "tcache: \"yes\" is neither true nor false"},
        {"prof_at:10x", "prof_at: \"10x\" is neither a size (1g) nor a share (90%)"},
        {"prof_at:500%", "prof_at: \"500%\" is neither a size (1g) nor a share (90%)"},
        {"prof_at:0", "prof_at: \"0\" is neither a size (1g) nor a share (90%)"},
        {"prof:true,prof_at:-5", "prof_at: \"-5\" is neither a size (1g) nor a share (90%)"},
        {"thp:alway", "thp: \"alway\" is none of the words (auto|never|default|always)"},
        {"DIRTY_DECAY_MS:1", "\"DIRTY_DECAY_MS\" is no option; did you mean \"dirty_decay_ms\"?"},
        {"decay:1", "\"decay\" is no option; did you mean \"dirty_decay_ms\"?"},
        {"nonsense:1", "\"nonsense\" is no option"},
    };
    (void)state;

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char text[256], conf[128];
        snprintf(text, sizeof text, "libreclaim: RECLAIM_CONF: %s; ignored\ndone\n", cases[i].line);
        expect(cases[i].conf, "nothing", text);
        snprintf(conf, sizeof conf, "abort_conf:true,%s", cases[i].conf);
        int status = start(conf, "nothing");
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
        assert_null(strstr(said, "done"));
    }
}

/* abort_conf is for mistakes: not for what jemalloc knows and this allocator need not. */
static void test_jemallocs_options(void **state)
{
    (void)state;
    expect("abort_conf:true,thp:never,metadata_thp:auto,percpu_arena:percpu,prof_log:true,"
           "lg_san_uaf_align:12,hpa:true,hpa_sec_nshards:4,quarantine:1,tcache_max:99999999",
           "nothing", "done\n");
    expect("abort_conf:true,dirty_decay_ms:86400000,narenas:default", "nothing", "done\n");
    expect("abort_conf:true,dirty_decay_ms:18446744072000", "address-space", "gone\n");
}

/* A program must start whatever is in the variable. */
static void test_any_text_at_all(void **state)
{
    static const char *const keys[] = {
        "narenas",           "tcache",       "thp",    "junk",          "zero",
        "dirty_decay_ms",    "stats_print",  "retain", "lg_tcache_max", "dirty_min",
        "background_thread", "metadata_thp", "prof",   "nonsense",
    };
    static const char alphabet[] = ",,,:::0123456789truefals-kmgx \t%$\"'\\";
    struct test_random random = {20260417};
    (void)state;

    for (int round = 0; round < 40; round++) {
        char conf[400] = "";
        size_t used = 0;
        while (used < 300) {
            const char *key = keys[test_below(&random, COUNT_OF(keys))];
            if (test_below(&random, 3) == 0)
                used += (size_t)snprintf(conf + used, sizeof conf - used, "%s:", key);
            conf[used++] = test_below(&random, 30) == 0
                               ? (char)(1 + test_below(&random, 255))
                               : alphabet[test_below(&random, sizeof alphabet - 1)];
            conf[used] = '\0';
        }
        int status = start(conf, "nothing");
        if (!test_exited_well(status))
            print_message("%s\n", conf);
        assert_true(test_exited_well(status));
        assert_non_null(strstr(said, "done\n"));
    }
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_zero),
        cmocka_unit_test(test_junk),
        cmocka_unit_test(test_xmalloc),
        cmocka_unit_test(test_zero_realloc),
        cmocka_unit_test(test_caches),
        cmocka_unit_test(test_narenas),
        cmocka_unit_test(test_thp),
        cmocka_unit_test(test_retain),
        cmocka_unit_test(test_abort),
        cmocka_unit_test(test_complaints),
        cmocka_unit_test(test_jemallocs_options),
        cmocka_unit_test(test_any_text_at_all),
    };

    jemalloc_begin();
    for (size_t i = 0; argc > 1 && i < COUNT_OF(scenes); i++) {
        if (strcmp(argv[1], scenes[i].name) == 0) {
            scenes[i].play();
            return 0;
        }
    }
    test_begin();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
