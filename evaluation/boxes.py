"""`python -m evaluation boxes DATASET --protocol NAME --out BOXES.json`: a protocol's people as COCO-format boxes.

Then `python -m evaluation predict PACKAGE --images DATASET --coco BOXES.json --out PRED.npz`, and
`python -m evaluation score PRED.npz DATASET --protocol NAME`. Annotation ids are places in the protocol's order; the
true focal lengths are written along where the data set has them (--no-focal leaves them out).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bodycast.app.errors import BodycastError, UsageError
from bodycast.app.files.output_file import check_target, write_whole
from evaluation.protocols import PROTOCOLS, digest, protocol_samples
from training.datasets.errors import DatasetError
from training.datasets.sample import PersonSample


def as_labels(samples: list[PersonSample], root: Path, protocol: str, focal: bool) -> dict[str, Any]:
    """COCO-format content; file names are relative to `root`. Raises: UsageError for pictures elsewhere."""
    images: dict[str, dict[str, Any]] = {}
    annotations: list[dict[str, Any]] = []
    for index, sample in enumerate(samples):
        if sample.picture is None or sample.xyxy is None:
            raise UsageError(f"{sample.key}: no picture or no box")
        if not sample.picture.path.is_relative_to(root):
            raise UsageError(f"{sample.picture.path} is not below {root}")
        name = sample.picture.path.relative_to(root).as_posix()
        image = images.setdefault(name, {"id": len(images), "file_name": name})
        if sample.picture.labelled_wh is not None:
            image["width"], image["height"] = sample.picture.labelled_wh
        if focal and sample.camera is not None:
            image["focal_px"] = sample.camera.focal_px
        x0, y0, x1, y1 = (float(v) for v in sample.xyxy)
        annotations.append(
            {"id": index, "image_id": image["id"], "category_id": 1, "bbox": [x0, y0, x1 - x0, y1 - y0], "iscrowd": 0}
        )
    return {
        "info": {"protocol": protocol, "digest": digest(samples)},
        "images": list(images.values()),
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person"}],
    }


def main(argv: Sequence[str]) -> int:
    """Command line. Exit code 2 for bad input."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation boxes", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", type=Path, help="the data set's folder, or SPIN's .npz of Human3.6M")
    parser.add_argument("--protocol", choices=sorted(PROTOCOLS), required=True)
    parser.add_argument("--out", type=Path, required=True, help="the .json to write")
    parser.add_argument("--no-focal", action="store_true", help="leave the true focal lengths out")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing --out")
    args = parser.parse_args(argv)
    try:
        check_target(args.out, args.overwrite)
        root = args.dataset if args.dataset.is_dir() else args.dataset.parent
        content = as_labels(protocol_samples(args.protocol, args.dataset), root, args.protocol, not args.no_focal)
        write_whole(args.out, lambda stream: stream.write(json.dumps(content).encode()))
    except (BodycastError, DatasetError, OSError) as error:
        print(f"evaluation boxes: {error}", file=sys.stderr)
        return 2
    print(f"{args.out}: {len(content['annotations'])} people in {len(content['images'])} pictures")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
