"""report.html: a run's figures and the curves of its people, on one page without a program in it.

Figures are those of run.json, curves those of motion.npz, drawn as SVG: the page can be printed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, cast

import numpy as np

from bodycast.app.files.person_motion import Floats
from bodycast.app.viewer.curves import GROUPS, Curve, curves_of
from bodycast.app.viewer.scene import ABSENT_S, Scene, ScenePerson

Json = Mapping[str, Any]

MOST_POINTS = 1200
"""Of a curve that has more, the least and the largest value of each stretch are drawn."""
WIDTH, HEIGHT, LEFT, BOTTOM = 900, 170, 52, 20
NEXT_TO = ("hip", "shoulder")
"""Drawn faint, beside the knee and the elbow of the same side."""

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 960px; margin: 24px auto; padding: 0 16px; color: #1c2127; }
h1 { font-size: 22px; } h2 { font-size: 17px; margin: 26px 0 6px; } h3 { font-size: 14px; margin: 12px 0 0; }
table { border-collapse: collapse; } td, th { padding: 2px 14px 2px 0; text-align: left; vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; } th { color: #5d6773; font-weight: 500; }
svg { width: 100%; height: auto; } svg text { font: 11px system-ui, sans-serif; fill: #5d6773; }
.grid { stroke: #e1e5ea; } .curve { fill: none; stroke-width: 1.3; } .key { color: #5d6773; font-size: 13px; }
.swatch { display: inline-block; width: 12px; height: 12px; border-radius: 3px; vertical-align: -1px; }
"""


def report_page(run: Json, scene: Scene | None) -> bytes:
    """The page for the content of a run.json; scene: None where nobody was seen."""
    source = str(_at(run, "parts", "source") or "run")
    parts = [
        f"<h1>{escape(source)}</h1>",
        _table(_run_rows(run)),
        "<h2>People</h2>" + (_people(run, scene) if scene else "<p>Nobody was seen.</p>"),
        "<h2>Camera and floor</h2>" + _table(_world_rows(run)),
        _curves(scene) if scene else "",
        "<h2>Times</h2>" + _times(_section(run, "stage_ms")),
        _list("Notes", cast(Sequence[str], run.get("warnings") or ())),
        "<h2>Versions</h2>" + _table([(name, str(value)) for name, value in _section(run, "versions").items()]),
    ]
    head = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
        'img-src data:"><link rel="icon" href="data:,">'
        f"<title>{escape(source)}: report</title><style>{STYLE}</style></head><body>\n"
    )
    return (head + "\n".join(part for part in parts if part) + "\n</body></html>\n").encode("utf-8")


def _section(run: Json, *keys: str) -> Json:
    """The part of run.json at a path of keys; empty where there is none."""
    found = _at(run, *keys)
    return cast(Json, found) if isinstance(found, dict) else {}


def _at(content: object, *keys: str) -> Any:
    """What lies at a path of keys; None where it ends early."""
    for key in keys:
        content = cast("dict[str, object]", content).get(key) if isinstance(content, dict) else None
    return content


def _table(rows: Sequence[tuple[str, str]]) -> str:
    lines = "".join(f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in rows if text)
    return f"<table>{lines}</table>"


def _list(title: str, lines: Sequence[str]) -> str:
    return f"<h2>{title}</h2><ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>" if lines else ""


def _run_rows(run: Json) -> list[tuple[str, str]]:
    taken, given = _at(run, "frames", "taken"), _at(run, "frames", "given")
    dropped = {place: count for place, count in _section(run, "frames", "dropped").items() if count}
    seconds = run.get("seconds") or 0.0
    size = "x".join(str(side) for side in _at(run, "parts", "image_wh") or ())
    rate = _at(run, "parts", "source_fps")
    frames = "" if taken is None else f"{given} of {taken} in {seconds:.1f} s"
    if frames and seconds:
        frames += f", {given / seconds:.1f} a second"
    return [
        ("started", str(run.get("started_utc") or "")),
        ("picture", size + (f", {rate:g} frames a second" if rate else "")),
        ("frames", frames),
        ("dropped", ", ".join(f"{count} by {place}" for place, count in dropped.items()) or "none"),
        ("ended", str(run.get("exit_reason") or "")),
        ("network", str(_at(run, "parts", "engine") or "")),
        ("detector", str(_at(run, "parts", "detector") or "")),
        ("smoother", str(_at(run, "parts", "smoother") or "")),
        ("body", str(_at(run, "parts", "body") or "")),
        ("drawn with", str(run.get("renderer") or "")),
    ]


def _world_rows(run: Json) -> list[tuple[str, str]]:
    world = _section(run, "world")

    def number(key: str, text: str) -> str:
        return text.format(world[key]) if isinstance(world.get(key), int | float) else ""

    focal_from = world.get("focal_from") or ""
    camera = "moves" if world.get("camera_moves") else "stands still"
    return [
        ("focal length", number("focal_px", "{:.0f} px") + (f", {focal_from}" if focal_from else "")),
        ("field of view", number("fov_deg", "{:.0f}° along the diagonal")),
        ("camera", camera if world else ""),
        ("camera above the floor", number("camera_height_m", "{:.2f} m") or "no floor was found"),
        ("looks down by", number("pitch_deg", "{:.1f}°")),
        ("rolled by", number("roll_deg", "{:.1f}°")),
    ]


def _people(run: Json, scene: Scene) -> str:
    heights = _section(run, "world", "heights_m")
    rows = [
        "<tr><th></th><th>person</th><th>seen</th><th>from, to</th><th>height</th><th>way</th><th>fastest</th></tr>"
    ]
    for person in scene.people:
        motion = person.motion
        steps = np.diff(motion.time_s)
        together = steps <= ABSENT_S
        seen_s = float(steps[together].sum())
        speed = next(curve for curve in curves_of(person) if curve.group == GROUPS[4]).values
        way = float((0.5 * (speed[1:] + speed[:-1]) * steps)[together].sum())
        height = heights.get(str(person.id))
        cells = (
            f"{person.id}",
            f"{seen_s:.1f} s, {len(motion)} frames",
            f"{motion.time_s[0] - scene.start_s:.1f} to {motion.time_s[-1] - scene.start_s:.1f} s",
            f"{height:.2f} m" if height else "",
            f"{way:.1f} m",
            f"{speed.max():.1f} m/s",
        )
        swatch = f'<span class="swatch" style="background:rgb{person.colour}"></span>'
        rows.append(f"<tr><td>{swatch}</td>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return f"<table>{''.join(rows)}</table>"


def _times(stages: Json) -> str:
    head = "".join(f'<th class="number">{name}</th>' for name in ("median ms", "95 % ms", "runs"))
    rows = [f"<tr><th>stage</th>{head}</tr>"]
    for name, times in stages.items():
        numbers = (f"{_at(times, 'p50_ms'):.2f}", f"{_at(times, 'p95_ms'):.2f}", str(_at(times, "count")))
        cells = "".join(f'<td class="number">{number}</td>' for number in numbers)
        rows.append(f"<tr><td>{escape(name)}</td>{cells}</tr>")
    return f"<table>{''.join(rows)}</table>"


def _curves(scene: Scene) -> str:
    key = "Left: solid; right: dashed; hip and shoulder: faint. Speed: of the pelvis along the floor, over 0.2 s."
    parts = [f'<h2>Curves</h2><p class="key">{key}</p>']
    curves = [(person, curves_of(person)) for person in scene.people]
    for group in GROUPS:
        chosen = [(person, curve) for person, own in curves for curve in own if curve.group == group]
        parts.append(f"<h3>{group} ({chosen[0][1].unit})</h3>{_plot(chosen, scene)}")
    return "\n".join(parts)


def _plot(curves: Sequence[tuple[ScenePerson, Curve]], scene: Scene) -> str:
    low = min(float(curve.values.min()) for _, curve in curves)
    high = max(float(curve.values.max()) for _, curve in curves)
    if high - low < 1e-3:
        low, high = low - 0.5, high + 0.5
    seconds = max(scene.end_s - scene.start_s, 1e-3)

    def x(time_s: Floats) -> Floats:
        return LEFT + (WIDTH - LEFT - 6) * time_s / seconds

    def y(value: Floats) -> Floats:
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - 6) * (value - low) / (high - low)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">']
    for value in _ticks(low, high, 4):
        at = float(y(np.array(value)))
        parts.append(f'<path class="grid" d="M{LEFT} {at:.1f}H{WIDTH - 6}"/>')
        parts.append(f'<text x="{LEFT - 5}" y="{at + 4:.1f}" text-anchor="end">{value:g}</text>')
    for value in _ticks(0.0, seconds, 8):
        at = float(x(np.array(value)))
        parts.append(f'<text x="{at:.1f}" y="{HEIGHT - 4}" text-anchor="middle">{value:g} s</text>')
    for person, curve in curves:
        time_s, values = person.motion.time_s - scene.start_s, curve.values.astype(np.float64)
        faint = curve.name.split()[-1] in NEXT_TO
        look = f'stroke="rgb{person.colour}" stroke-opacity="{0.45 if faint else 1}"'
        dashes = ' stroke-dasharray="5 3"' if curve.name.startswith("right") else ""
        title = f"<title>person {person.id}: {curve.name}</title>"
        parts.append(f'<path class="curve" {look}{dashes} d="{_path(time_s, values, x, y)}">{title}</path>')
    return "".join([*parts, "</svg>"])


def _ticks(low: float, high: float, most: int) -> list[float]:
    """1, 2 or 5 times a power of ten apart."""
    rough = (high - low) / most
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return [
        round(float(number * step), 9) for number in range(int(np.ceil(low / step)), int(np.floor(high / step)) + 1)
    ]


def _path(time_s: Floats, values: Floats, x: Any, y: Any) -> str:
    apart = np.diff(time_s, prepend=-np.inf) > ABSENT_S
    if len(values) > MOST_POINTS:
        edges = np.linspace(0, len(values), MOST_POINTS // 2 + 1).astype(int)
        spans = [(a, b) for a, b in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True) if b > a]
        pairs = [sorted((a + int(values[a:b].argmin()), a + int(values[a:b].argmax()))) for a, b in spans]
        rows = np.array(pairs).reshape(-1)
        apart = np.diff(time_s[rows], prepend=-np.inf) > max(ABSENT_S, 3 * float(np.diff(time_s[rows]).mean()))
        time_s, values = time_s[rows], values[rows]
    points = zip(x(time_s).tolist(), y(values).tolist(), apart.tolist(), strict=True)
    return "".join(f"{'M' if new else 'L'}{at:.1f} {height:.1f}" for at, height, new in points)
