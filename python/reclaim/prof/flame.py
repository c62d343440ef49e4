# SPDX-License-Identifier: MIT
"""A flame graph as one SVG or HTML file that needs nothing else: search, zoom and tool tips are in it.

Each frame's rectangle carries its place and width as shares of the whole, and the script at the end
sets pixels from them; without a script the picture is complete too, only still.  `FILE.svg#search=TEXT` and
`#zoom=NUMBER` open it that way.
"""
import os
import re
import zlib
from xml.sax.saxutils import escape, quoteattr

from reclaim.prof import report, view

WIDTH, ROW, SIDE = 1200, 17, 10
HEAD, FOOT = 62, 26
LEAST_WIDTH = 0.3  # pixels: narrower than that cannot be seen
CHAR = 6.6         # pixels of a character of the font
DEEPEST = 1500     # rows: browsers give up on pictures higher than some 30,000 pixels

STYLE = """text { font: 11px "DejaVu Sans Mono", Menlo, Consolas, monospace; fill: #222 }
.title { font-size: 15px; font-weight: bold }
.button { fill: #245; cursor: pointer; text-decoration: underline }
.frame { cursor: pointer }
.frame:hover rect { stroke: #222; stroke-width: 1 }
.frame text { pointer-events: none }
.hit rect { fill: #d63ad6 }
.under rect { opacity: .45 }"""

SCRIPT = r"""(function () {
"use strict";
var svg = document.getElementById("flame"), width = %(width)d, side = %(side)d, char = %(char)s;
var frames = Array.prototype.slice.call(svg.querySelectorAll(".frame"));
var details = svg.querySelector("#details"), matched = svg.querySelector("#matched");
var reset = svg.querySelector("#reset"), search = svg.querySelector("#search");
var all = frames.map(function (g, i) {
  return { g: g, i: i, x: +g.getAttribute("data-x"), w: +g.getAttribute("data-w"),
           d: +g.getAttribute("data-d"), name: g.getAttribute("data-n"),
           tip: g.querySelector("title").textContent,
           rect: g.querySelector("rect"), text: g.querySelector("text") };
});
var zoomed = 0, wanted = null;
function fit(name, pixels) {
  var most = Math.floor((pixels - 6) / char);
  return most < 3 ? "" : name.length <= most ? name : name.slice(0, most - 2) + "..";
}
function draw() {
  var to = all[zoomed], room = width - 2 * side;
  all.forEach(function (f) {
    var above = f.d < to.d && f.x <= to.x + 1e-9 && f.x + f.w >= to.x + to.w - 1e-9;
    var inside = f.d >= to.d && f.x >= to.x - 1e-9 && f.x + f.w <= to.x + to.w + 1e-9;
    f.g.style.display = above || inside ? "" : "none";
    if (!above && !inside) { return; }
    var x = above ? 0 : (f.x - to.x) / to.w * room, w = above ? room : f.w / to.w * room;
    f.rect.setAttribute("x", side + x);
    f.rect.setAttribute("width", Math.max(w - 0.4, 0.2));
    f.text.setAttribute("x", side + x + 3);
    f.text.textContent = fit(f.name, w);
    f.g.classList.toggle("under", above);
  });
  reset.style.display = zoomed ? "" : "none";
}
function zoom(i) { zoomed = i; draw(); }
function find(text) {
  var test = null, spans = [], sum = 0, end = -1;
  wanted = text || null;
  if (wanted) {
    try { test = new RegExp(wanted, "i"); } catch (e) {
      test = new RegExp(wanted.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "i");
    }
  }
  all.forEach(function (f) {
    var hit = test !== null && test.test(f.tip);
    f.g.classList.toggle("hit", hit);
    if (hit) { spans.push([f.x, f.x + f.w]); }
  });
  spans.sort(function (a, b) { return a[0] - b[0]; }).forEach(function (s) {
    if (s[1] > end) { sum += s[1] - Math.max(s[0], end); end = s[1]; }
  });
  matched.textContent = wanted ? "matched: " + (100 * sum).toFixed(1) + " %%" : "";
  search.textContent = wanted ? "clear search" : "search";
}
function ask() {
  if (wanted) { find(""); return; }
  var text = window.prompt("Search for a function or file (regular expression):", "");
  if (text) { find(text); }
}
svg.addEventListener("click", function (event) {
  var g = event.target.closest ? event.target.closest(".frame") : null;
  if (g) { zoom(frames.indexOf(g)); }
});
svg.addEventListener("mouseover", function (event) {
  var g = event.target.closest ? event.target.closest(".frame") : null;
  details.textContent = g ? g.querySelector("title").textContent : "";
});
reset.addEventListener("click", function () { zoom(0); });
search.addEventListener("click", ask);
window.addEventListener("keydown", function (event) {
  if ((event.ctrlKey || event.metaKey) && event.key === "f") { event.preventDefault(); ask(); }
  if (event.key === "Escape") { if (wanted) { find(""); } else { zoom(0); } }
});
function from_address() {
  var hash = decodeURIComponent(location.hash.slice(1));
  hash.split("&").forEach(function (part) {
    var value = part.slice(part.indexOf("=") + 1);
    if (part.indexOf("search=") === 0) { find(value); }
    if (part.indexOf("zoom=") === 0 && all[+value]) { zoom(+value); }
  });
}
search.style.display = "";
draw();
from_address();
window.addEventListener("hashchange", from_address);
}());
"""


def clean(text):
    """Without what XML cannot hold, not even escaped."""
    return re.sub("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", text)


def colour(name, python):
    """Warm for machine code, cool for Python; by the name, so the same everywhere."""
    spread = zlib.crc32(name.encode("utf-8", "replace"))
    a, b = spread % 256 / 255.0, spread // 256 % 256 / 255.0
    if python:
        return "#%02x%02x%02x" % (90 + int(50 * a), 170 + int(40 * b), 190 + int(40 * a))
    return "#%02x%02x%02x" % (225 + int(25 * a), 140 + int(80 * b), 70 + int(40 * a))


class Box:
    def __init__(self, key, x, value, depth):
        self.key, self.x, self.value, self.depth = key, x, value, depth


def boxes(root, least):
    """The boxes that can be seen, parents before children."""
    result, pending = [], [(root, ("all", ""), 0.0, 0)]
    while pending:
        node, key, x, depth = pending.pop()
        result.append(Box(key, x, node.value, depth))
        if depth >= DEEPEST:
            continue
        inner = []
        for name, child in sorted(node.children.items(), key=lambda item: str(item[0])):
            if child.value >= least:
                inner.append((child, name, x, depth + 1))
            x += max(child.value, 0)
        pending += reversed(inner)
    return result


def only_growth(node):
    """Of a difference: what has grown.  A box cannot be narrower than nothing."""
    order, pending = [], [node]
    while pending:
        current = pending.pop()
        order.append(current)
        pending += current.children.values()
    for current in reversed(order):
        for key in [key for key, child in current.children.items() if child.value <= 0]:
            del current.children[key]
        below = sum(child.value for child in current.children.values())
        current.value = max(current.value, below)
    return node


def tip(name, where, text, share):
    return "%s%s: %s, %.2f %%" % (name, " (%s)" % where if where else "", text, 100 * share)


def svg(shown, counts, title, by="function", difference=False, remark=""):
    """The picture, as text.  remark: what a reader must know of its numbers."""
    root = report.build(shown, counts.place, by)
    if difference:
        only_growth(root)
    whole = float(root.value) if root.value > 0 else 1.0
    room = WIDTH - 2 * SIDE
    found = boxes(root, whole * LEAST_WIDTH / room)
    height = HEAD + FOOT + ROW * (1 + max(box.depth for box in found))
    python = python_keys(shown, by)
    out = ['<svg id="flame" xmlns="http://www.w3.org/2000/svg" version="1.1" '
           'viewBox="0 0 %d %d" width="100%%" style="max-width: 2400px" '
           'preserveAspectRatio="xMidYMin meet">' % (WIDTH, height),
           "<style>%s</style>" % STYLE,
           '<rect x="0" y="0" width="%d" height="%d" fill="#fdfcf8"/>' % (WIDTH, height),
           '<text class="title" x="%d" y="22">%s</text>' % (SIDE, escape(clean(title))),
           '<text id="subtitle" x="%d" y="40">%s</text>' % (
               SIDE, escape(view.size(shown.total(counts.bytes_place)) + " " + counts.label
                            + (" (what has grown)" if difference else "")
                            + (remark and "; " + remark))),
           '<text id="search" class="button" x="%d" y="22" text-anchor="end" style="display:none">'
           "search</text>" % (WIDTH - SIDE),
           '<text id="reset" class="button" x="%d" y="22" text-anchor="end" style="display:none">'
           "reset zoom</text>" % (WIDTH - SIDE - 110),
           '<text id="matched" x="%d" y="40" text-anchor="end"></text>' % (WIDTH - SIDE)]
    for box in found:
        key = box.key
        name = key[0] if isinstance(key, tuple) else key
        where = (key[1] if isinstance(key, tuple) else "") or ""
        x, width = box.x / whole * room, box.value / whole * room
        y = height - FOOT - ROW * (box.depth + 1)
        name, where = clean(name), clean(where)
        shown_name = name if by != "line" else os.path.basename(name)
        most = int((width - 6) / CHAR)
        short = "" if most < 3 else shown_name if len(shown_name) <= most else (
            shown_name[:most - 2] + "..")
        out.append('<g class="frame" data-x="%.6f" data-w="%.6f" data-d="%d" data-n=%s><title>%s'
                   '</title><rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s" rx="1"/>'
                   '<text x="%.1f" y="%d">%s</text></g>' % (
                       box.x / whole, box.value / whole, box.depth, quoteattr(shown_name),
                       escape(tip(name, where, counts.text(box.value), box.value / whole)),
                       SIDE + x, y, max(width - 0.4, 0.2), ROW - 1,
                       "#ddd" if box.depth == 0 else colour(name, key in python),
                       SIDE + x + 3, y + 12, escape(short)))
    out.append('<text id="details" x="%d" y="%d"></text>' % (SIDE, height - 9))
    out.append("<script><![CDATA[\n%s]]></script>\n</svg>" % (
        SCRIPT % {"width": WIDTH, "side": SIDE, "char": CHAR}))
    return "\n".join(out) + "\n"


def python_keys(shown, by):
    key_of = view.label(by)[0]
    return {key_of(frame) for row in shown.rows for frame in row.frames if frame.python}


def html(picture, title):
    return ("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>%s</title>\n"
            "<style>body { margin: 0; background: #fdfcf8 }</style></head>\n<body>\n%s</body></html>\n"
            % (escape(clean(title)), picture))
