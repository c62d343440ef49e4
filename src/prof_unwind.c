/* SPDX-License-Identifier: MIT */
/* prof_unwind.c - see prof_unwind.h. */
#include "prof_unwind.h"

#include "os.h"
#include "prof_eh.h"

#ifdef RCL_WITH_LIBUNWIND
#define UNW_LOCAL_ONLY
#include <libunwind.h>
#endif

/* The linker's names for the ends of the section that RCL_OWN names. */
extern const char own_start[] __asm__("__start_rcl_text") __attribute__((visibility("hidden")));
extern const char own_end[] __asm__("__stop_rcl_text") __attribute__((visibility("hidden")));

static bool is_own(uintptr_t pc)
{
    return pc - (uintptr_t)own_start <= (uintptr_t)own_end - (uintptr_t)own_start;
}

/* --- by frame pointers -------------------------------------------------------------------- */

enum { PAGE_MASK = (int)RCL_GRANULE - 1 };
#define STEP_MAX (8 * MIB) /* the largest frame that is believed: the usual size of a stack */

/* What a frame pointer points to, on both machines. */
struct link {
    uintptr_t up, pc;
};

/* Both words of a link that is on no page proven readable yet: *page becomes the one that is. */
static bool readable(const struct link *l, uintptr_t *page)
{
    uintptr_t first = (uintptr_t)&l->up & ~(uintptr_t)PAGE_MASK;
    uintptr_t last = (uintptr_t)&l->pc & ~(uintptr_t)PAGE_MASK;
    if (last == *page && first == *page)
        return true;
    if ((first != *page && !rcl_os_readable(&l->up)) ||
        (last != first && last != *page && !rcl_os_readable(&l->pc)))
        return false;
    *page = last;
    return true;
}

#if defined(__aarch64__)
/* A return address may carry a signature in the bits above the address. */
#define PC_BITS ((uintptr_t)-1 >> 16)
#else
#define PC_BITS ((uintptr_t)-1)
#endif

/* Not instrumented: it reads other functions' frames. */
__attribute__((no_sanitize_address)) RCL_OWN static unsigned walk_links(struct rcl_frame *out,
                                                                        unsigned max)
{
    const struct link *at = __builtin_frame_address(0);
    uintptr_t page = 0;
    unsigned n = 0;
    bool inside = true;
    while (n < max && readable(at, &page)) {
        uintptr_t here = (uintptr_t)at, pc = at->pc & PC_BITS, up = at->up;
        if (pc < RCL_GRANULE)
            break;
        inside = inside && is_own(pc);
        bool last = up <= here || up - here > STEP_MAX || up % sizeof(void *) != 0;
        if (!inside)
            out[n++] = (struct rcl_frame){.pc = pc,
                                          .low = here + sizeof *at,
                                          .high = last ? here + sizeof *at : up + sizeof *at};
        if (last)
            break;
        at = (const struct link *)up;
    }
    return n;
}

/* --- by .eh_frame ------------------------------------------------------------------------- */

#if defined(__x86_64__) && !defined(RCL_WITH_LIBUNWIND)

/* The registers that rules speak of, where this is inlined. */
static inline __attribute__((always_inline)) void take_registers(struct rcl_eh_frame *f)
{
    *f = (struct rcl_eh_frame){.exact = true,
                               .known = 1u << RCL_EH_RBX | 1u << RCL_EH_RBP | 1u << RCL_EH_RSP |
                                        0xfu << RCL_EH_R12 | 1u << RCL_EH_PC};
    __asm__ volatile("mov %%rbx, 24(%0)\n\t"
                     "mov %%rbp, 48(%0)\n\t"
                     "mov %%rsp, 56(%0)\n\t"
                     "mov %%r12, 96(%0)\n\t"
                     "mov %%r13, 104(%0)\n\t"
                     "mov %%r14, 112(%0)\n\t"
                     "mov %%r15, 120(%0)\n\t"
                     "lea 0f(%%rip), %%rax\n\t"
                     "mov %%rax, 128(%0)\n"
                     "0:"
                     :
                     : "r"(f->reg)
                     : "rax", "memory");
}

/* Code without rules, as a compiler at run time makes it, has frame pointers if anything. */
static bool step_by_link(struct rcl_eh_frame *f)
{
    uintptr_t at = f->reg[RCL_EH_RBP], up, pc;
    if ((f->known >> RCL_EH_RBP & 1) == 0 || at < f->reg[RCL_EH_RSP] ||
        at - f->reg[RCL_EH_RSP] > STEP_MAX || !rcl_eh_read(f, at, &up) ||
        !rcl_eh_read(f, at + sizeof up, &pc) || pc < RCL_GRANULE)
        return false;
    f->reg[RCL_EH_RBP] = up;
    f->reg[RCL_EH_RSP] = at + sizeof(struct link);
    f->reg[RCL_EH_PC] = pc;
    f->exact = false;
    return true;
}

RCL_OWN static unsigned walk_rules(struct rcl_frame *out, unsigned max)
{
    struct rcl_eh_frame f;
    unsigned n = 0;
    bool inside = true;
    take_registers(&f);
    for (;;) {
        enum rcl_eh_step step = rcl_eh_step(&f);
        if (n > 0)
            out[n - 1].object = f.object.number;
        if (step == RCL_EH_OUTMOST || (step == RCL_EH_UNKNOWN && !step_by_link(&f)))
            break;
        /* To readers all are return addresses, of which they take one off. */
        uintptr_t pc = f.reg[RCL_EH_PC] + f.exact, sp = f.reg[RCL_EH_RSP];
        inside = inside && is_own(pc);
        if (inside)
            continue;
        if (n > 0)
            out[n - 1].high = sp;
        if (n == max)
            break;
        out[n++] = (struct rcl_frame){.pc = pc, .low = sp, .high = sp};
    }
    return n;
}

RCL_OWN unsigned rcl_unwind(struct rcl_frame *out, unsigned max)
{
    unsigned n = rcl_eh_ready() ? walk_rules(out, max) : 0;
    return n > 0 ? n : walk_links(out, max);
}

#endif

/* --- by libunwind ------------------------------------------------------------------------- */

#ifdef RCL_WITH_LIBUNWIND

/* Of glibc 2.32 and later: 0 when there is, or lately was, more than one thread. */
extern char libc_single_threaded __asm__("__libc_single_threaded") __attribute__((weak));

static struct {
    bool alone; /* at the last fork, in the parent */
    bool lost;  /* a lock of libunwind or of the loader may be held for ever */
} unwind;

RCL_OWN static unsigned walk_tables(struct rcl_frame *out, unsigned max)
{
    unw_context_t context;
    unw_cursor_t cursor;
    unw_word_t pc, sp;
    unsigned n = 0;
    bool inside = true;
    if (unw_getcontext(&context) != 0 || unw_init_local(&cursor, &context) != 0)
        return 0;
    while (unw_step(&cursor) > 0 && unw_get_reg(&cursor, UNW_REG_IP, &pc) == 0 && pc != 0 &&
           unw_get_reg(&cursor, UNW_REG_SP, &sp) == 0) {
        inside = inside && is_own(pc);
        if (inside)
            continue;
        if (n > 0)
            out[n - 1].high = sp;
        if (n == max)
            break;
        out[n++] = (struct rcl_frame){.pc = pc, .low = sp, .high = sp};
    }
    return n;
}

RCL_OWN unsigned rcl_unwind(struct rcl_frame *out, unsigned max)
{
    return unwind.lost ? walk_links(out, max) : walk_tables(out, max);
}

void rcl_unwind_boot(void)
{
    struct rcl_frame some[4];
    unw_set_caching_policy(unw_local_addr_space, UNW_CACHE_PER_THREAD);
    rcl_unwind(some, array_len(some));
}

void rcl_unwind_before_fork(void)
{
    unwind.alone = &libc_single_threaded != NULL && libc_single_threaded != 0;
}

void rcl_unwind_forked(void)
{
    unwind.lost = unwind.lost || !unwind.alone;
}

#else

#if !defined(__x86_64__)
RCL_OWN unsigned rcl_unwind(struct rcl_frame *out, unsigned max)
{
    return walk_links(out, max);
}
#endif

void rcl_unwind_boot(void)
{
    rcl_eh_boot();
}

void rcl_unwind_before_fork(void)
{
}

void rcl_unwind_forked(void)
{
}

#endif
