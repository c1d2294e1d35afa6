"""A page: one HTML file with everything in it, to be read without a network, in light and in dark.

Functions give pieces of HTML; a `Page` puts them into sections and writes the file. Text is escaped here, so callers
pass plain text; only `Cell.html` and the parts of a section are taken as HTML.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from tasks.durable import write_file

STYLE = """
:root { color-scheme: light dark;
  --paper: #f6f6f3; --card: #ffffff; --ink: #1d1f22; --soft: #63676d; --line: #dddcd5; --accent: #1f6fb2;
  --good: #17804d; --good-tint: #e4f3ea; --bad: #b8322a; --bad-tint: #fbe7e4; --odd: #8a6100; --odd-tint: #faf0d7;
  --s0: #1f6fb2; --s1: #d9641e; --s2: #17916b; --s3: #b8860b; --s4: #c2468f; --s5: #6650b5; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #131518; --card: #1c1f23; --ink: #e7e7e3; --soft: #9aa0a8; --line: #33373d; --accent: #6fb3ec;
  --good: #4fc48a; --good-tint: #163326; --bad: #f0857b; --bad-tint: #40201d; --odd: #e0b44a; --odd-tint: #3a2f14;
  --s0: #5aa7e8; --s1: #f08a4b; --s2: #3cc496; --s3: #dcb02f; --s4: #e77cba; --s5: #a592f0; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main, header { max-width: 1240px; margin: 0 auto; padding: 0 20px; }
header { padding-top: 28px; } main { padding-bottom: 60px; }
h1 { font-size: 27px; line-height: 1.2; margin: 0 0 4px; } h2 { font-size: 20px; margin: 40px 0 4px; }
h3 { font-size: 16px; margin: 0; } p { margin: 4px 0 12px; } .soft, figcaption { color: var(--soft); }
h1, h3, p, figcaption, td { overflow-wrap: anywhere; }
a { color: var(--accent); text-decoration: none; } a:hover { text-decoration: underline; }
nav { display: flex; flex-wrap: wrap; gap: 2px 16px; margin-top: 12px; padding-bottom: 10px;
  border-bottom: 1px solid var(--line); }
figure { margin: 0; min-width: 0; } figcaption { font-size: 13px; }
svg { display: block; max-width: 100%; } svg text { fill: var(--ink); font: 13px system-ui, sans-serif; }
svg .soft { fill: var(--soft); }
svg .note { paint-order: stroke; stroke: var(--card); stroke-width: 4px; stroke-linejoin: round; }
video, img { display: block; width: 100%; border-radius: 6px; background: #000; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 16px; margin: 12px 0; }
.grid { display: grid; gap: 16px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 430px), 1fr)); }
.grid > * { min-width: 0; } .card > .grid + .grid { margin-top: 18px; }
.videos { display: flex; flex-wrap: wrap; gap: 12px; } .videos > * { flex: 1 1 140px; max-width: 400px; }
.tiles { display: grid; gap: 12px; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); margin: 12px 0; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 10px 14px; }
.tile b { display: block; font-size: 23px; line-height: 1.25; font-weight: 600; }
.tile span { display: block; font-size: 13px; color: var(--soft); }
.legend { display: flex; flex-wrap: wrap; gap: 0 12px; font-size: 13px; color: var(--soft); }
.legend i { display: inline-block; width: 14px; height: 3px; margin-right: 5px; vertical-align: middle; }
.legend.marks { margin: 12px 0 4px; } .legend.marks i { width: 3px; height: 13px; }
.badge { border-radius: 99px; padding: 1px 9px; font-size: 13px; font-weight: 600; white-space: nowrap; }
.badge.good { background: var(--good-tint); color: var(--good); }
.badge.bad { background: var(--bad-tint); color: var(--bad); }
.scroll { overflow: auto; max-height: 75vh; border: 1px solid var(--line); border-radius: 8px;
  background: var(--card); }
.scroll.low { max-height: 255px; margin-top: 4px; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; width: 100%; }
th, td { padding: 4px 10px; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top; }
td { white-space: nowrap; } td.long { white-space: normal; min-width: 190px; }
th { position: sticky; top: 0; background: var(--card); font-weight: 600; z-index: 1; white-space: nowrap; }
th small { display: block; font-weight: 400; color: var(--soft); }
table.sorts th { cursor: pointer; } th[data-up]::after { content: " \\2193"; }
th[data-up="1"]::after { content: " \\2191"; }
table.wide th:first-child, table.wide td:first-child { position: sticky; left: 0; background: var(--card); }
table.wide th:first-child { z-index: 2; }
tr.good td:first-child { box-shadow: inset 4px 0 var(--good); } tr.good td { background: var(--good-tint) !important; }
tr.bad td:first-child { box-shadow: inset 4px 0 var(--bad); } tr.bad td { background: var(--bad-tint) !important; }
tr.odd td:first-child { box-shadow: inset 4px 0 var(--odd); } tr.odd td { background: var(--odd-tint) !important; }
.bars { display: grid; grid-template-columns: minmax(90px, max-content) 1fr; gap: 6px 12px; align-items: center; }
.bars span { overflow-wrap: anywhere; }
.bars div { display: flex; align-items: center; gap: 8px; font-size: 13px; }
.bars div i { display: block; height: 16px; min-width: 2px; border-radius: 0 4px 4px 0; background: var(--s0); }
.views { display: flex; flex-wrap: wrap; gap: 10px 28px; align-items: flex-end; }
.ramp { display: flex; align-items: center; gap: 8px; font-size: 13px; color: var(--soft); margin-top: 10px; }
.ramp i { width: 140px; height: 10px; border-radius: 3px; }
.sheet { position: relative; } .sheet b { position: absolute; margin: 4px; padding: 0 6px; border-radius: 4px;
  background: #000a; color: #fff; font-size: 12px; }
.captions { columns: 230px; font-size: 13px; color: var(--soft); margin: 10px 0 0; padding-left: 26px; }
details { margin-top: 12px; } summary { cursor: pointer; margin-bottom: 6px; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 10px 14px; margin: 8px 0;
  white-space: pre-wrap; overflow-wrap: anywhere; font: 13px/1.6 ui-monospace, monospace; }
.cursor { stroke: var(--ink); stroke-width: 1; visibility: hidden; } svg.timed { cursor: crosshair; }
@media (max-width: 600px) { main, header { padding-left: 12px; padding-right: 12px; } .card { padding: 12px; }
  svg.plot text { font-size: 16px; } .tiles { grid-template-columns: repeat(2, 1fr); } .tile b { font-size: 20px; } }
"""

# Sorts tables by a click on the head; within an [data-together] block, all videos follow the one that is played, a
# line in the plots shows its time, and a click into a plot goes there.
SCRIPT = """
for (const table of document.querySelectorAll("table.sorts")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  const key = (row, i) => row.cells[i].dataset.order ?? row.cells[i].textContent;
  heads.forEach((head, i) => head.addEventListener("click", () => {
    const up = head.dataset.up === "1" ? -1 : 1;
    heads.forEach(other => delete other.dataset.up);
    head.dataset.up = up;
    body.append(...[...body.rows].sort((a, b) => {
      const x = key(a, i), y = key(b, i);
      if (x === "" || y === "") return (x === "") - (y === "");
      return up * (isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y);
    }));
  }));
}
for (const block of document.querySelectorAll("[data-together]")) {
  const videos = [...block.querySelectorAll("video")], plots = [...block.querySelectorAll("svg.timed")];
  const show = time => plots.forEach(plot => {
    const { left, wide, from, to } = plot.dataset, line = plot.querySelector(".cursor");
    const x = +left + wide * Math.min(Math.max((time - from) / (to - from), 0), 1);
    line.setAttribute("x1", x); line.setAttribute("x2", x); line.style.visibility = "visible";
  });
  const seek = time => { videos.forEach(video => video.currentTime = time); show(time); };
  plots.forEach(plot => plot.addEventListener("click", event => {
    const box = plot.getBoundingClientRect(), { left, wide, from, to } = plot.dataset;
    const x = (event.clientX - box.left) * plot.viewBox.baseVal.width / box.width;
    seek(+from + (to - from) * Math.min(Math.max((x - left) / wide, 0), 1));
  }));
  for (const video of videos) {
    const others = videos.filter(other => other !== video);
    video.addEventListener("play", () => others.forEach(other => {
      if (other.paused) { other.currentTime = video.currentTime; other.play(); } }));
    video.addEventListener("pause", () => video.ended || others.forEach(other => other.pause()));
    video.addEventListener("seeked", () => others.forEach(other => {
      if (Math.abs(other.currentTime - video.currentTime) > 0.15) other.currentTime = video.currentTime; }));
    video.addEventListener("timeupdate", () => video.currentTime > 0 && show(video.currentTime));
  }
}
"""


@dataclass(frozen=True)
class Cell:
    """A table's cell: `html` as shown, `order` what it is sorted by, `title` shown when pointed at."""

    html: str
    order: float | str | None = None
    title: str = ""
    long: bool = False  # may break over lines


class Page:
    """A page that grows section by section."""

    def __init__(self, title: str, subtitle: str = "") -> None:
        """Begin an empty page."""
        self._title, self._subtitle = title, subtitle
        self._names: list[str] = []
        self._sections: list[str] = []

    def section(self, name: str, *parts: str, note: str = "") -> None:
        """Append a section of HTML `parts`; `note` stands below its heading in plain text."""
        self._names.append(name)
        told = f'<p class="soft">{escape(note)}</p>' if note else ""
        self._sections.append(f'<section id="{_place(name)}"><h2>{escape(name)}</h2>{told}{"".join(parts)}</section>')

    def html(self) -> str:
        """The whole page."""
        links = "".join(f'<a href="#{_place(name)}">{escape(name)}</a>' for name in self._names)
        subtitle = f'<p class="soft">{escape(self._subtitle)}</p>' if self._subtitle else ""
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{escape(self._title)}</title><style>{STYLE}</style></head><body>"
            f"<header><h1>{escape(self._title)}</h1>{subtitle}<nav>{links}</nav></header>"
            f"<main>{''.join(self._sections)}</main><script>{SCRIPT}</script></body></html>\n"
        )

    def write(self, path: Path) -> None:
        """Write the page; it appears whole or not at all."""
        write_file(Path(path), self.html().encode())


def tiles(figures: Sequence[tuple[str, str, str]]) -> str:
    """Figures to be seen first: (name, value, note) each."""
    shown = "".join(
        f'<div class="tile"><span>{escape(name)}</span><b>{escape(value)}</b><span>{escape(note)}</span></div>'
        for name, value, note in figures
    )
    return f'<div class="tiles">{shown}</div>'


def table(
    head: Sequence[tuple[str, str]],
    rows: Sequence[Sequence[Cell | str]],
    *,
    kinds: Sequence[str] = (),
    wide: bool = False,
    low: bool = False,
) -> str:
    """A table that sorts by a click on its head.

    Args:
        head: name and unit (or "") of each column.
        rows: cells; text is escaped.
        kinds: for each row "good", "bad", "odd" or "", which colours it.
        wide: whether the first column stays while the others scroll.
        low: whether it is to be about as high as a plot, and scroll.
    """
    columns = "".join(f"<th>{escape(name)}<small>{escape(unit)}</small></th>" for name, unit in head)
    body = []
    for row, kind in zip(rows, kinds or [""] * len(rows), strict=True):
        cells = "".join(_cell(cell) for cell in row)
        body.append(f'<tr class="{kind}">{cells}</tr>' if kind else f"<tr>{cells}</tr>")
    return (
        f'<div class="scroll{" low" if low else ""}"><table class="sorts{" wide" if wide else ""}">'
        f"<thead><tr>{columns}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def bars(counts: Mapping[str, float]) -> str:
    """A bar for each name, the longest first."""
    most = max(counts.values(), default=0.0)
    shown = "".join(
        f'<span>{escape(name)}</span><div><i style="width:{85 * count / most if most else 0:.1f}%"></i>{count:g}</div>'
        for name, count in sorted(counts.items(), key=lambda entry: -entry[1])
    )
    return f'<div class="bars">{shown}</div>'


def badge(success: bool) -> str:
    """Whether it worked, in a word and a colour."""
    return f'<span class="badge {"good" if success else "bad"}">{"success" if success else "failure"}</span>'


def picture(png: bytes, caption: str) -> str:
    """A PNG file."""
    return f'<figure><img src="{_data(png, "image/png")}" alt="{escape(caption)}"></figure>'


def video(mp4: bytes, caption: str) -> str:
    """An MP4 file in a codec that browsers play; see `palletlab.media.browser_mp4`."""
    source = _data(mp4, "video/mp4")
    return (
        f'<figure><video controls muted playsinline preload="auto" src="{source}"></video>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _cell(cell: Cell | str) -> str:
    if isinstance(cell, str):
        return f"<td>{escape(cell)}</td>"
    order = "" if cell.order is None else f' data-order="{escape(str(cell.order))}"'
    title = f' title="{escape(cell.title)}"' if cell.title else ""
    kind = ' class="long"' if cell.long else ""
    return f"<td{kind}{order}{title}>{cell.html}</td>"


def _data(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _place(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name.lower())
