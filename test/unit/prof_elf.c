/* SPDX-License-Identifier: MIT */
/* Tests of prof_elf.h: what readelf would say, and nothing, not a fault, of what is no image. */
#include "unit.h"

#include "prof_elf.h"

#include <elf.h>
#include <link.h>

/* An image with a segment of data, one of code, and notes. */
static struct image {
    Elf64_Ehdr head;
    Elf64_Phdr phdr[4];
    struct {
        Elf64_Nhdr head;
        char name[8];
        char text[4];
    } other;
    struct {
        Elf64_Nhdr head;
        char name[4];
        unsigned char id[20];
    } build;
} image;

static bool copy(void *to, const void *from, size_t bytes)
{
    uintptr_t distance = (uintptr_t)from - (uintptr_t)&image;

    if (distance > sizeof image || bytes > sizeof image - distance)
        return false;
    memcpy(to, from, bytes);
    return true;
}

static struct rcl_elf elf;

static bool read_image(void)
{
    return rcl_elf_read(&elf, (uintptr_t)&image, copy);
}

static int make_image(void **state)
{
    (void)state;
    memset(&image, 0, sizeof image);
    memcpy(image.head.e_ident, ELFMAG, SELFMAG);
    image.head.e_ident[EI_CLASS] = ELFCLASS64;
    image.head.e_phentsize = sizeof image.phdr[0];
    image.head.e_phoff = offsetof(struct image, phdr);
    image.head.e_phnum = array_len(image.phdr);
    image.phdr[0] = (Elf64_Phdr){.p_type = PT_NOTE,
                                 .p_offset = offsetof(struct image, other),
                                 .p_filesz = sizeof image - offsetof(struct image, other)};
    image.phdr[1] = (Elf64_Phdr){.p_type = PT_LOAD, .p_flags = PF_R, .p_vaddr = 0x10000};
    image.phdr[2] = (Elf64_Phdr){.p_type = PT_LOAD,
                                 .p_flags = PF_R | PF_X,
                                 .p_vaddr = 0x13100,
                                 .p_offset = 0x2100,
                                 .p_memsz = 0x4711};
    image.phdr[3] = (Elf64_Phdr){.p_type = PT_LOAD, .p_flags = PF_R | PF_X, .p_memsz = 1};
    image.other.head = (Elf64_Nhdr){.n_namesz = 5, .n_descsz = 3, .n_type = NT_GNU_BUILD_ID};
    image.build.head = (Elf64_Nhdr){.n_namesz = 4, .n_descsz = 20, .n_type = NT_GNU_BUILD_ID};
    memcpy(image.build.name, "GNU", 4);
    for (unsigned i = 0; i < sizeof image.build.id; i++)
        image.build.id[i] = (unsigned char)(i * 13 + 1);
    return 0;
}

TEST(code_and_build_id_are_found)
{
    assert_true(read_image());
    assert_int_equal(elf.first, 0x10000);
    assert_int_equal(elf.code, 0x13100);
    assert_int_equal(elf.code_offset, 0x2100);
    assert_int_equal(elf.code_bytes, 0x4711);
    assert_int_equal(elf.id_at, offsetof(struct image, build.id));
    assert_int_equal(elf.id_bytes, 20);
    assert_memory_equal(elf.id, image.build.id, 20);
}

TEST(an_id_is_printed_in_hex)
{
    char text[100];
    struct rcl_out o = {.buf = text, .size = sizeof text};

    assert_true(read_image());
    elf.id_bytes = 3;
    rcl_elf_print_id(&o, &elf, "/a b");
    elf.id_bytes = 0;
    rcl_elf_print_id(&o, &elf, "/none");
    text[o.used] = '\0';
    assert_string_equal(text, "# build-id /a b 010e1b\n");
}

TEST(notes_without_an_id_or_cut_off)
{
    image.build.head.n_type = 0;
    assert_true(read_image());
    assert_int_equal(elf.id_bytes, 0);
    make_image(NULL);
    image.build.name[0] = 'X';
    assert_true(read_image());
    assert_int_equal(elf.id_bytes, 0);
    make_image(NULL);
    size_t whole = offsetof(struct image, build.id) + 20 - offsetof(struct image, other);
    for (size_t bytes = 0; bytes < whole; bytes++) {
        image.phdr[0].p_filesz = bytes;
        assert_true(read_image());
        assert_int_equal(elf.id_bytes, 0);
        assert_int_equal(elf.code_bytes, 0x4711);
    }
}

TEST(what_is_no_image)
{
    image.head.e_ident[1] = 'X';
    assert_false(read_image());
    make_image(NULL);
    image.head.e_phentsize = 32;
    assert_false(read_image());
    make_image(NULL);
    image.head.e_phoff = sizeof image;
    assert_false(read_image());
    make_image(NULL);
    image.head.e_phnum = 1; /* nothing to be loaded */
    assert_false(read_image());
    assert_false(rcl_elf_read(&elf, 64, copy));
}

TEST(no_bytes_lead_outside)
{
    struct unit_random random = unit_random_start();

    for (unsigned round = 0; round < 200000; round++) {
        if (round % 16 == 0)
            make_image(NULL);
        ((unsigned char *)&image)[EI_CLASS + 1 + unit_below(&random, sizeof image - EI_CLASS - 1)] =
            (unsigned char)(unit_below(&random, 4) ? unit_next(&random) : 0xff);
        read_image();
        assert_true(elf.id_bytes <= RCL_ELF_ID_MAX);
    }
}

static int one_object(struct dl_phdr_info *info, size_t bytes, void *arg)
{
    uintptr_t code = 0, first = UINTPTR_MAX;
    struct rcl_elf e;

    (void)bytes;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        if (p->p_type == PT_LOAD)
            first = rcl_min(first, p->p_vaddr);
        if (p->p_type == PT_LOAD && (p->p_flags & PF_X) != 0 && code == 0)
            code = p->p_vaddr;
    }
    if (!rcl_elf_read(&e, info->dlpi_addr + first, rcl_os_copy))
        return 0;
    REQUIRE(e.first == first && e.code == code);
    ++*(unsigned *)arg;
    return 0;
}

TEST(the_images_of_this_process)
{
    unsigned images = 0;
    char byte;

    if (!rcl_os_copy(&byte, "", 1))
        skip(); /* no process_vm_readv */
    dl_iterate_phdr(one_object, &images);
    assert_true(images >= 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(code_and_build_id_are_found, make_image),
        cmocka_unit_test_setup(an_id_is_printed_in_hex, make_image),
        cmocka_unit_test_setup(notes_without_an_id_or_cut_off, make_image),
        cmocka_unit_test_setup(what_is_no_image, make_image),
        cmocka_unit_test_setup(no_bytes_lead_outside, make_image),
        cmocka_unit_test(the_images_of_this_process),
    };

    rcl_os_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
