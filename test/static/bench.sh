#!/bin/sh
# SPDX-License-Identifier: MIT
# The arithmetic of bench/run: medians, ratios, means, percentiles, tables, with made-up figures.
set -eu
exec python3 "$abs_top_srcdir/bench/selftest.py"
