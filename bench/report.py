# SPDX-License-Identifier: MIT
"""report.py - the tables that a run ends with, as Markdown."""
import figures
from figures import BASELINE, OURS, Row, rows_of

MB, MIB = 1000000.0, 1048576.0
# Rows in which next to all time is the kernel's, which hands out pages: nothing to win there.
FAULTING = ("touch 1 MiB", "touch 20 MiB", "calloc 10 MB")
PAIRS = ("pair 16 B", "pair 64 B", "pair 1024 B")
# Below, what the pages of the library itself make is most of the difference between two peaks.
SMALL_PEAK = 16 * MB
PYMALLOC, MALLOC = " (pymalloc)", " (malloc)"


def si(seconds):
    for unit, factor in (("s", 1), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= factor:
            return "%.3g %s" % (seconds / factor, unit)
    return "%.3g ns" % (seconds * 1e9)


def ns_text(ns):
    return "-" if ns is None else si(ns / 1e9)


def table(head, rows):
    if not rows:
        return []
    lines = ["| %s |" % " | ".join(head), "|---|%s" % ("---:|" * (len(head) - 1))]
    return lines + ["| %s |" % " | ".join(row) for row in rows] + [""]


def order(results):
    """The baseline first, ours last."""
    names = list(results["allocators"])
    return sorted(names, key=lambda name: (name != BASELINE, figures.is_ours(name)))


def base_of(names):
    return BASELINE if BASELINE in names else names[0]


def ratio_text(value):
    return "-" if value is None else "%.2f" % value


# ---- time --------------------------------------------------------------------------------------


def time_table(title, rows, names, by):
    base = base_of(names)
    lines = []
    for row in rows:
        medians = row.medians(by)
        to_base = figures.ratios(medians, base)
        cells = []
        for name in names:
            if name not in medians:
                cells.append("-")
                continue
            wide = " ±%.0f%%" % (100 * figures.spread(row.values(name, by)))
            cells.append((si(medians[name]) if name == base else ratio_text(to_base.get(name))) + wide)
        best = figures.best_peer(medians)
        cells.append(ratio_text(figures.ratio_to_best(medians)))
        lines.append([row.name] + cells + [best[0] if best else "-"])
    means = [ratio_text(figures.mean_to(rows, by, name, base)) for name in names]
    total = ratio_text(figures.mean_ratio(rows, by))
    if lines:
        lines.append(["**geometric mean**"] + means + [total, ""])
    head = [title, base] + ["%s / %s" % (name, base) for name in names if name != base]
    return table(head + ["ours / best peer", "best peer"], lines)


# ---- memory ------------------------------------------------------------------------------------


def memory_table(title, rows, names):
    lines = []
    for row in rows:
        peaks, ends = row.medians("peak"), row.rest("end")
        cells = ["%.1f" % (peaks[name] / MB) if name in peaks else "-" for name in names]
        cells.append(ratio_text(figures.ratio_to_best(peaks)))
        cells += ["%.1f" % (ends[name] / MB) if name in ends else "-" for name in names]
        lines.append([row.name] + cells)
    head = [title + ", MB"] + ["peak " + name for name in names] + ["ours / lowest peer"]
    return table(head + ["end " + name for name in names], lines)


# ---- CPython without its own allocator ---------------------------------------------------------


def beside_pymalloc(results, key, name):
    """[(script, ratio)]: PYTHONMALLOC=malloc under `name`, by pymalloc on glibc."""
    found = []
    rows = {row.name: row for row in rows_of(results, "macro")}
    for full, row in rows.items():
        twin = rows.get(full.replace(MALLOC, PYMALLOC))
        if not full.endswith(MALLOC) or twin is None:
            continue
        mine, base = row.medians(key).get(name), twin.medians(key).get("glibc")
        if mine and base:
            found.append((full[:-len(MALLOC)], mine / base))
    return found


def python_table(results, names, by):
    lines = []
    for key, what in ((by, "time"), ("peak", "peak memory")):
        found = {name: dict(beside_pymalloc(results, key, name)) for name in names}
        scripts = sorted({script for of_name in found.values() for script in of_name})
        for script in scripts:
            lines.append(["%s, %s" % (script, what)]
                         + [ratio_text(found[name].get(script)) for name in names])
        if scripts:
            lines.append(["**geometric mean, %s**" % what] + [
                ratio_text(figures.geometric_mean(found[name].values())) for name in names])
    return table(["PYTHONMALLOC=malloc / pymalloc on glibc"] + names, lines)


# ---- scaling -----------------------------------------------------------------------------------


def speedups(results, by, name):
    """[(row, times as much work two threads do)]; by wall time whatever `by` says."""
    rows = {row.name: row for row in rows_of(results, "scale")}
    found = []
    for full, row in rows.items():
        twin = rows.get(full[:-1] + "2") if full.endswith(" x1") else None
        if twin:
            one, two = row.medians("wall").get(name), twin.medians("wall").get(name)
            if one and two:
                found.append((full[:-3], one / two))
    return found


def live_rows(results):
    return [row for row in rows_of(results, "scale") if row.name.startswith("live ")]


def by_walk(row, name, by):
    """An operation's time by that of a step of the walk in the same process."""
    return figures.median([one[by] * 1e9 / one["walk"] for one in row.measured[name]])


def page_cost(row, name, by):
    """Seconds for a page that was really returned; None when none was."""
    share = row.medians("returned").get(name)
    return row.medians(by)[name] / share if share else None


def scale_tables(results, names, by):
    lines = []
    pairs = {name: dict(speedups(results, by, name)) for name in names}
    for row in dict.fromkeys(row for of_name in pairs.values() for row in of_name):
        lines.append([row] + [ratio_text(pairs[name].get(row)) for name in names])
    text = table(["work of two threads / of one (wall)"] + names, lines)

    lines = []
    for row in live_rows(results):
        walk = figures.median([value for name in row.measured for value in row.values(name, "walk")]
                              or [0])
        medians = row.medians(by)
        cells = ["%.1f (%.2f)" % (medians[name] * 1e9, by_walk(row, name, by))
                 if name in medians else "-" for name in names]
        lines.append([row.name, "%.1f" % walk] + cells)
    text += table(["ns of a replacement (by a step of the walk)", "plain walk"] + names, lines)

    lines = []
    for row in rows_of(results, "scale"):
        if not row.name.startswith("purge "):
            continue
        shares = row.medians("returned")
        lines.append([row.name] + [
            "%.0f (%.0f%%)" % (page_cost(row, name, by) * 1e9, 100 * shares[name])
            if shares.get(name) else "none" for name in names])
    text += table(["ns for a page returned (share of those freed)"] + names, lines)

    lines = []
    for row in rows_of(results, "scale"):
        if row.name.startswith("among "):
            times = row.medians(by)
            lines.append([row.name] + [si(times[name]) if name in times else "-"
                                       for name in names])
            for key in ("first", "last"):
                bursts = row.medians(key)
                if bursts:
                    lines.append(["100 pairs as a thread begins, %s 500 threads" % key]
                                 + [ns_text(bursts.get(name)) for name in names])
    return text + table(["threads alive"] + names, lines)


# ---- latency -----------------------------------------------------------------------------------


def tail(row, name, key):
    """{what: ns}: percentiles over all rounds, the longest as the median of the rounds' longest."""
    every, all_rounds = row.histograms(name, key), row.histogram(name, key)
    found = {"p%g" % (100 * share): figures.percentile(all_rounds, share)
             for share in (0.5, 0.99, 0.9999)}
    longest = [figures.longest(one) for one in every if one]
    found["max"] = figures.median(longest) if longest else None
    found["least max"] = min(longest) if longest else None
    return found


def latency_table(results, names):
    lines, keys = [], ("p50", "p99", "p99.99", "max", "least max")
    for row in rows_of(results, "latency"):
        for call in ("malloc", "free"):
            for name in names:
                if not row.values(name, call):
                    continue
                found = tail(row, name, call)
                off = sum(row.histogram(name, "off_" + call).values())
                lines.append(["%s: %s" % (row.name, call), name]
                             + [ns_text(found[key]) for key in keys] + ["%d" % off])
        nothing = figures.merged(row.histogram(name, "none") for name in names)
        if nothing:
            shares = [figures.percentile(nothing, share) for share in (0.5, 0.99, 0.9999)]
            lines.append(["%s: nothing" % row.name, "the clock"] + [ns_text(one) for one in shares]
                         + [ns_text(figures.longest(nothing)), "-", "-"])
    return table(["one call", "allocator", "p50", "p99", "p99.99", "max", "least max",
                  "put off"], lines)


# ---- targets -----------------------------------------------------------------------------------


def worst(rows, key):
    found = [(figures.ratio_to_best(row.medians(key)), row.name) for row in rows]
    found = [one for one in found if one[0] is not None]
    return max(found) if found else None


def ratio_in_row(results, name, peer, by):
    data = results["rows"].get(name)
    return figures.ratios(Row(name, data).medians(by), peer).get(OURS) if data else None


def targets(results, by):
    """[(what, limit, value or None, of which row)]"""
    small, big = rows_of(results, "micro"), rows_of(results, "macro")
    plain = [row for row in small if row.name not in FAULTING]
    found = [("micro: geometric mean / best peer", 0.95, figures.mean_ratio(small, by), "")]

    def add_worst(what, limit, rows, key):
        one = worst(rows, key) or (None, "")
        found.append((what, limit) + one)

    add_worst("micro: worst row", 1.15, plain, by)
    add_worst("micro: worst row of page faults", 1.05, [r for r in small if r.name in FAULTING], by)
    add_worst("pairs of 16 to 1024 B", 1.00, [r for r in small if r.name in PAIRS], by)
    found.append(("thread birth and death / glibc", 1.10,
                  ratio_in_row(results, "thread birth and death", "glibc", by), ""))
    found.append(("realloc by 1 MiB / glibc", 1.10,
                  ratio_in_row(results, "realloc by 1 MiB to 256 MiB", "glibc", by), ""))
    found.append(("macro: geometric mean / best peer", 0.97, figures.mean_ratio(big, by), ""))
    add_worst("macro: worst row", 1.03, big, by)
    for key, what, limit in ((by, "time", 1.03), ("peak", "peak", 1.00)):
        values = [value for _, value in beside_pymalloc(results, key, OURS)]
        found.append(("CPython without pymalloc: mean %s / pymalloc on glibc" % what, limit,
                      figures.geometric_mean(values), ""))
    large = [row for row in small + big if max(row.medians("peak").values(), default=0) >= SMALL_PEAK]
    add_worst("peak memory: worst row above 16 MB / lowest peer", 1.03, large, "peak")
    left = [(max(one["end"] - one["start"] for one in rested) / MIB, row.name)
            for row in small for rested in [row.rested.get(OURS)] if rested]
    if left:
        found.append(("micro: MiB left when idle, beyond the start", 1.00) + max(left))
    found.append(("peak memory: geometric mean / lowest peer", 1.03,
                  figures.mean_ratio(small + big, "peak"), ""))
    return found


def scale_targets(results, by):
    """As targets(), of what must not grow."""
    rows = {row.name: row for row in rows_of(results, "scale") if row.medians(by).get(OURS)}
    found = []
    walks = [(by_walk(row, OURS, by), row.name) for row in live_rows(results) if row.name in rows]
    if len(walks) > 1:
        found.append(("10^3 to 10^7 live blocks: dearest / cheapest, by the walk", 1.10,
                      max(walks)[0] / min(walks)[0], max(walks)[1]))
    costs = [(page_cost(row, OURS, by), name) for name, row in rows.items()
             if name.startswith("purge ")]
    costs = [one for one in costs if one[0]]
    if len(costs) > 1:
        found.append(("a page returned: dearest / cheapest, whatever is owned", 1.25,
                      max(costs)[0] / min(costs)[0], max(costs)[1]))
    few, many = rows.get("among 0 threads"), rows.get("among 4000 threads")
    if few and many:
        found.append(("a call among 4,000 threads / alone", 2.00,
                      many.medians(by)[OURS] / few.medians(by)[OURS], ""))
    return found


def latency_targets(results, names):
    found, longest = [], []
    for row in rows_of(results, "latency"):
        for call in ("malloc", "free"):
            tails = {name: tail(row, name, call)["p99.99"] for name in names
                     if row.values(name, call)}
            ratio = figures.ratio_to_best(tails)
            if ratio is not None:
                found.append((ratio, "%s: %s" % (row.name, call)))
        if row.name.endswith(", cpu") and row.values(OURS, "free"):
            longest.append((tail(row, OURS, "free")["max"] / 1000, row.name))
    lines = []
    if found:
        lines.append(("one call: worst p99.99 / best peer", 1.00) + max(found))
    if longest:
        lines.append(("longest free, us of CPU time", 200.0) + max(longest))
    return lines


def target_table(results, by):
    lines = []
    every = targets(results, by) + scale_targets(results, by)
    for what, limit, value, row in every + latency_targets(results, order(results)):
        if value is not None:
            lines.append([what, "%.2f" % limit, "%.3f" % value,
                          "yes" if value <= limit else "**no**", row])
    speeds = [(value, row) for row, value in speedups(results, by, OURS)]
    if speeds:
        value, row = min(speeds)
        lines.append(["two threads / one, least", "≥ 1.90", "%.3f" % value,
                      "yes" if value >= 1.9 else "**no**", row])
    return table(["target", "at most", "here", "reached", "row"], lines)


# ---- all of it ---------------------------------------------------------------------------------


def text(results, by):
    names = order(results)
    known = results["machine"]
    lines = ["%s, %d processors, %.0f GB, Linux %s (%s); load at the start %.1f; %d rounds; times: %s."
             % (known["model"], known["processors"], known["memory"] / 1e9, known["kernel"],
                known["machine"], known["load"][0], results["options"]["rounds"],
                "wall" if by == "wall" else "CPU time of all threads"), ""]
    for kind, title in (("micro", "micro, one operation"), ("macro", "programs")):
        lines += time_table(title, rows_of(results, kind), names, by)
    lines += python_table(results, names, by)
    for kind, title in (("micro", "micro"), ("macro", "programs")):
        lines += memory_table(title, rows_of(results, kind), names)
    lines += scale_tables(results, names, by)
    lines += latency_table(results, names)
    lines += target_table(results, by)
    return "\n".join(lines)
