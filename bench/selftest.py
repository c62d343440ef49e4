#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""selftest.py - the runner's and the model's arithmetic against made-up figures whose results are known by hand."""
import math
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "model"),
                os.path.join(os.path.dirname(HERE), "test", "reclaim")]
sys.dont_write_bytecode = True

import cores  # noqa: E402
import curve_runs  # noqa: E402
import figures  # noqa: E402

checks, failed = 0, 0


def expect(what, found, expected):
    global checks, failed
    checks += 1
    same = found == expected
    if isinstance(expected, tuple) and isinstance(found, tuple):
        same = len(found) == len(expected) and all(
            math.isclose(a, b, rel_tol=1e-9) if isinstance(b, float) else a == b
            for a, b in zip(found, expected))
    elif isinstance(expected, float) and isinstance(found, float):
        same = math.isclose(found, expected, rel_tol=1e-9)
    if not same:
        failed += 1
        print("self-test: %s: expected %s, found %s" % (what, expected, found))


def curve_says():
    """What a wrong call of bench/curve is told; nothing is measured."""
    curve = [sys.executable, os.path.join(HERE, "curve"), "--no-picture", "--alloc", "glibc"]
    for arguments, told in (
            (["--rounds", "0", "--", "true"], "'0' is no number from 1 on"),
            (["--interval", "abc", "--", "true"], "'abc' is no time: 10ms, 2s, 0.5"),
            (["--interval", "0", "--", "true"], "'0' is no time"),
            (["--out", "/nonexistent/x", "--", "true"], "the folder /nonexistent is not there"),
            (["--alloc", "nosuch", "--", "true"], "nosuch is not there; one of glibc, "),
            (["--", "/nonexistent/program"], "cannot run /nonexistent/program: No such file"),
            (["--rounds", "1", "--", "sh", "-c", "exit 3"], "exit code 3"),
            ([], "which program?")):
        run = subprocess.run(curve + arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             universal_newlines=True)
        expect("curve %s" % " ".join(arguments), (run.returncode != 0, told in run.stdout,
                                                  "Traceback" in run.stdout), (True, True, False))


def curve_of_a_flat_program():
    curve = curve_runs.Curve(None)
    curve.samples = [(i / 10, 2400000, None) for i in range(10)]
    expect("what never rose is back", curve.time_to_return(2400000), 0.0)
    curve.samples = [(i / 10, 90000000 if 2 <= i < 5 else 2400000, None) for i in range(10)]
    expect("and what did a while later", curve.time_to_return(2400000), 0.1)


def statistics():
    expect("median of an odd number", figures.median([5, 1, 3]), 3)
    expect("median of an even number", figures.median([4, 1, 3, 2]), 2.5)
    expect("an outlier does not move it", figures.median([1, 1, 1, 1, 900]), 1)
    # Quartiles of 10..50 are 20 and 40: half their distance is 10, the median 30.
    expect("spread", figures.spread([10, 20, 30, 40, 50]), 10 / 30)
    expect("spread of one", figures.spread([7]), 0.0)
    expect("spread of equals", figures.spread([7, 7, 7]), 0.0)
    expect("geometric mean", figures.geometric_mean([1, 4, 16]), 4.0)
    expect("it treats half and double alike", figures.geometric_mean([0.5, 2]), 1.0)
    expect("geometric mean of nothing", figures.geometric_mean([]), None)


def peers():
    times = {"glibc": 20.0, "jemalloc": 10.0, "mimalloc": 8.0, "libreclaim": 6.0,
             "libreclaim-old": 1.0}
    expect("best peer", figures.best_peer(times), ("mimalloc", 8.0))
    expect("ratio to the best", figures.ratio_to_best(times), 0.75)
    expect("another of ours", figures.ratio_to_best(times, "libreclaim-old"), 0.125)
    expect("without ours", figures.ratio_to_best({"glibc": 2.0}), None)
    expect("without peers", figures.ratio_to_best({"libreclaim": 2.0}), None)
    expect("a peer that took nothing", figures.ratio_to_best({"glibc": 0.0, "libreclaim": 1.0}), None)
    expect("ratios", figures.ratios(times, "jemalloc")["glibc"], 2.0)
    expect("ratios without the base", figures.ratios(times, "tcmalloc"), {})


def step_of(ns):
    """As rows/latency.c counts, told apart from figures.py on purpose."""
    if ns < 16:
        return ns
    top = ns.bit_length() - 1
    return (top - 4 + 1) * 16 + (ns >> (top - 4)) % 16


def histograms():
    for ns in list(range(70)) + [1000, 5000, 123456, 10 ** 9]:
        step = step_of(ns)
        below = figures.ns_of_step(step - 1) if step else -1.0
        expect("%d ns lie in their step" % ns, below < ns <= figures.ns_of_step(step), True)
    one = figures.parse_histogram("3:97,10:2,15:1")
    expect("counts", sum(one.values()), 100)
    expect("median call", figures.percentile(one, 0.5), 3.0)
    expect("p97", figures.percentile(one, 0.97), 3.0)
    expect("p98", figures.percentile(one, 0.98), 10.0)
    expect("p99.99", figures.percentile(one, 0.9999), 15.0)
    expect("longest", figures.longest(one), 15.0)
    expect("of an empty one", figures.percentile({}, 0.5), None)
    expect("empty text", figures.parse_histogram(""), {})
    both = figures.merged([one, {3: 3, 40: 1}])
    expect("merged", (both[3], both[40], both[15]), (100, 1, 1))


def made_up_results():
    def rounds(wall, peak, **more):
        return [dict({"wall": wall * by, "cpu": wall, "peak": peak}, **more)
                for by in (0.9, 1.0, 50.0)]  # one round that something disturbed

    def row(kind, **walls):
        return {"kind": kind, "measured": {name: rounds(*value) for name, value in walls.items()},
                "rested": {name: [{"start": 0.0, "end": 1000000.0}] for name in walls}}

    histogram = {"malloc": "3:1", "free": "3:99,20:1", "none": "2:5", "off_malloc": "",
                 "off_free": "200:1"}
    waves = row("latency", glibc=(1.0, 1), libreclaim=(1.0, 1))
    live = row("scale", glibc=(2e-8, 1), libreclaim=(2e-8, 1))
    more_live = row("scale", libreclaim=(1e-7, 1))
    purge, half = row("scale", libreclaim=(1e-7, 1)), row("scale", libreclaim=(6e-8, 1))
    for data, more in ((waves, histogram), (live, {"walk": 5.0}), (more_live, {"walk": 20.0}),
                       (purge, {"returned": 1.0}), (half, {"returned": 0.5})):
        for of_name in data["measured"].values():
            for one in of_name:
                one.update(more)
    return {
        "machine": {"kernel": "6", "machine": "m", "processors": 2, "memory": 8e9, "load": [0, 0, 0],
                    "model": "none"},
        "options": {"rounds": 3},
        "allocators": {"glibc": None, "jemalloc": "j", "libreclaim": "r"},
        "rows": {
            "pair 16 B": row("micro", glibc=(2e-8, 4e6), jemalloc=(1e-8, 5e6), libreclaim=(5e-9, 4e6)),
            "touch 1 MiB": row("micro", glibc=(1e-3, 4e6), jemalloc=(1e-3, 4e6),
                               libreclaim=(2e-3, 8e6)),
            "python x (pymalloc)": row("macro", glibc=(1.0, 1e7), jemalloc=(1.0, 1e7),
                                       libreclaim=(1.0, 1e7)),
            "python x (malloc)": row("macro", glibc=(1.5, 2e7), jemalloc=(1.2, 2e7),
                                     libreclaim=(1.02, 9e6)),
            "side pair x1": row("scale", libreclaim=(1e-8, 1)),
            "side pair x2": row("scale", libreclaim=(5e-9, 1)),
            "live 10^3": live, "live 10^7": more_live, "purge 1 of 16 MiB": purge,
            "purge 1 of 256 MiB": half, "latency waves": waves}}


def reports():
    import report
    results = made_up_results()
    micro = figures.rows_of(results, "micro")
    # 0.5 in one row and 2 in the other, whatever the disturbed rounds say.
    expect("mean over rows", figures.mean_ratio(micro, "wall"), 1.0)
    expect("to the baseline", figures.mean_to(micro, "wall", "glibc", "jemalloc"), math.sqrt(2.0))
    expect("memory at rest", micro[0].rest("end")["glibc"], 1000000.0)
    found = {what: (value, row) for what, _, value, row in report.targets(results, "wall")}
    expect("worst row", found["micro: worst row"], (0.5, "pair 16 B"))
    expect("worst row of faults", found["micro: worst row of page faults"], (2.0, "touch 1 MiB"))
    expect("worst peak", found["peak memory: worst row above 16 MB / lowest peer"],
           (0.45, "python x (malloc)"))
    expect("left when idle", found["micro: MiB left when idle, beyond the start"][0], 1e6 / (1 << 20))
    beside = "CPython without pymalloc: mean time / pymalloc on glibc"
    expect("beside pymalloc", found[beside][0], 1.02)
    expect("speed-up", report.speedups(results, "wall", "libreclaim"), [("side pair", 2.0)])
    live = report.live_rows(results)[0]
    expect("by the walk", report.by_walk(live, "glibc", "cpu"), 4.0)
    scaling = dict((what, value) for what, _, value, _ in report.scale_targets(results, "cpu"))
    # 4 steps of the walk among few blocks, 5 among many; 100 ns a page, 120 where half of them went.
    expect("flat over live blocks", scaling["10^3 to 10^7 live blocks: dearest / cheapest, by the walk"],
           1.25)
    expect("page cost", scaling["a page returned: dearest / cheapest, whatever is owned"], 1.2)
    tails = dict((what, (value, row)) for what, _, value, row
                 in report.latency_targets(results, ["glibc", "libreclaim"]))
    expect("worst tail", tails["one call: worst p99.99 / best peer"], (1.0, "latency waves: malloc"))
    waves = figures.rows_of(results, "latency")[0]
    expect("tail", report.tail(waves, "glibc", "free")["p99.99"], figures.ns_of_step(20))
    text = report.text(results, "wall")
    for part in ("| pair 16 B | 10 ns ±", "geometric mean", "| **no** | touch 1 MiB |",
                 "two threads / one, least | ≥ 1.90 | 2.000 | yes", "| latency waves: free | glibc |"):
        expect("the report has \"%s\"" % part, part in text, True)


def model():
    costs = cores.parse([])
    shared, apart = cores.DESIGNS[0], cores.DESIGNS[-1]
    expect("one processor is the measure", cores.efficiency(1, shared, 64, 0.0, costs), 1.0)
    # A lock that all want: no more batches than it can be held one after the other.
    most = 1 / (costs.hold + costs.transfer) * 64
    found = cores.Processors(64, shared, 64, 0.0, costs, cores.random.Random(1)).run(40) * 64
    expect("a lock is the limit", 0.9 * most < found <= 1.02 * most, True)
    expect("nothing shared, nothing lost", cores.efficiency(64, apart, 5000, 0.0, costs) > 0.98, True)
    expect("nobody to interrupt", cores.page_cost_us(1, 1, 1, costs), (0.21, 0.21))
    # 10 us for the caller's part and 3 others at 1 us, over ten pages.
    costs = cores.parse(["--page", "0.5", "--range", "1", "--initiate", "3.4", "--each", "0.2"])
    expect("a batch", cores.page_cost_us(10, 1, 4, costs), (1.0, 1.3))


def main():
    statistics()
    peers()
    histograms()
    reports()
    model()
    curve_of_a_flat_program()
    curve_says()
    print("bench: self-test of %d figures: %s" % (checks, "%d failed" % failed if failed
                                                   else "passed"))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
