#!/bin/sh
# SPDX-License-Identifier: MIT
# doc/options.md and doc/jemalloc-compat.md are what the tables say.
set -eu
"$abs_top_srcdir/tools/gen-options-doc" --check
"$abs_top_srcdir/tools/gen-jemalloc-doc" --check
