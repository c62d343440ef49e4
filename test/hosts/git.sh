#!/bin/sh
# SPDX-License-Identifier: MIT
#
# git gc with threads in a generated repository, then a full check and all objects listed.
. "$(dirname "$0")/lib.sh"

have git-gc git awk || exit 0

# A stream for fast-import: 400 commits, each changes some of 200 files of growing length.
awk 'BEGIN {
    for (c = 1; c <= 400; c++) {
        printf "commit refs/heads/main\ncommitter T <t@example.org> %d +0000\n", 1500000000 + c
        printf "data 8\ncommit\n\n"
        for (k = 0; k < 12; k++) {
            f = (c * 7 + k * 31) % 200
            text = ""
            for (l = 0; l < 20 + f; l++)
                text = text sprintf("line %d of file %d, since commit %d\n", l, f, c - c % (l + 1))
            printf "M 100644 inline dir%d/file%d\ndata %d\n%s\n", f % 10, f, length(text), text
        }
    }
}' >"$work/stream"
stream=$work/stream
export stream
export GIT_CONFIG_NOSYSTEM=1 HOME="$work"

same_output git-gc sh -c '
    git init -q -b main repo && cd repo && git fast-import --quiet <"$stream" &&
    git config pack.threads 4 && git config gc.auto 0 &&
    git gc --aggressive --prune=now --quiet && git fsck --full --strict 2>&1 &&
    git repack -a -d -f -q --window=50 && git gc --quiet && git fsck --full 2>&1 &&
    git rev-list --objects --all | sort | cksum && git log --stat --oneline | cksum &&
    git checkout -q main && git grep -c "line 1" | cksum'
