#!/bin/sh
# SPDX-License-Identifier: MIT
# Includes and objects follow src/LAYERS, and the map in README.md has every module.
set -eu
"$abs_top_srcdir/tools/check-layers" --self-test
"$abs_top_srcdir/tools/check-layers" --src "$abs_top_srcdir/src" \
    --objects "$abs_top_builddir/src/.libs" --map "$abs_top_srcdir/README.md"
