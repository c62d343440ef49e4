#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The Python module `reclaim` and the command of the same name, on CPython from 3.8 on (lib.sh):
# test/python.  One argument: only this interpreter.
. "$(dirname "$0")/lib.sh"

try_python() { # INTERPRETER VERSION
    RECLAIM_EXPECT=absent one_test "python-module-$2-absent" "$1" "$top/test/python/test_module.py"
    for PYTHONMALLOC in default malloc; do
        export PYTHONMALLOC
        RECLAIM_EXPECT=active one_test "python-module-$2-$PYTHONMALLOC" \
            env LD_PRELOAD="$RECLAIM_SO" RECLAIM_CONF=dirty_decay_ms:1234,dirty_min:64m \
            "$1" "$top/test/python/test_module.py"
    done
    unset PYTHONMALLOC
    one_test "reclaim-command-$2" "$1" "$top/test/python/test_command.py"
}

each_python python-module "$@"
