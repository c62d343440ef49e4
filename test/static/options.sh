#!/bin/sh
# SPDX-License-Identifier: MIT
# doc/options.md is what src/options.def says.
set -eu
exec "$abs_top_srcdir/tools/gen-options-doc" --check
