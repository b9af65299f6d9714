"""`bodycast export weights PACKAGE --out FILE.pt`: a package's weights as a checkpoint, to train further from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import mkstemp

from bodycast.engines.package import load_package
from bodycast.export.command_line import Parser


def main(argv: Sequence[str]) -> int:
    """Write the checkpoint and say what the graph does not hold."""
    parser = Parser(prog="bodycast export weights", description=__doc__)
    parser.add_argument("package", type=Path, metavar="PACKAGE", help="folder of an fp32 package; fp16 on disk will do")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint to write, e.g. work/hmr-swin-t-s3.pt")
    parser.add_argument("--overwrite", action="store_true", help="replace it if it is there")
    given = parser.parse_args(argv)
    if given.out.exists() and not given.overwrite:
        raise ValueError(f"{given.out} exists; pass --overwrite to replace it")
    import torch

    from bodycast.export.package_weights import package_weights

    package = load_package(given.package)
    weights = package_weights(package)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    handle, name = mkstemp(prefix=f".{given.out.name[:40]}.", suffix=".part", dir=given.out.parent)
    part = Path(name)
    try:
        with open(handle, "wb") as stream:
            torch.save(weights.checkpoint(package), stream)
        part.chmod(0o644)
        part.replace(given.out)
    finally:
        part.unlink(missing_ok=True)
    print(f"{given.out}: {package.info.architecture} of {package.info.name}, answers as the package does")
    if weights.left:
        print(f"not in the graph, so as new: {', '.join(weights.left)}")
    return 0
