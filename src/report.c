/* SPDX-License-Identifier: MIT */
/* report.c - see report.h. */
#include "report.h"

#include "os.h"

void rcl_report_text(const struct rcl_snapshot *s, struct rcl_out *o)
{
    if (s == NULL) {
        rcl_out_print(o, "libreclaim: no statistics now (out of memory, or in a signal handler)\n");
        return;
    }
    rcl_out_print(o, "resident %zu kB\n", s->rss / KIB);
    for (unsigned i = 0; i < RCL_PARTS; i++)
        rcl_out_print(o, "  %s %zu kB\n", rcl_part_texts[i].label, s->part[i] / KIB);
}

void rcl_report_xml(const struct rcl_stats *s, struct rcl_out *o)
{
    size_t blocks = 0, bytes = 0;
    rcl_out_print(o, "<malloc version=\"1\">\n<heap nr=\"0\">\n<sizes>\n");
    for (unsigned cls = RCL_CLASS_FIRST; cls <= RCL_SMALL_LAST; cls++) {
        const struct rcl_stats_class *c = &s->heap.cls[cls];
        size_t n = c->slots - rcl_min(c->slots, c->live);
        if (n == 0)
            continue;
        rcl_out_print(o, "  <size from=\"%zu\" to=\"%zu\" total=\"%zu\" count=\"%zu\"/>\n",
                      (size_t)rcl_classes[cls - 1].size + (cls != RCL_CLASS_FIRST), c->size,
                      n * c->size, n);
        blocks += n;
        bytes += n * c->size;
    }
    rcl_out_print(o, "</sizes>\n");
    size_t current = s->mapped_bytes - rcl_min(s->mapped_bytes, s->huge_bytes);
    for (int whole = 0; whole < 2; whole++) {
        rcl_out_print(o, "<total type=\"fast\" count=\"0\" size=\"0\"/>\n");
        rcl_out_print(o, "<total type=\"rest\" count=\"%zu\" size=\"%zu\"/>\n", blocks, bytes);
        if (whole)
            rcl_out_print(o, "<total type=\"mmap\" count=\"%zu\" size=\"%zu\"/>\n", s->huge_blocks,
                          s->huge_bytes);
        rcl_out_print(o, "<system type=\"current\" size=\"%zu\"/>\n", current);
        rcl_out_print(o, "<system type=\"max\" size=\"%zu\"/>\n", current);
        rcl_out_print(o, "<aspace type=\"total\" size=\"%zu\"/>\n", current);
        rcl_out_print(o, "<aspace type=\"mprotect\" size=\"%zu\"/>\n", current);
        if (!whole)
            rcl_out_print(o, "</heap>\n");
    }
    rcl_out_print(o, "</malloc>\n");
}
