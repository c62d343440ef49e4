# SPDX-License-Identifier: MIT
"""picture.py - a run in one picture: every row's time beside the baseline's, and the tails of free()."""
import figures
import report
from figures import rows_of

COLOURS = {"glibc": "#7f7f7f", "jemalloc": "#1f77b4", "mimalloc": "#2ca02c", "tcmalloc": "#9467bd",
           "libreclaim": "#d62728"}
MARKS = "osD^vP*X"
ROW_INCHES = 0.21
TAILS_BESIDE = 3


def rows_panel(axes, rows, names, by, base):
    """A line for each row, a mark for each allocator; the baseline is the line at 1."""
    for at, row in enumerate(rows):
        ratios = figures.ratios(row.medians(by), base)
        for number, name in enumerate(names):
            if name in ratios and name != base:
                axes.plot(ratios[name], at, MARKS[number % len(MARKS)], color=COLOURS.get(name),
                          markersize=7 if figures.is_ours(name) else 5,
                          zorder=3 if figures.is_ours(name) else 2, label=name if at == 0 else None)
    axes.axvline(1, color=COLOURS.get(base), linewidth=1.2, label=base)
    axes.set_xscale("log")
    axes.set_yticks(range(len(rows)))
    axes.set_yticklabels([row.name for row in rows], fontsize=7)
    axes.invert_yaxis()
    axes.grid(True, axis="both", linewidth=0.3)
    axes.set_xlabel("%s time / %s's" % (by, base))
    axes.legend(fontsize=7, loc="best")


def tail_panel(axes, row, names):
    """The share of free() calls that took longer than t."""
    for name in names:
        histogram = row.histogram(name, "free")
        total = sum(histogram.values())
        if not total:
            continue
        left, xs, ys = total, [], []
        for step in sorted(histogram):
            left -= histogram[step]
            xs.append(figures.ns_of_step(step))
            ys.append(left / total)
        # The last share is nothing, which has no place on the scale.
        axes.step(xs[:-1] + xs[-1:], ys[:-1] + [0.3 / total], where="post", label=name,
                  color=COLOURS.get(name), linewidth=1.8 if figures.is_ours(name) else 1)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.grid(True, linewidth=0.3)
    axes.set_title("%s: free()" % row.name, fontsize=8)
    axes.set_xlabel("ns", fontsize=7)
    axes.set_ylabel("share that took longer", fontsize=7)
    axes.tick_params(labelsize=6)
    axes.legend(fontsize=6)


def draw(path, results, by):
    """False, with a line that says so, where there is nothing to draw with or nothing to draw."""
    try:
        import matplotlib
    except ImportError:
        print("bench: no picture without matplotlib (Debian: python3-matplotlib)")
        return False
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = report.order(results)
    base = report.base_of(names)
    panels = [rows for rows in (rows_of(results, "micro"), rows_of(results, "macro")) if rows]
    tails = rows_of(results, "latency")
    if not panels and not tails:
        return False
    lines = -(-len(tails) // TAILS_BESIDE)
    heights = [ROW_INCHES * len(rows) + 0.9 for rows in panels] + ([2.8 * lines] if tails else [])
    figure = plt.figure(figsize=(10, sum(heights)), constrained_layout=True)
    parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, rows in zip(parts, panels):
        rows_panel(part.subplots(), rows, names, by, base)
    if tails:
        grid = parts[-1].subplots(lines, min(TAILS_BESIDE, len(tails)), squeeze=False)
        for axes, row in zip(grid.flat, tails):
            tail_panel(axes, row, names)
        for axes in list(grid.flat)[len(tails):]:
            axes.set_axis_off()
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return True
