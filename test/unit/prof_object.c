/* SPDX-License-Identifier: MIT */
/*
 * Tests of prof_object.h: real objects keep their addresses; made-up ones, of which libc knows
 * nothing, are gone at every dump.
 */
#include "sink.h"

#include "prof_object.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>

enum { PLACES = 300, BYTES = 3 * 4096, THREADS = 4 };

/* What lies at a made-up place, and what the loader says of it. */
struct image {
    Elf64_Ehdr head;
    Elf64_Phdr phdr[2];
    struct {
        Elf64_Nhdr head;
        char name[4];
        unsigned char id[20];
    } build;
};

static char *memory;
static struct link_map maps[PLACES];
static struct unit_text printed;
static const char *const text = printed.text;

/* What a dump says of objects, once these frames have been written. */
static void print(const uint64_t *frame, size_t frames)
{
    char buf[64];
    struct rcl_out o = unit_text_begin(&printed, buf, sizeof buf);

    rcl_object_look();
    for (size_t i = 0; i < frames; i++)
        rcl_object_address(frame[i]);
    rcl_object_print_build_ids(&o);
    rcl_object_print_maps(&o);
    rcl_out_flush(&o);
}

/* An object with this id (0: none) at this place. */
static struct rcl_object load(size_t place, unsigned char id, const char *path)
{
    struct image *at = (struct image *)(memory + place * BYTES);

    memset(at, 0, sizeof *at);
    memcpy(at->head.e_ident, ELFMAG, SELFMAG);
    at->head.e_ident[EI_CLASS] = ELFCLASS64;
    at->head.e_phentsize = sizeof at->phdr[0];
    at->head.e_phoff = offsetof(struct image, phdr);
    at->head.e_phnum = array_len(at->phdr);
    at->phdr[0] = (Elf64_Phdr){.p_type = PT_NOTE,
                               .p_offset = offsetof(struct image, build),
                               .p_filesz = id == 0 ? 0 : sizeof at->build};
    at->phdr[1] = (Elf64_Phdr){.p_type = PT_LOAD,
                               .p_flags = PF_R | PF_X,
                               .p_vaddr = 0x10234,
                               .p_offset = 0x234,
                               .p_memsz = 0x1800};
    at->build.head = (Elf64_Nhdr){.n_namesz = 4, .n_descsz = 20, .n_type = NT_GNU_BUILD_ID};
    memcpy(at->build.name, "GNU", 4);
    memset(at->build.id, id, sizeof at->build.id);
    maps[place].l_name = (char *)(uintptr_t)path;
    return (struct rcl_object){.start = at,
                               .end = (char *)at + BYTES,
                               .link_map = &maps[place],
                               .hdr = (uint8_t *)at + 0x2000};
}

static unsigned number(size_t place, unsigned char id, const char *path)
{
    struct rcl_object o = load(place, id, path);

    return rcl_object_number(&o);
}

static uint64_t frame(unsigned number, size_t place, size_t distance)
{
    return rcl_object_frame(number, (uintptr_t)memory + place * BYTES + distance);
}

TEST(before_the_start_nothing_is_noted)
{
    struct rcl_object o = load(0, 1, "/some");

    assert_false(rcl_object_ready());
    assert_int_equal(rcl_object_number(&o), 0);
    assert_int_equal(rcl_object_frame(0, 4711), 4711);
    assert_int_equal(rcl_object_address(4711), 4711);
    assert_int_equal(rcl_object_address(RCL_FRAME_OBJECT), RCL_FRAME_OBJECT);
    print(NULL, 0);
    assert_int_equal(printed.used, 0);
    rcl_object_boot();
    assert_true(rcl_object_ready());
}

TEST(a_library_that_is_there_has_its_addresses)
{
    struct rcl_object o;
    uintptr_t pc = (uintptr_t)dlsym(RTLD_DEFAULT, "qsort");

    assert_true(rcl_object_find(pc, &o));
    assert_in_range(pc, (uintptr_t)o.start, (uintptr_t)o.end);
    unsigned n = rcl_object_number(&o);
    assert_int_not_equal(n, 0);
    assert_int_equal(rcl_object_number(&o), n);
    uint64_t f = rcl_object_frame(n, pc);
    assert_true(f >= RCL_FRAME_OBJECT && f < (uint64_t)1 << 63);
    print(&f, 1);
    assert_int_equal(printed.used, 0);
    assert_int_equal(rcl_object_address(f), pc);
}

TEST(the_program_stays)
{
    struct rcl_object o;

    assert_true(rcl_object_find((uintptr_t)print, &o));
    assert_int_equal(rcl_object_number(&o), 0);
    assert_false(rcl_object_find(16, &o));
}

TEST(another_object_at_the_same_place_is_told_by_its_build_id)
{
    unsigned a = number(1, 1, "/lib/a"), b = number(1, 2, "/lib/b");

    assert_true(a != 0 && b != 0 && a != b);
    assert_int_equal(number(1, 1, "/lib/a"), a);
    assert_int_equal(number(1, 2, "/another/name/of/b"), b);
    assert_int_not_equal(frame(a, 1, 0x300), frame(b, 1, 0x300));
    assert_int_equal(frame(a, 1, 0x300) - frame(a, 1, 0), 0x300);
}

TEST(without_build_ids_by_the_path)
{
    unsigned a = number(2, 0, "/lib/a"), b = number(2, 0, "/lib/b");

    assert_true(a != 0 && b != 0 && a != b);
    assert_int_equal(number(2, 0, "/lib/a"), a);
}

TEST(what_is_gone_is_written_where_nothing_lies)
{
    unsigned a = number(3, 0xa5, "/lib/gone\n.so"), unused = number(3, 0x11, "/lib/unused.so");
    uint64_t f[] = {frame(a, 3, 0x300), frame(a, 3, 0x304)};
    char lines[400];

    assert_int_not_equal(unused, 0);
    print(f, array_len(f));
    assert_int_equal(rcl_object_address(f[0]), f[0]);
    uint64_t start = f[0] - 0x300;
    snprintf(lines, sizeof lines,
             "# build-id /lib/gone?.so a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5\n"
             "%llx-%llx r-xp 0 00:00 0 /lib/gone?.so\n",
             (unsigned long long)start, (unsigned long long)start + 0x2000);
    assert_string_equal(text, lines);
    print(NULL, 0); /* the next dump begins anew */
    assert_int_equal(printed.used, 0);
}

TEST(a_file_that_was_replaced_is_said_to_be_deleted)
{
    unsigned old = number(4, 1, "/lib/plugin.so"), new = number(4, 2, "/lib/plugin.so");
    uint64_t f[] = {frame(old, 4, 1), frame(new, 4, 1)};

    print(f, array_len(f));
    assert_non_null(strstr(text, "# build-id /lib/plugin.so (deleted) 0101"));
    assert_non_null(strstr(text, "# build-id /lib/plugin.so 0202"));
    assert_non_null(strstr(text, " 0 /lib/plugin.so (deleted)\n"));
    assert_non_null(strstr(text, " 0 /lib/plugin.so\n"));
}

TEST(one_file_at_two_places_has_one_id)
{
    unsigned a = number(5, 7, "/lib/twice.so"), b = number(6, 7, "/lib/twice.so");
    uint64_t f[] = {frame(a, 5, 1), frame(b, 6, 1)};

    assert_int_not_equal(a, b);
    print(f, array_len(f));
    char *first = strstr(text, "# build-id /lib/twice.so 0707");
    assert_non_null(first);
    assert_null(strstr(first + 1, "# build-id"));
    first = strstr(text, " 0 /lib/twice.so\n");
    assert_non_null(first);
    assert_non_null(strstr(first + 1, " 0 /lib/twice.so\n"));
}

TEST(a_path_from_here_is_made_whole)
{
    char folder[1024], line[1100];
    uint64_t f = frame(number(7, 0, "././plugins/x.so"), 7, 1);

    assert_non_null(getcwd(folder, sizeof folder));
    snprintf(line, sizeof line, " 0 %s/plugins/x.so\n", folder);
    print(&f, 1);
    assert_non_null(strstr(text, line));
}

TEST(what_is_not_understood_keeps_its_addresses)
{
    static char endless[600];
    struct rcl_object o = load(8, 1, "/lib/odd.so");

    memset(memory + 8 * BYTES, 0, sizeof(struct image)); /* no image */
    assert_int_equal(rcl_object_number(&o), 0);
    assert_int_equal(rcl_object_number(&o), 0);
    memset(endless, 'x', sizeof endless - 1);
    assert_int_equal(number(9, 1, endless), 0);
    assert_int_equal(number(9, 1, endless), 0);
}

/* A chain of frame pointers that is none may lead to any of them. */
TEST(addresses_that_look_like_frames_in_objects)
{
    const uint64_t odd[] = {RCL_FRAME_OBJECT,
                            RCL_FRAME_OBJECT + 1,
                            RCL_FRAME_OBJECT | (uint64_t)(RCL_OBJECTS_MAX - 1)
                                                   << RCL_OBJECT_LG_SPAN,
                            RCL_FRAME_OBJECT | (uint64_t)RCL_OBJECTS_MAX << RCL_OBJECT_LG_SPAN,
                            RCL_FRAME_OBJECT * 2 - 1,
                            RCL_FRAME_OBJECT * 2,
                            UINT64_MAX};

    for (size_t i = 0; i < array_len(odd); i++)
        assert_int_equal(rcl_object_address(odd[i]), odd[i]);
}

static struct rcl_object shared[20];

static void *note_all(void *arg)
{
    unsigned *found = arg;

    for (unsigned round = 0; round < 3; round++)
        for (size_t i = 0; i < array_len(shared); i++) {
            unsigned n = rcl_object_number(&shared[i]);
            REQUIRE(n == 0 || found[i] == 0 || found[i] == n);
            if (n != 0)
                found[i] = n;
        }
    return NULL;
}

TEST(threads_that_note_the_same_objects_agree)
{
    static unsigned found[THREADS][array_len(shared)];

    for (size_t i = 0; i < array_len(shared); i++)
        shared[i] = load(10 + i, 3, "/lib/shared.so");
    unit_threads(THREADS, note_all, found, sizeof found[0]);
    for (size_t i = 0; i < array_len(shared); i++)
        for (unsigned t = 0; t < THREADS; t++)
            if (found[t][i] != 0) /* else another thread was in the middle of it, each time */
                assert_int_equal(found[t][i], rcl_object_number(&shared[i]));
    for (size_t i = 0; i < array_len(shared); i++)
        assert_int_not_equal(rcl_object_number(&shared[i]), 0);
}

/* The last test: afterwards there is no room. */
TEST(when_there_are_too_many_the_rest_is_not_noted)
{
    unsigned noted = 0;

    for (size_t i = 30; i < PLACES; i++)
        noted += number(i, 4, "/lib/many.so") != 0;
    assert_in_range(noted, RCL_OBJECTS_MAX - 50, RCL_OBJECTS_MAX - 1);
    assert_int_equal(number(PLACES - 1, 5, "/lib/late.so"), 0);
    assert_int_equal(rcl_object_number(&shared[0]), number(10, 3, "/lib/shared.so"));
    assert_int_not_equal(rcl_object_number(&shared[0]), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(before_the_start_nothing_is_noted),
        cmocka_unit_test(a_library_that_is_there_has_its_addresses),
        cmocka_unit_test(the_program_stays),
        cmocka_unit_test(another_object_at_the_same_place_is_told_by_its_build_id),
        cmocka_unit_test(without_build_ids_by_the_path),
        cmocka_unit_test(what_is_gone_is_written_where_nothing_lies),
        cmocka_unit_test(a_file_that_was_replaced_is_said_to_be_deleted),
        cmocka_unit_test(one_file_at_two_places_has_one_id),
        cmocka_unit_test(a_path_from_here_is_made_whole),
        cmocka_unit_test(what_is_not_understood_keeps_its_addresses),
        cmocka_unit_test(addresses_that_look_like_frames_in_objects),
        cmocka_unit_test(threads_that_note_the_same_objects_agree),
        cmocka_unit_test(when_there_are_too_many_the_rest_is_not_noted),
    };

    rcl_os_init();
    if (dlsym(RTLD_DEFAULT, "_dl_find_object") == NULL) {
        print_message("skipped: no _dl_find_object in this libc\n");
        return UNIT_CHILD_SKIPS;
    }
    memory = mmap(NULL, PLACES * BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
