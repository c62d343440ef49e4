/* SPDX-License-Identifier: MIT */
/*
 * prof_pyline.h - the line of an instruction of CPython's, from the code object's table.
 *
 * The three tables of CPython 3.9 to 3.15: co_lnotab, co_linetable of 3.10 (PEP 626), and
 * the location table from 3.11 on.  Bytes that are none of these give a wrong line and
 * nothing worse.
 *
 * Pure.
 */
#ifndef RCL_PROF_PYLINE_H
#define RCL_PROF_PYLINE_H

#include "base.h"

/*
 * `instruction`: its place in units of two bytes (3.9: bytes); negative: the function begins.
 * 0: it has no line.
 */
int rcl_python_line(unsigned minor, int first_line, const uint8_t *table, size_t bytes,
                    int instruction);

#endif
