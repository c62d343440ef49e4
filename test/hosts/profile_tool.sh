#!/bin/sh
# SPDX-License-Identifier: MIT
#
# `reclaim prof` on real dumps: of libreclaim in both spellings, of jemalloc and of gperftools where
# they are installed; names by elfutils and by binutils, from the program and from a separate debug
# file; what it writes is read by go tool pprof and jeprof where they are installed.
. "$(dirname "$0")/lib.sh"
set -e
abs_top_srcdir=$top
python=${PYTHON:-python3}
command -v "$python" >/dev/null || { echo 'skipped: no python3'; exit 77; }
command -v "${CXX:-c++}" >/dev/null || { echo 'skipped: no C++ compiler'; exit 77; }
command -v addr2line >/dev/null || { echo 'skipped: no addr2line (binutils)'; exit 77; }
export PYTHONDONTWRITEBYTECODE=1
ran=0

fail() {
    echo "FAIL profile-tool: $1"
    sed 's/^/    /' "$work/said" "$work/errors" | head -40
    exit 1
}

reclaim() {
    "$python" "$abs_top_srcdir/python/bin/reclaim" "$@" >"$work/said" 2>"$work/errors" ||
        fail "reclaim $*: exit code $?"
    ran=$((ran + 1))
}

says() { # what pattern
    grep -Eq "$2" "$work/said" || fail "$1: no line like $2"
}

# clang leaves out .debug_aranges unless asked, and older elfutils needs it; gcc has no such option.
aranges=-gdwarf-aranges
echo 'int x;' >"$work/x.cc"
${CXX:-c++} $aranges -c -o "$work/x.o" "$work/x.cc" 2>"$work/errors" || aranges=
${CXX:-c++} -O1 -g $aranges -fno-omit-frame-pointer -fno-builtin -Wl,--build-id \
    -o "$work/program" "$abs_top_srcdir/test/hosts/profile_tool.cc"

# So often that each of the program's blocks is a sample: what is in use is known exactly.
profile() { # name options arguments...
    name=$1 options=$2
    shift 2
    RECLAIM_CONF=prof:true,prof_final:true,lg_prof_sample:12,prof_prefix:$work/p,$options \
        LD_PRELOAD=$RECLAIM_SO "$work/program" "$@"
    mv "$work"/p.*.final.heap "$work/$name.heap"
    rm -f "$work"/p.*
}

profile full prof_legacy:false
profile less prof_legacy:false less
profile legacy prof_legacy:true

tools=addr2line
if command -v eu-addr2line >/dev/null; then
    tools='eu-addr2line addr2line'
fi
dumps='full legacy'
if [ -z "${RECLAIM_ALL:-}" ]; then # one of each will do
    tools=${tools%% *}
    dumps=full
fi

# The list of mapped files, which is last, cut between two lines; and frames that are no code.
for name in full legacy; do
    sed '$d' "$work/$name.heap" >"$work/cut.heap"
    if "$python" "$abs_top_srcdir/python/bin/reclaim" prof top "$work/cut.heap" >"$work/said" \
        2>"$work/errors" || ! grep -q 'cut off: it ends in its list' "$work/errors"; then
        fail "$name: a cut in the list of mapped files is not noticed"
    fi
done
for frame in '0x8000000000000000 no stack' '0x8000000000000001 too many stacks'; do
    sed "s/^@ .*/@ ${frame%% *}/" "$work/full.heap" >"$work/frame.heap"
    reclaim prof top "$work/frame.heap"
    says 'a frame that is no code' "100\.0 % +\[${frame#* }\]\$"
done

# With names from the program, then from a debug file that only the build id leads to.
names() { # options...
    for tool in $tools; do
        for dump in $dumps; do
            reclaim prof top --addr2line "$tool" "$@" "$work/$dump.heap"
            # elfutils names the instance of a template, of clang's with what it returns; binutils
            # leaves the parameters out
            says "top by $tool" '^ *(5[89]|6[0-4])\.[0-9] MB +9[5-9]\.. % .*% +([a-z:* ]*grab<long.*|store::shelf::fill\(int\)) '
            says "top by $tool" '% +2\.0 MB .* other(\(\))? '
            reclaim prof top --total --addr2line "$tool" "$@" "$work/$dump.heap"
            says "what inlined it, by $tool" ' store::shelf::fill\(int\) .*profile_tool\.cc'
            reclaim prof top --total --by line --addr2line "$tool" "$@" "$work/$dump.heap"
            says "lines by $tool" 'profile_tool\.cc:[0-9]+  main'
        done
    done
}
names
# Without that section, and no tool named: the one or the other knows.
cp "$work/program" "$work/complete"
objcopy --remove-section .debug_aranges "$work/program"
reclaim prof top --total --by line "$work/full.heap"
line=$(grep -n 'malloc(sizeof(T)' "$abs_top_srcdir/test/hosts/profile_tool.cc" | cut -d: -f1)
says 'without .debug_aranges' "9[5-9]\\.. % .*profile_tool\\.cc:$line +[a-z]"
mv "$work/complete" "$work/program"
id=$(readelf -n "$work/program" | sed -n 's/.*Build ID: //p')
mkdir -p "$work/debug/.build-id/${id%"${id#??}"}"
objcopy --only-keep-debug "$work/program" "$work/debug/.build-id/${id%"${id#??}"}/${id#??}.debug"
cp "$work/program" "$work/whole"
strip "$work/program"
names --debug-dir "$work/debug"
# The program itself is gone: the debug file alone.
mv "$work/program" "$work/stripped"
names --debug-dir "$work/debug"
reclaim prof top "$work/full.heap"
grep -q "program is not here" "$work/errors" || fail 'no word about a program that is gone'
says 'without names' '\[program\]'
mkdir -p "$work/root/$work"
cp "$work/whole" "$work/root/$work/program"
names --root "$work/root"
# Another program in its place: no names are better than wrong ones.
cp /bin/ls "$work/program"
reclaim prof top "$work/full.heap"
grep -q "another build id" "$work/errors" || fail 'no word about a program that is another one'
mv "$work/whole" "$work/program"

# Without a build id inode and time tell, whichever file it is that lies there now.
cp "$work/program" "$work/whole"
objcopy --remove-section .note.gnu.build-id "$work/program"
profile plain prof_legacy:false
reclaim prof top "$work/plain.heap"
says 'without a build id' '% .*(fill|grab)'
cp /bin/ls "$work/other"
objcopy --remove-section .note.gnu.build-id "$work/other"
touch -r "$work/program" "$work/other"
mv "$work/other" "$work/program"
reclaim prof top "$work/plain.heap"
grep -q "no build id, and another inode" "$work/errors" || fail 'no word about another inode'
says 'another inode' '\[program\]'
cp "$work/whole" "$work/program"

# A name that is no UTF-8, of two lines, and like that of a deleted file.
odd=$(printf '%s/caf\351\nx (deleted)' "$work")
cp "$work/program" "$odd"
RECLAIM_CONF=prof:true,prof_final:true,lg_prof_sample:12,prof_prefix:$work/p,prof_legacy:false \
    LD_PRELOAD=$RECLAIM_SO "$odd"
mv "$work"/p.*.final.heap "$work/odd.heap"
reclaim prof top "$work/odd.heap"
says 'an odd name' '% .*(fill|grab)'
rm "$odd"

# Growth.
reclaim prof diff "$work/less.heap" "$work/full.heap"
sed -n 3p "$work/said" | grep -Eq '^ *\+5[2-8]\.[0-9] MB .*(grab|fill)' || fail 'diff: the order'
reclaim prof tree --min 5 --base "$work/less.heap" "$work/full.heap"
says 'tree of a difference' 'store::shelf::fill'
grep -q other "$work/said" && fail 'tree of a difference: other has not grown'

# Pictures and folded stacks.
reclaim prof flame -o "$work/a.svg" "$work/full.heap"
"$python" -c 'import sys, xml.dom.minidom as m; m.parse(sys.argv[1])' "$work/a.svg" || fail 'SVG'
reclaim prof folded "$work/full.heap"
says folded '^(.*;)?main;.*store::shelf::fill\(int\);.* [56][0-9]{7}$'

# Workers: the sum of two processes of one program.
profile worker prof_legacy:false
reclaim prof merge -o "$work/merged.heap" "$work/full.heap" "$work/worker.heap"
reclaim prof top "$work/merged.heap"
says 'merged' '^ *1(1[6-9]|2[0-9])\.[0-9] MB +9[5-9]\.. %'
if command -v jeprof >/dev/null; then
    # Lines that it does not know are nothing to it.
    sed 's/^# pid .*/&\n# parent 1\n# inherited 1048576/' "$work/full.heap" >"$work/child.heap"
    jeprof --text "$work/program" "$work/child.heap" >"$work/said" 2>"$work/errors" || fail jeprof
    says 'jeprof of a forked process' ' 9[5-9]\..% .*(fill|grab)'
    grep -q '^# pids [0-9]* [0-9]*$' "$work/merged.heap" || fail 'no processes in a merged profile'
    jeprof --text "$work/program" "$work/merged.heap" >"$work/said" 2>"$work/errors" || fail jeprof
    says 'jeprof of a merged profile' ' 9[5-9]\..% .*(fill|grab)'
    ran=$((ran + 1))
fi

# profile.proto, as its own program reads it: both kinds of numbers, and names by pprof itself.
if command -v go >/dev/null; then
    HOME=$work PPROF_TMPDIR=$work
    export HOME PPROF_TMPDIR
    for dump in $dumps merged; do
        reclaim prof pprof -o "$work/p.pb.gz" "$work/$dump.heap"
        # Each reading takes it more than a second.
        indices=inuse_space
        [ "$dump$dumps" = 'fullfull legacy' ] &&
            indices='inuse_space inuse_objects alloc_space alloc_objects'
        for index in $indices; do
            go tool pprof -top -sample_index=$index "$work/p.pb.gz" >"$work/said" 2>"$work/errors" ||
                fail "go tool pprof, $index"
            says "go tool pprof, $index" ' 9[5-9](\.[0-9]+)?%.*(fill|grab)'
            ran=$((ran + 1))
        done
        go tool pprof -raw "$work/p.pb.gz" >"$work/said" 2>"$work/errors" || fail 'pprof -raw'
        says 'the build id' "program $id"
    done
    reclaim prof pprof --no-symbols -o "$work/p.pb.gz" "$work/full.heap"
    go tool pprof -top -sample_index=inuse_space "$work/program" "$work/p.pb.gz" >"$work/said" \
        2>"$work/errors" || fail 'go tool pprof with its own names'
    # It has no name for the inlined template (binutils has none).
    says 'go tool pprof with its own names' ' 100% +main$'
    says 'go tool pprof with its own names' ' 3\.[0-9]+% +other'
fi

# What others write.
installed() { ldconfig -p 2>/dev/null | sed -n "s|.* => \(.*/$1\)\$|\1|p" | head -n 1; }
jemalloc=$(installed 'libjemalloc\.so\.2')
if [ -n "$jemalloc" ] && MALLOC_CONF=prof:true,prof_final:true,lg_prof_sample:12,prof_prefix:$work/je \
    LD_PRELOAD=$jemalloc "$work/program" 2>"$work/errors" && ls "$work"/je.*.heap >/dev/null 2>&1; then
    reclaim prof top "$work"/je.*.heap
    says jemalloc '^ *(5[4-9]|6[0-9]|7[0-2])\.[0-9] MB +9[0-9]\.. % .*(grab|fill)'
    echo "read jemalloc's"
fi
tcmalloc=$(installed 'libtcmalloc\.so\.4')
if [ -n "$tcmalloc" ] && HEAPPROFILE=$work/gp LD_PRELOAD=$tcmalloc "$work/program" 2>"$work/errors" &&
    ls "$work"/gp.*.heap >/dev/null 2>&1; then
    reclaim prof top "$work"/gp.0001.heap --alloc
    says gperftools '(grab|fill)'
    echo "read gperftools'"
fi

echo "$ran readings"
passes profile-tool
