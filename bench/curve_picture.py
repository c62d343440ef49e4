# SPDX-License-Identifier: MIT
"""curve_picture.py - draws what curve_runs.py measured.  The only part that needs matplotlib."""
import re

import matplotlib

matplotlib.use("Agg")  # no display

import matplotlib.pyplot as plt  # noqa: E402

from curve_runs import LAST_MOMENTS, MB, back_text  # noqa: E402

OURS = "libreclaim"
# Told apart in grey print and by the colour-blind as well: ours is the thick dark one.
COLOURS = {"glibc": "#8c8c8c", "jemalloc": "#d55e00", "mimalloc": "#cc79a7", "tcmalloc": "#e69f00",
           OURS: "#0050a0"}
SPARE_COLOURS = ("#009e73", "#56b4e9", "#a0522d", "#5c5c8a")


def colours(results):
    spare = iter(SPARE_COLOURS * len(results))
    return {r.allocator.name: COLOURS.get(r.allocator.name) or next(spare) for r in results}


def origin(curve):
    """Where the picture begins: at the event "start", so that nobody's loading time is seen."""
    return next((e.seconds for e in curve.events if e.label.startswith("start")), 0.0)


def lived(curve):
    """[(seconds, bytes)] until the process begins to end; what falls then nobody has given back."""
    begin = origin(curve)
    return [(at - begin, rss) for at, rss, _ in curve.samples
            if begin <= at <= curve.wall - LAST_MOMENTS]


def draw_curves(axes, results):
    colour = colours(results)
    for result in results:
        name, samples = result.allocator.name, lived(result.median)
        axes.plot([at for at, _ in samples], [rss / MB for _, rss in samples],
                  color=colour[name], linewidth=2.6 if name == OURS else 1.5,
                  zorder=4 if name == OURS else 3, solid_joinstyle="round")


def draw_live(axes, results):
    """The program's own count of live bytes, from the last allocator's run."""
    curve = results[-1].median
    live = curve.live()
    if live:
        # A marker says what is alive when it is written; in between it changed steadily.
        live = [(at - origin(curve), n) for at, n in live + [(curve.wall, live[-1][1])]]
        axes.fill_between([at for at, _ in live], [n / MB for _, n in live], color="#0050a0",
                          alpha=0.10, linewidth=0, zorder=1)
        axes.plot([], [], color="#0050a0", alpha=0.18, linewidth=8, label="live bytes")


def draw_events(axes, results):
    """The program's steps, at the times of the last allocator's run; of steps at almost the same
    moment only the last has room for its name."""
    curve = results[-1].median
    events = [event for event in curve.events if event.seconds < curve.wall - LAST_MOMENTS]
    for event, later in zip(events, events[1:] + [None]):
        at = event.seconds - origin(curve)
        axes.axvline(at, color="#444444", linewidth=0.7, linestyle=(0, (2, 3)), zorder=2)
        if later is None or later.seconds - event.seconds > curve.wall * 0.028:
            label = re.sub(r"[ \d]*( kB)?$", "", event.label)
            axes.annotate(plain(label), (at, 1.0), xycoords=axes.get_xaxis_transform(),
                          xytext=(-3, 2), textcoords="offset points", rotation=30, va="bottom",
                          ha="left", fontsize=8.5, color="#444444")


def plain(text):
    """No formula, whatever dollars are in it."""
    return text.replace("$", r"\$")


def draw_legend(figure, results):
    """A small table below the axes: a swatch, a name, four figures each."""
    columns = (("", 0.075, "left"), ("peak MB", 0.36, "right"), ("end MB", 0.50, "right"),
               ("area MB·s", 0.66, "right"), ("time to return", 0.86, "right"))
    colour = colours(results)
    top, step = 0.045 * (len(results) + 1), 0.045
    for text, x, align in columns:
        figure.text(x, top, text, ha=align, va="center", fontsize=9.5, color="#444444")
    for number, result in enumerate(results, 1):
        name, y = result.allocator.name, top - step * number
        weight = "bold" if name == OURS else "normal"
        figure.add_artist(plt.Line2D((0.035, 0.065), (y, y), color=colour[name],
                                     linewidth=3.5 if name == OURS else 2))
        values = (name, "%.0f" % (result.median.peak / MB), "%.1f" % (result.median.end / MB),
                  "%.0f" % (result.area() / MB), back_text(result.time_to_return()))
        for (_, x, align), value in zip(columns, values):
            figure.text(x, y, value, ha=align, va="center", fontsize=10, fontweight=weight)


def draw(path, results, title):
    figure = plt.figure(figsize=(8.6, 5.8), dpi=110)
    room = 0.045 * (len(results) + 2) + 0.09
    axes = figure.add_axes((0.075, room, 0.90, 0.855 - room))
    draw_live(axes, results)
    draw_curves(axes, results)
    draw_events(axes, results)
    axes.set_title(plain(title), fontsize=11.5, loc="left", pad=40)
    axes.set_xlabel("seconds", fontsize=9.5)
    axes.set_ylabel("resident MB", fontsize=9.5)
    axes.set_xlim(0, max(lived(result.median)[-1][0] for result in results))
    axes.set_ylim(0, max(result.median.peak for result in results) / MB * 1.08)
    axes.tick_params(labelsize=9)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="center right", fontsize=9, framealpha=0.9, edgecolor="none")
    draw_legend(figure, results)
    figure.savefig(path, metadata={"Software": None})
    plt.close(figure)
