# SPDX-License-Identifier: MIT
"""generate.py - C sources of any length for the compiler rows: the same text for the same numbers."""
import random

HEAD = """#include <stdint.h>
#include <stdlib.h>
#include <string.h>
struct item { struct item *next; uint32_t key, count; char name[24]; };
"""

FUNCTION = """
uint32_t work_{n}(struct item *list, const uint32_t *data, size_t length)
{{
    uint32_t sum = {a}u;
    for (size_t i = 0; i < length; i++) {{
        uint32_t x = data[i] ^ {b}u;
        switch (x % {c}) {{
        case 0: sum += x >> {d}; break;
        case 1: sum ^= x * {a}u; break;
        case 2: sum = (sum << {d}) | (sum >> (32 - {d})); break;
        case 3: {call} break;
        default: sum -= x & {b}u;
        }}
    }}
    for (struct item *at = list; at != NULL; at = at->next) {{
        if (at->key == sum % {c}) {{
            at->count += {d};
            memcpy(at->name, "n{n}", sizeof "n{n}");
        }} else if (at->count > {a}u) {{
            at->key = at->key * {b}u + sum;
        }}
        sum += at->key;
    }}
    return sum;
}}
"""


def c_source(seed, functions):
    rng = random.Random(seed)
    text = [HEAD]
    for n in range(functions):
        call = "sum += work_%d(list, data, length / 2);" % rng.randrange(n) if n else "sum++;"
        text.append(FUNCTION.format(n=n, a=rng.randrange(1, 1 << 20), b=rng.randrange(1, 1 << 30),
                                    c=rng.randrange(5, 12), d=rng.randrange(1, 31), call=call))
    return "".join(text)


def makefile(files, compiler):
    objects = " ".join("part%d.o" % n for n in range(files))
    return ("all: %s\n%%.o: %%.c\n\t%s -O1 -c -o $@ $<\n"
            "clean:\n\trm -f *.o\n" % (objects, compiler))
