/* SPDX-License-Identifier: MIT */
/* json.c - see json.h. */
#include "json.h"

void rcl_json_string(struct rcl_out *o, const char *text)
{
    static const char digit[] = "0123456789abcdef";
    rcl_out_print(o, "\"");
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            rcl_out_print(o, "\\%c", c);
        else if (c < ' ' || c > '~')
            rcl_out_print(o, "\\u00%c%c", digit[c / 16], digit[c % 16]);
        else
            rcl_out_print(o, "%c", c);
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
