"""summary.csv and summary.html: one row a film, read from the completion marks, so that any shard can write them."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from bodycast.app.batch.films import Film
from bodycast.app.batch.marks import read_done, read_failed
from bodycast.app.batch.remote import ResultPath, put
from bodycast.app.errors import cannot_write
from bodycast.app.files.output_folder import REPORT_PAGE
from bodycast.plain_text import shown_name

CSV_FILE = "summary.csv"
HTML_FILE = "summary.html"
COLUMNS = ("film", "folder", "status", "frames", "people", "seconds", "frames_per_second", "error", "packages")


@dataclass(frozen=True, slots=True)
class Row:
    """One film. status: done, failed, or open: neither. packages: name=SHA-256, separated by spaces."""

    film: str
    folder: str
    status: str
    frames: int | None = None
    people: int | None = None
    seconds: float | None = None
    frames_per_second: float | None = None
    error: str = ""
    packages: str = ""

    def cells(self) -> list[str]:
        """As text, in the order of COLUMNS; what is not known is empty."""
        values = [getattr(self, name) for name in COLUMNS]
        return ["" if value is None else str(value) for value in values]


def rows_of(films: Sequence[Film], output: ResultPath) -> list[Row]:
    """What the marks in `output` say of the films."""
    return [_row(film, output / film.folder) for film in films]


def _row(film: Film, folder: ResultPath) -> Row:
    name = shown_name(str(film.path))
    done = read_done(folder)
    if done is not None:
        packages = " ".join(f"{package}={sha256}" for package, sha256 in done.packages.items())
        rate = round(done.frames_per_second, 2)
        return Row(name, film.folder, "done", done.frames, done.people, done.seconds, rate, packages=packages)
    failed = read_failed(folder)
    if failed is not None:
        return Row(name, film.folder, "failed", error=failed.error)
    return Row(name, film.folder, "open")


def write_summary(rows: Sequence[Row], output: ResultPath) -> None:
    """Replace both files. Raises: RunError where the disk does not take them."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(row.cells() for row in rows)
    _write(output / CSV_FILE, table.getvalue())
    _write(output / HTML_FILE, _page(rows))


def _write(path: ResultPath, text: str) -> None:
    try:
        put(path, text.encode(errors="backslashreplace"))
    except OSError as error:
        raise cannot_write(path, error) from error


def _page(rows: Sequence[Row]) -> str:
    head = "".join(f"<th>{html.escape(name.replace('_', ' '))}</th>" for name in COLUMNS)
    body = "\n".join(_line(row) for row in rows)
    count = {status: sum(row.status == status for row in rows) for status in ("done", "failed", "open")}
    counted = ", ".join(f"{number} {status}" for status, number in count.items())
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Bodycast: batch</title><style>
body {{ font: 14px sans-serif; margin: 2em; }}
table {{ border-collapse: collapse; }}
td, th {{ border-bottom: 1px solid #ccc; padding: 4px 10px; text-align: left; vertical-align: top; }}
td {{ max-width: 40em; overflow-wrap: anywhere; }}
tr.failed td {{ background: #fde8e8; }}
tr.open td {{ color: #777; }}
</style></head><body>
<h1>{len(rows)} films: {counted}</h1>
<table><thead><tr>{head}</tr></thead><tbody>
{body}
</tbody></table></body></html>
"""


def _line(row: Row) -> str:
    cells = [html.escape(cell) for cell in row.cells()]
    if row.status == "done":
        cells[1] = f'<a href="{html.escape(quote(row.folder))}/{REPORT_PAGE}">{cells[1]}</a>'
    cells[-1] = "<br>".join(html.escape(part) for part in row.packages.split())
    return f'<tr class="{row.status}">' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
