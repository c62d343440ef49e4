# SPDX-License-Identifier: MIT
#
# lib.sh - what the host scripts share; sourced, not run.
#
# A host script runs a real program twice, under the C library's malloc and under the
# preload, and says for each thing it looked at one of
#
#     PASS name
#     FAIL name
#     SKIP name reason
#
# Environment:
#   RECLAIM_SO    the library; else the one of a build in this directory, or of a build below
#                 the source tree
#   RECLAIM_ALL   not empty (run-all sets it): all that can be tested, however long it takes; else
#                 what `make check` has time for
#   HOST_LOGS     folder that keeps what failing runs wrote; else a fresh one in TMPDIR

set -u
export LC_ALL=C

hosts=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$hosts/../.." && pwd)

find_library() {
    # A name that was given counts alone: another library would be tested unnoticed.
    if [ -n "${RECLAIM_SO:-}" ]; then
        set -- "$RECLAIM_SO"
    else
        set -- src/.libs/libreclaim.so "$top"/src/.libs/libreclaim.so \
            "$top"/build/*/src/.libs/libreclaim.so "$top"/build*/src/.libs/libreclaim.so
    fi
    for so; do
        if [ -e "$so" ]; then
            readlink -f "$so"
            return
        fi
    done
    echo "lib.sh: no library at $1; build it, or set RECLAIM_SO" >&2
    exit 99
}

RECLAIM_SO=$(find_library) || exit 99
export RECLAIM_SO

logs=${HOST_LOGS:-$(mktemp -d "${TMPDIR:-/tmp}/reclaim-hosts.XXXXXX")}
work=$(mktemp -d "${TMPDIR:-/tmp}/reclaim-host.XXXXXX")
mkdir -p "$logs"
# tidy - nothing stays but the logs of failures.
tidy() {
    rm -rf "$work"
    rmdir "$logs" 2>/dev/null || true
}
trap tidy EXIT

passes() { echo "PASS $1"; }
skips() { echo "SKIP $*"; }
fails() { # NAME [FILE...] - the files are kept
    name=$1
    shift
    echo "FAIL $name"
    for file; do
        [ -e "$file" ] || continue
        cp "$file" "$logs/$name.$(basename "$file")"
        sed 's/^/    /' "$file" | tail -n 15
    done
    echo "    more: $logs"
}

# have NAME PROGRAM... - says SKIP for NAME when a program is not installed.
have() {
    needed_by=$1
    shift
    for tool; do
        command -v "$tool" >/dev/null 2>&1 || {
            skips "$needed_by" "$tool is not installed"
            return 1
        }
    done
}

# preloaded COMMAND... - the loader only complains when it cannot preload: see said_well.
preloaded() { LD_PRELOAD=$RECLAIM_SO "$@"; }

# said_well FILE - whether what a run wrote to stderr holds no complaint about the library.
said_well() { ! grep -E 'ld\.so:|libreclaim|cannot be preloaded' "$1" >/dev/null; }

# same_output NAME COMMAND... - runs it both ways in an empty folder; passes when both ended well
# and wrote the same to stdout.  The command sees the folder as ., and its own name for the run,
# glibc or preload, as $run.
same_output() {
    name=$1
    shift
    for run in glibc preload; do
        export run
        mkdir -p "$work/$name"
        (
            cd "$work/$name" || exit 99
            if [ "$run" = preload ]; then
                preloaded timeout -k 10 300 "$@"
            else
                timeout -k 10 300 "$@"
            fi
        ) >"$work/$name.$run.out" 2>"$work/$name.$run.err" </dev/null
        result=$?
        rm -rf "${work:?}/$name"
        if [ "$run" = glibc ] && [ "$result" -ne 0 ]; then
            skips "$name" "exit code $result under glibc too"
            sed 's/^/    /' "$work/$name.glibc.err" | tail -n 5
            return
        fi
        if [ "$result" -ne 0 ]; then
            echo "exit code $result" >>"$work/$name.$run.err"
            fails "$name" "$work/$name.$run.err"
            return
        fi
    done
    if ! said_well "$work/$name.preload.err"; then
        fails "$name" "$work/$name.preload.err"
    elif ! [ -s "$work/$name.glibc.out" ]; then
        echo 'no output: nothing was compared' >"$work/$name.note"
        fails "$name" "$work/$name.note"
    elif ! cmp "$work/$name.glibc.out" "$work/$name.preload.out" >"$work/$name.cmp" 2>&1; then
        fails "$name" "$work/$name.cmp" "$work/$name.preload.out" "$work/$name.glibc.out"
    else
        passes "$name"
    fi
}

# one_test NAME COMMAND... - in a folder of its own; passes with exit code 0.
failed=0
one_test() {
    name=$1
    shift
    mkdir -p "$work/$name"
    (cd "$work/$name" && TMPDIR=$work/$name exec timeout -k 10 250 "$@") \
        >"$work/$name.out" 2>&1 </dev/null
    result=$?
    if [ "$result" -eq 0 ]; then
        passes "$name"
    else
        failed=1
        echo "exit code $result" >>"$work/$name.out"
        fails "$name" "$work/$name.out"
    fi
}

# each_python NAME [INTERPRETER] - calls try_python INTERPRETER VERSION for every CPython from 3.8 on (the
# first one, unless RECLAIM_ALL is set), or only that one, and ends the script: with 1 if anything
# failed, 77 if there is none.
each_python() {
    name_of_all=$1
    seen=
    export PYTHONDONTWRITEBYTECODE=1
    for python in ${2:-/usr/bin/python3 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.*/bin/python3}; do
        [ -x "$python" ] || continue
        version=$("$python" -c 'import sys
print("%d.%d" % sys.version_info[:2] if sys.version_info >= (3, 8) else "")' 2>/dev/null)
        case " $seen " in *" $version "*) continue ;; esac
        [ -n "$version" ] || continue
        seen="$seen $version"
        try_python "$python" "$version"
        [ -n "${RECLAIM_ALL:-}" ] || break
    done
    if [ -z "$seen" ]; then
        skips "$name_of_all" 'no CPython from 3.8 on'
        exit 77
    fi
    exit "$failed"
}

# The whole point would be lost if the library were not in the process.
if ! preloaded sh -c 'grep -q libreclaim /proc/$$/maps' 2>/dev/null; then
    echo "lib.sh: $RECLAIM_SO cannot be preloaded" >&2
    exit 99
fi
