# SPDX-License-Identifier: MIT
"""A picture of recorded samples.  The only part that needs matplotlib, and only when it is called."""
import importlib.util
import os
import warnings

MB = 1 << 20
ENDINGS = ("png", "svg", "pdf")
# Told apart in grey print and by the colour-blind as well.
RESIDENT, LIVE, DIRTY = "#0050a0", "#009e73", "#d55e00"


def missing():
    """Whether there is nothing to draw with."""
    return importlib.util.find_spec("matplotlib") is None


def ending(path):
    return os.path.splitext(path)[1][1:].lower()


def literal(text):
    """So that the picture shows it as it is: matplotlib sets what stands between two $ as a formula, and
    fails where it is none (parse_math=False would do, but only from 3.6 on).  What has no picture of its
    own, a line's end or a byte that is no UTF-8, is a blank."""
    return "".join(char if char.isprintable() else " " for char in text).replace("$", r"\$")


def draw(path, samples, title):
    with warnings.catch_warnings():
        # A character that the font does not have is no news for the user of a terminal.
        warnings.simplefilter("ignore")
        draw_figure(path, samples, title)


def draw_figure(path, samples, title):
    import matplotlib
    matplotlib.use("Agg")  # no display
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4), constrained_layout=True)
    seconds = [sample.seconds for sample in samples]
    axes.plot(seconds, [sample.resident / MB for sample in samples], color=RESIDENT, linewidth=2,
              label="resident", zorder=3)
    known = [sample for sample in samples if sample.live is not None]
    if known:
        at = [sample.seconds for sample in known]
        axes.fill_between(at, [sample.live / MB for sample in known], color=LIVE, alpha=0.25,
                          linewidth=0, label="live: what the program holds", zorder=1)
        axes.plot(at, [sample.dirty / MB for sample in known], color=DIRTY, linewidth=1.3,
                  linestyle=(0, (4, 2)), label="dirty: freed, on its way back", zorder=2)
    most = max(sample.processes for sample in samples)
    if most > 1:
        beside = axes.twinx()
        beside.step(seconds, [sample.processes for sample in samples], color="#888888", linewidth=0.8,
                    where="post")
        beside.set_ylabel("processes", color="#888888")
        beside.set_ylim(0, most * 4)
        beside.yaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("seconds")
    axes.set_ylabel("MB")
    axes.set_ylim(bottom=0)
    axes.margins(x=0.01)
    axes.grid(True, linewidth=0.3)
    axes.set_title(literal(title), fontsize=10)
    axes.legend(fontsize=8, loc="upper right")
    figure.savefig(path, dpi=100)
    plt.close(figure)
