#!/bin/sh
# SPDX-License-Identifier: MIT
#
# autogen.sh - make ./configure from configure.ac.  Needed in a git checkout only;
# a release tarball already has it.
set -eu
cd "$(dirname "$0")"

missing=
for tool in autoreconf automake libtoolize pkg-config; do
    command -v "$tool" >/dev/null 2>&1 || missing="$missing $tool"
done
if [ -n "$missing" ]; then
    echo "autogen.sh: not found:$missing" >&2
    echo "On Debian: apt-get install autoconf automake libtool pkg-config" >&2
    exit 1
fi

# aclocal complains about a macro folder that libtoolize is going to fill.
mkdir -p build-aux/m4

# --force: an autotools upgrade must not leave half of the old generated files.
exec autoreconf --install --force "$@"
