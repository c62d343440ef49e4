#!/bin/sh
# SPDX-License-Identifier: MIT
# doc/man is what the tables and the command's parsers say, and man and mandoc find no fault.
set -eu
exec "$abs_top_srcdir/tools/gen-man" --check
