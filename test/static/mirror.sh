#!/bin/sh
# SPDX-License-Identifier: MIT
# Every module has a unit test, every test is on a list of test/Makefile.am.
set -eu
"$abs_top_srcdir/tools/check-mirror" --self-test
"$abs_top_srcdir/tools/check-mirror" --top "$abs_top_srcdir"
