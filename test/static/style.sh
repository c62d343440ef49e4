#!/bin/sh
# SPDX-License-Identifier: MIT
# Layout, licence lines, left-overs, lengths; who speaks to the kernel.
set -eu
"$abs_top_srcdir/tools/check-style" --top "$abs_top_srcdir" --self-test
"$abs_top_srcdir/tools/check-style" --top "$abs_top_srcdir"
