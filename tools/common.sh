# SPDX-License-Identifier: MIT
#
# common.sh - what ./quickstart and ./runtests share.  Sourced, not run; `top` is set to the
# project's folder by then.
# shellcheck shell=sh

say() {
    printf '==> %s\n' "$*"
}

give_up() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

# ---- packages ------------------------------------------------------------------------------

# as_root COMMAND... - by sudo where we are not root.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo "$@"
    else
        give_up "must be root, or have sudo, to run: $*"
    fi
}

# Each argument is THING=PACKAGE, where THING is a command, or a file when it begins with a
# slash.  Prints the packages of what is not there.
missing_packages() {
    for need in "$@"; do
        thing=${need%%=*}
        case $thing in
        /*) [ -e "$thing" ] || printf '%s ' "${need#*=}" ;;
        *) command -v "$thing" >/dev/null 2>&1 || printf '%s ' "${need#*=}" ;;
        esac
    done
}

# install_missing THING=PACKAGE... - the network is touched only when something is missing.
install_missing() {
    packages=$(missing_packages "$@")
    [ -n "$packages" ] || return 0
    command -v apt-get >/dev/null 2>&1 ||
        give_up "no apt-get here; install what Debian calls: $packages"
    say "installing: $packages"
    mkdir -p "$top/build"
    step 'package lists' "$top/build/apt.log" as_root apt-get update -q
    # shellcheck disable=SC2086 # a list of words
    step 'packages' "$top/build/apt.log" as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -q -y --no-install-recommends $packages
}

# What a build needs, from a git checkout on.
build_needs='gcc=gcc /usr/include/stdlib.h=libc6-dev make=make autoreconf=autoconf
    automake=automake libtoolize=libtool pkg-config=pkg-config python3=python3'

# ---- long steps ----------------------------------------------------------------------------

# step LABEL LOG COMMAND... - runs quietly and shows that time passes.  When the command fails,
# shows the log's end and returns 1, which ends a script that does not ask.
step() {
    step_label=$1 step_log=$2
    shift 2
    mkdir -p "$(dirname "$step_log")"
    step_start=$(date +%s)
    "$@" >"$step_log" 2>&1 &
    step_pid=$!
    # A background command of a script does not get the terminal's interrupt.
    trap 'kill "$step_pid" 2>/dev/null; exit 130' INT TERM
    step_shown=0
    while kill -0 "$step_pid" 2>/dev/null; do
        sleep 0.3
        step_seconds=$(($(date +%s) - step_start))
        if [ -t 1 ]; then
            printf '\r    %s ... %d s ' "$step_label" "$step_seconds"
        elif [ "$step_seconds" -ge $((step_shown + 15)) ]; then
            step_shown=$step_seconds
            printf '    %s ... %d s\n' "$step_label" "$step_seconds"
        fi
    done
    trap - INT TERM
    step_result=0
    wait "$step_pid" || step_result=$?
    [ ! -t 1 ] || printf '\r'
    printf '    %s: %d s        \n' "$step_label" $(($(date +%s) - step_start))
    if [ "$step_result" -ne 0 ]; then
        # The first errors are the ones to read; with make -j or -k they are far from the end.
        grep -nE 'error|undefined reference|\*\*\*' "$step_log" | head -n 15 || true
        echo '    ...'
        tail -n 10 "$step_log"
        printf '%s failed (exit code %s); all of it: %s\n' "$step_label" "$step_result" "$step_log"
        return 1
    fi
}

# ---- building ------------------------------------------------------------------------------

# Sets `source`: where to build from.  Automake refuses to build outside of a source folder that
# was configured in place, so such a folder is copied and the copy cleaned.
prepare_source() {
    source=$top
    mkdir -p "$top/build"
    if [ -e "$top/config.status" ]; then
        source=$top/build/source
        say "the source folder is configured: building from a copy in build/source"
        rm -rf "$source"
        mkdir -p "$source"
        tar -C "$top" --exclude=./build --exclude=./.git -cf - . | tar -C "$source" -xf -
        make -C "$source" distclean >"$top/build/distclean.log" 2>&1 ||
            give_up "cleaning the copy failed; see build/distclean.log"
    fi
    if [ ! -x "$source/configure" ]; then
        step 'autogen.sh' "$top/build/autogen.log" "$source/autogen.sh"
    fi
}

# build_in FOLDER OPTION... - configures when that was not done with these options, and makes.
# Returns 1 when one of them fails.
build_in() {
    folder=$1
    shift
    mkdir -p "$folder"
    if [ ! -e "$folder/Makefile" ] || [ "$*" != "$(cat "$folder/.options" 2>/dev/null)" ]; then
        rm -f "$folder/.options"
        step 'configure' "$folder/configure.log" \
            sh -c 'cd "$1" && shift && "$@"' sh "$folder" "$source/configure" --quiet "$@" ||
            return 1
        # Objects made with other options are as good as foreign.
        make -C "$folder" clean >"$folder/clean.log" 2>&1 || true
        printf '%s\n' "$*" >"$folder/.options"
    fi
    step 'make' "$folder/make.log" make -C "$folder" -j "$(nproc)"
}
