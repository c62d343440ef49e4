/* SPDX-License-Identifier: MIT */
/* maxindex.c - see maxindex.h. */
#include "maxindex.h"

size_t rcl_maxindex_find(struct rcl_maxindex *m, size_t from, uint16_t v)
{
    for (size_t i = from; i < m->n;) {
        size_t group = i / RCL_MAXINDEX_GROUP;
        size_t first = group * RCL_MAXINDEX_GROUP;
        size_t end = rcl_min(first + RCL_MAXINDEX_GROUP, m->n);
        if (m->bound[group] >= v) {
            for (; i < end; i++)
                if (m->value[i] >= v)
                    return i;
            uint16_t largest = 0;
            for (size_t j = first; j < end; j++)
                largest = rcl_max(largest, m->value[j]);
            m->bound[group] = largest;
        }
        i = end;
    }
    return m->n;
}
