#!/bin/sh
# SPDX-License-Identifier: MIT
# The public headers need nothing before them, in C and C++, and jemalloc.h is enough for a program that
# includes it in the place of <jemalloc/jemalloc.h>.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat >"$folder/swapped.c" <<'EOF'
#include <reclaim/jemalloc.h>

#if JEMALLOC_VERSION_MAJOR < 5
#error an old one
#endif

extern extent_hooks_t *hooks;
extent_hooks_t *hooks = NULL;

bool round_trip(uint64_t bytes);
bool round_trip(uint64_t bytes)
{
    unsigned arena;
    size_t length = sizeof arena;
    bool enabled = false;
    void *p = malloc((size_t)bytes), *q;
    bool fits = malloc_usable_size(p) >= bytes;

    free(p);
    if (mallctl("arenas.create", &arena, &length, &hooks, sizeof hooks) != 0)
        return false;
    q = mallocx((size_t)bytes, MALLOCX_ALIGN(64) | MALLOCX_ZERO | MALLOCX_ARENA(arena));
    fits = fits && sallocx(q, 0) == nallocx((size_t)bytes, MALLOCX_ALIGN(64));
    dallocx(q, MALLOCX_TCACHE_NONE);
    free(aligned_alloc(64, 128));
    free(memalign(64, 100));
    return fits && mallctl("thread.tcache.enabled", NULL, NULL, &enabled, sizeof enabled) == 0;
}
EOF
echo '#include <reclaim/reclaim.h>' >"$folder/reclaim.c"
echo '#include <reclaim/jemalloc.h>' >"$folder/jemalloc.c"
cat "$folder/jemalloc.c" "$folder/swapped.c" >"$folder/again.c"

flags="-Wall -Wextra -Werror -I$abs_top_srcdir/include -fsyntax-only"
for file in swapped reclaim jemalloc again; do
    for standard in c11 gnu17; do
        $CC -std=$standard $flags "$folder/$file.c"
    done
    if command -v "${CXX%% *}" >/dev/null; then
        $CXX -std=c++17 $flags -x c++ "$folder/$file.c"
    fi
done
# Hooks, which would be refused, cannot be made.
echo 'extent_hooks_t none = {0};' >>"$folder/swapped.c"
if $CC -std=gnu17 $flags "$folder/swapped.c" 2>"$folder/errors"; then
    echo "a program that makes extent hooks compiles" >&2
    exit 1
fi
grep -q 'incomplete type' "$folder/errors"
