#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The flame graph in a real browser (Debian: chromium): a search by the page's address, a click on a
# frame and the mouse on it, as SVG and as HTML.
. "$(dirname "$0")/lib.sh"

have flame-browser chromium python3 || exit 77
export PYTHONDONTWRITEBYTECODE=1

cat >"$work/a.heap" <<'END'
heap_v2/1
@ 0x8000000000000001 0x8000000000000003
  t*: 3: 3000 [3: 3000]
@ 0x8000000000000002 0x8000000000000003
  t*: 1: 1000 [1: 1000]
# frame 0x8000000000000001 7 load <b>	/srv/app/job.py
# frame 0x8000000000000002 9 save	/srv/app/job.py
# frame 0x8000000000000003 20 <module>	/srv/app/job.py
MAPPED_LIBRARIES:
00400000-00500000 r-xp 00001000 fe:00 7                                  /no/such/program
END

# A script at the page's end does what a user would do, and writes down what came of it.
acting='<script>
var all = Array.prototype.slice.call(document.querySelectorAll(".frame"));
function named(name) { return all.filter(function (g) { return g.getAttribute("data-n") === name; })[0]; }
function shows(g) { return g.style.display !== "none"; }
var load = named("load \u003cb\u003e"), save = named("save"), said = [];
said.push(document.querySelector("#matched").textContent);
load.querySelector("rect").dispatchEvent(new MouseEvent("mouseover", {bubbles: true}));
said.push(document.querySelector("#details").textContent);
load.querySelector("rect").dispatchEvent(new MouseEvent("click", {bubbles: true}));
said.push("zoomed " + load.querySelector("rect").getAttribute("width") + " " + shows(save));
document.querySelector("#reset").dispatchEvent(new MouseEvent("click", {bubbles: true}));
said.push("whole " + load.querySelector("rect").getAttribute("width") + " " + shows(save));
document.documentElement.setAttribute("data-said", said.join(" / "));
</script>'
expected='matched: 75.0 % / load &lt;b&gt; (/srv/app/job.py): 2.9 kB, 75.00 % / zoomed 1179.6 false / whole 884.6 true'

for kind in svg html; do
    page=$work/page.$kind
    if ! "$top/python/bin/reclaim" prof flame -o "$page" "$work/a.heap" 2>"$work/flame.err"; then
        fails "flame-browser-$kind" "$work/flame.err"
        continue
    fi
    end='</svg>'
    [ $kind = html ] && end='</body>'
    "$(command -v python3)" - "$page" "$end" "$acting" <<'END'
import sys
page, end, acting = sys.argv[1:]
with open(page) as file:
    text = file.read()
if end == "</svg>":
    acting = acting.replace("<script>", "<script><![CDATA[").replace("</script>", "]]></script>")
at = text.rindex(end)
with open(page, "w") as file:
    file.write(text[:at] + acting + text[at:])
END
    HOME=$work timeout -k 10 120 chromium --headless --no-sandbox --disable-gpu --disable-dev-shm-usage \
        --dump-dom "file://$page#search=load" >"$work/dom.$kind" 2>"$work/chromium.err" </dev/null
    if grep -Fq "data-said=\"$expected\"" "$work/dom.$kind" ||
        grep -F 'data-said="' "$work/dom.$kind" | sed 's/</\&lt;/g; s/>/\&gt;/g' | grep -Fq "$expected"; then
        passes "flame-browser-$kind"
    elif ! [ -s "$work/dom.$kind" ]; then
        skips "flame-browser-$kind" 'chromium does not start here'
    else
        grep -o 'data-said="[^"]*"' "$work/dom.$kind" >"$work/said.$kind"
        fails "flame-browser-$kind" "$work/said.$kind"
    fi
done
