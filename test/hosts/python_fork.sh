#!/bin/sh
# SPDX-License-Identifier: MIT
#
# 1,000 os.fork() after bursts.  From 3.12 on CPython warns when it forks while the kernel counts
# more than one thread in the process, an allocator's included: it must see one, and parent and
# child must go on.  Once with all warnings shown, which must be none, and once with warnings as
# errors, as test suites run: there os.fork() itself swallows the error in some versions.
. "$(dirname "$0")/lib.sh"

cat >"$work/forks.py" <<'END'
import os, signal, sys, time, warnings

if "error" not in sys.warnoptions:
    warnings.simplefilter("always")
signal.alarm(100)  # a deadlock ends by SIGALRM, which the shell sees
status = 0
for n in range(1000):
    size = (100, 5000, 20000, 300000)[n % 4]
    burst = [b"x" * (size + i % 97) for i in range(6000000 // size)]
    del burst
    if n % 100 == 50:
        time.sleep(0.02)  # not for safety: so that a helper of the allocator gets going
    child = os.fork()
    if child == 0:
        more = ["y" * (i % 30000) for i in range(300)]
        del more
        os._exit(0)
    status |= os.waitpid(child, 0)[1]
print("forks", n + 1, "status", status)
END

found=
for python in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.*/bin/python3 /usr/bin/python3; do
    [ -x "$python" ] || continue
    version=$("$python" -c 'import sys
print("%d.%d" % sys.version_info[:2] if sys.version_info >= (3, 12) else "")' 2>/dev/null)
    [ -n "$version" ] || continue
    for how in always:default always:malloc error:malloc; do
        PYTHONMALLOC=${how#*:}
        export PYTHONMALLOC
        name=python-fork-$version-${how%:*}-$PYTHONMALLOC
        found=yes
        preloaded "$python" -W "${how%:*}" "$work/forks.py" >"$work/out" 2>"$work/err" </dev/null
        result=$?
        if [ "$result" -eq 0 ] && [ "$(cat "$work/out")" = 'forks 1000 status 0' ] &&
            ! [ -s "$work/err" ]; then
            passes "$name"
        else
            echo "exit code $result" >>"$work/err"
            fails "$name" "$work/err" "$work/out"
        fi
    done
done
[ -n "$found" ] || skips python-fork 'no CPython from 3.12 on'
