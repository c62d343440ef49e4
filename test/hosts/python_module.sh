#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The Python module `reclaim` and the command of the same name, on every CPython from 3.8 on:
# test/python.  One argument: only this interpreter.
. "$(dirname "$0")/lib.sh"

export PYTHONDONTWRITEBYTECODE=1

one_test() { # NAME COMMAND... - in a folder of its own
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

try_python() { # INTERPRETER VERSION
    RECLAIM_EXPECT=absent one_test "python-module-$2-absent" "$1" "$top/test/python/test_module.py"
    for PYTHONMALLOC in default malloc; do
        export PYTHONMALLOC
        RECLAIM_EXPECT=active one_test "python-module-$2-$PYTHONMALLOC" \
            env LD_PRELOAD="$RECLAIM_SO" RECLAIM_CONF=dirty_decay_ms:1234 \
            "$1" "$top/test/python/test_module.py"
    done
    unset PYTHONMALLOC
    for part in command profile plot; do
        one_test "reclaim-$part-$2" "$1" "$top/test/python/test_$part.py"
    done
}

seen= failed=0
for python in ${1:-/usr/bin/python3 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.*/bin/python3}; do
    [ -x "$python" ] || continue
    version=$("$python" -c 'import sys
print("%d.%d" % sys.version_info[:2] if sys.version_info >= (3, 8) else "")' 2>/dev/null)
    case " $seen " in *" $version "*) continue ;; esac
    [ -n "$version" ] || continue
    seen="$seen $version"
    try_python "$python" "$version"
done
if [ -z "$seen" ]; then
    skips python-module 'no CPython from 3.8 on'
    exit 77
fi
exit "$failed"
