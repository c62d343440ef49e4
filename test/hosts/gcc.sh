#!/bin/sh
# SPDX-License-Identifier: MIT
#
# gcc -O2 on a large generated file, in C and C++: the object files must be the same byte for byte.
. "$(dirname "$0")/lib.sh"

have gcc gcc awk || exit 0

awk 'BEGIN {
    print "#include <stdio.h>\n#include <string.h>"
    for (f = 0; f < 1500; f++) {
        printf "struct s%d { int a[%d]; double d; char name[%d]; };\n", f, f % 13 + 1, f % 29 + 8
        printf "static int f%d(struct s%d *s, int n)\n{\n    int sum = %d;\n", f, f, f
        printf "    for (int i = 0; i < n; i++) {\n        switch ((i + %d) %% 7) {\n", f
        for (c = 0; c < 7; c++)
            printf "        case %d: sum += s->a[i %% %d] * %d; break;\n", c, f % 13 + 1, f * c + 3
        printf "        }\n        if (sum > %d) sum -= (int)strlen(s->name);\n    }\n", f * 100 + 5
        if (f > 0)
            printf "    return n > 3 ? f%d((struct s%d *)s, n / 2) + sum : sum;\n}\n", f - 1, f - 1
        else
            print "    return sum;\n}"
    }
    printf "int main(void)\n{\n    static struct s1499 s;\n    printf(\"%%d\\n\", f1499(&s, 9));\n}\n"
}' >"$work/large.c"
large=$work/large.c
export large
same_output gcc sh -c 'cp "$large" large.c; gcc -O2 -c large.c -o large.o && cksum <large.o &&
    gcc -O0 -g0 -S large.c -o large.s && cksum <large.s'

if have g++ g++; then
    awk 'BEGIN {
        print "#include <map>\n#include <string>\n#include <vector>\n#include <algorithm>"
        for (t = 0; t < 40; t++) {
            printf "template <int N> struct t%d { std::map<std::string, std::vector<int>> m;\n", t
            printf "    int go(int n) { m[std::to_string(n)].push_back(n); "
            printf "auto &v = m.begin()->second;\n        std::sort(v.begin(), v.end()); "
            printf "return (int)v.size() + N; } };\n"
            printf "int call%d(int n) { return t%d<%d>().go(n) + t%d<%d>().go(n); }\n", t, t, t, t, t + 1
        }
    }' >"$work/large.cc"
    source=$work/large.cc
    export source
    same_output g++ sh -c 'cp "$source" large.cc; g++ -O2 -c large.cc -o large.o && cksum <large.o'
fi
