"""The readers by name, as command lines choose them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

from training.datasets.coco import read_coco
from training.datasets.emdb import read_emdb
from training.datasets.errors import DatasetError
from training.datasets.hmr2_tars import read_hmr2_tars
from training.datasets.human36m import TEST_SUBJECTS, TRAIN_SUBJECTS, read_human36m_folders
from training.datasets.labelled_npz import read_labelled_npz
from training.datasets.mpi_inf_3dhp import read_3dhp_test, read_3dhp_train
from training.datasets.mpii import read_mpii
from training.datasets.sample import PersonSample
from training.datasets.smpl_files import SmplFiles
from training.datasets.threedpw import read_3dpw

Reader = Callable[[Path, argparse.Namespace], Iterator[PersonSample]]


def _images(args: argparse.Namespace) -> Path:
    if args.images is None:
        raise DatasetError("the labels are a file: give the folder of the pictures with --images")
    return args.images


def _smpl(args: argparse.Namespace) -> SmplFiles | None:
    return None if args.smpl is None else SmplFiles(args.smpl)


def _human36m(path: Path, args: argparse.Namespace) -> Iterator[PersonSample]:
    if path.suffix == ".npz":
        return read_labelled_npz(path, _images(args), "human36m", args.split)
    return read_human36m_folders(path, TRAIN_SUBJECTS if args.split == "train" else TEST_SUBJECTS, args.split)


def _mpi_inf_3dhp(path: Path, args: argparse.Namespace) -> Iterator[PersonSample]:
    return read_3dhp_train(path, every=1) if args.split == "train" else read_3dhp_test(path)


def _tars(path: Path, args: argparse.Namespace) -> Iterator[PersonSample]:
    paths = sorted(path.glob("*.tar")) if path.is_dir() else [path]
    if not paths:
        raise DatasetError(f"{path}: no shards (*.tar)")
    return read_hmr2_tars(paths, args.split)


READERS: dict[str, Reader] = {
    "3dpw": lambda path, args: read_3dpw(path, args.split, _smpl(args)),
    "emdb": lambda path, args: read_emdb(path, "all", _smpl(args)),
    "human36m": _human36m,
    "mpi-inf-3dhp": _mpi_inf_3dhp,
    "coco": lambda path, args: read_coco(path, _images(args), args.split),
    "boxes": lambda path, args: read_coco(path, _images(args), args.split, min_keypoints=0),
    "mpii": lambda path, args: read_mpii(path, _images(args), args.split),
    "bedlam": lambda path, args: read_labelled_npz(path, _images(args), "bedlam", args.split),
    "agora": lambda path, args: read_labelled_npz(path, _images(args), "agora", args.split),
    "4d-humans": _tars,
}
"""Name -> reader of a path with the options of as_crops. AMASS has no pictures (`training.datasets.amass`)."""
