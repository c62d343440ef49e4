/* SPDX-License-Identifier: MIT */
/* json.c - see json.h. */
#include "json.h"

/* Bytes of the character of UTF-8 that begins here; 0: none does.  Shortest forms only. */
static unsigned utf8_length(const unsigned char *t)
{
    unsigned n = t[0] >= 0xc2 && t[0] < 0xe0 ? 2 : t[0] >= 0xe0 && t[0] < 0xf0 ? 3 : 4;
    if (t[0] < 0xc2 || t[0] > 0xf4)
        return 0;
    for (unsigned i = 1; i < n; i++)
        if ((t[i] & 0xc0) != 0x80) /* the end of the text too */
            return 0;
    bool longer = (t[0] == 0xe0 && t[1] < 0xa0) || (t[0] == 0xf0 && t[1] < 0x90);
    bool beyond = (t[0] == 0xed && t[1] > 0x9f) || (t[0] == 0xf4 && t[1] > 0x8f);
    return longer || beyond ? 0 : n;
}

void rcl_json_string(struct rcl_out *o, const char *text)
{
    static const char digit[] = "0123456789abcdef";
    rcl_out_print(o, "\"");
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        unsigned more = utf8_length((const unsigned char *)text);
        if (more != 0) {
            rcl_out_print(o, "%c", c);
            while (--more > 0)
                rcl_out_print(o, "%c", *++text);
        } else if (c == '"' || c == '\\') {
            rcl_out_print(o, "\\%c", c);
        } else if (c < ' ' || c > '~') {
            rcl_out_print(o, "\\u00%c%c", digit[c / 16], digit[c % 16]);
        } else {
            rcl_out_print(o, "%c", c);
        }
    }
    rcl_out_print(o, "\"");
}

void rcl_json_key(struct rcl_out *o, bool *first, const char *name)
{
    if (!*first)
        rcl_out_print(o, ",");
    *first = false;
    if (name != NULL)
        rcl_out_print(o, "\"%s\":", name);
}

void rcl_json_number(struct rcl_out *o, bool *first, const char *name, uint64_t n)
{
    rcl_json_key(o, first, name);
    rcl_out_print(o, "%llu", (unsigned long long)n);
}

void rcl_json_bool(struct rcl_out *o, bool *first, const char *name, bool value)
{
    rcl_json_key(o, first, name);
    rcl_out_print(o, value ? "true" : "false");
}
