"""`python -m evaluation show features|sampling|tokens|layers PICTURE --out FILE.png`: the papers' pictures of what is
inside.

features: the encoder's maps before and after feature upsampling, three principal components as colours (Heo and Hu,
figure 3). sampling: where the deformable decoder's queries read, coloured by attention (figure 4). tokens: which
patches Mask-ToMe holds in one token (FastHMR, figure 3). layers: the picture, the mesh over it, the mesh alone (Heo and
Hu, figure 2). The first three take a network's `--checkpoint` and a picture of one person, which is padded to the
crop's aspect.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bodycast.app.errors import BodycastError
from bodycast.app.files.output_file import check_target
from bodycast.export.calibration_frames import crop_of
from bodycast.export.source import open_source
from bodycast.hmr.networks.decoders import deformable
from bodycast.hmr.networks.hmr_net import ExportedHmr, HmrNet
from bodycast.hmr.networks.merging.mask_token_merging import TokenMergingVit

U8 = NDArray[np.uint8]
HEIGHT = 512
"""Of each panel, px."""


def principal_colours(maps: Sequence[Tensor]) -> list[U8]:
    """(h,w,3) uint8 of maps (C,h,w): three principal components of all of them together, each stretched to 0..255."""
    rows = torch.cat([m.flatten(1).T for m in maps]).double()
    mean = rows.mean(0)
    _, _, axes = torch.linalg.svd(rows - mean, full_matrices=False)
    found = [(m.flatten(1).T.double() - mean) @ axes[:3].T for m in maps]
    every = torch.cat(found)
    low, high = torch.quantile(every, 0.02, dim=0), torch.quantile(every, 0.98, dim=0)
    scaled = [((f - low) / (high - low).clamp_min(1e-9)).clamp(0, 1) for f in found]
    return [
        (255 * f).round().byte().numpy().reshape(m.shape[1], m.shape[2], -1) for f, m in zip(scaled, maps, strict=True)
    ]


def sampled_points(net: HmrNet, crops: Tensor) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Per decoder layer: places (n,2) in 0..1 of the crop, x and y, and their attention (n,), of one crop (1,h,w,3)
    uint8.

    Raises: ValueError for a network without a deformable decoder.
    """
    seen: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
    whole = deformable.sample_and_weigh

    def watched(value: Tensor, shapes: deformable.Shapes, locations: Tensor, weights: Tensor) -> Tensor:
        seen.append((locations[0].reshape(-1, 2).numpy(), weights[0].reshape(-1).numpy()))
        return whole(value, shapes, locations, weights)

    with torch.no_grad(), patch.object(deformable, "sample_and_weigh", watched):
        ExportedHmr(net).eval()(crops)
    if not seen:
        raise ValueError("this network has no deformable decoder")
    return seen


def show_features(net: HmrNet, crop: U8) -> U8:
    """The crop, then each tap before and after upsampling."""
    if net.upsampling is None:
        raise ValueError("this network has no feature upsampling")
    module = ExportedHmr(net).eval()
    images = torch.from_numpy(crop[None]).permute(0, 3, 1, 2) * module.scale - module.shift
    panels = [crop]
    with torch.no_grad():
        before = net.tapped(images)
        after = net.upsampling(before, images)
    for small, large in zip(before, after, strict=True):
        panels += principal_colours([small[0], large[0]])
    return beside(panels)


def show_sampling(net: HmrNet, crop: U8) -> U8:
    """One panel a decoder layer: points from blue (little attention) to red."""
    panels: list[U8] = []
    for places, weight in sampled_points(net, torch.from_numpy(crop[None])):
        panel = cv2.resize(crop, (HEIGHT * crop.shape[1] // crop.shape[0], HEIGHT), interpolation=cv2.INTER_CUBIC)
        panel = np.asarray(panel // 2 + 60, np.uint8)
        shade = (255 * (weight / weight.max()) ** 0.5).astype(np.uint8)
        colours = cv2.cvtColor(cv2.applyColorMap(shade[:, None], cv2.COLORMAP_JET), cv2.COLOR_BGR2RGB)[:, 0]
        for index in np.argsort(weight):
            x, y = places[index] * [panel.shape[1], panel.shape[0]]
            cv2.circle(panel, (round(float(x)), round(float(y))), 3, tuple(map(int, colours[index])), -1, cv2.LINE_AA)
        panels.append(panel)
    return beside(panels)


def show_tokens(net: HmrNet, crop: U8, mask: NDArray[np.bool_] | None) -> U8:
    """The crop, and every patch in the mean colour of its token's patches; tokens of one patch are the crop itself."""
    backbone = net.backbone
    if not isinstance(backbone, TokenMergingVit):
        raise ValueError("this network merges no tokens: give one with --merge-tokens fasthmr")
    module = ExportedHmr(net).eval()
    images = torch.from_numpy(crop[None]).permute(0, 3, 1, 2) * module.scale - module.shift
    with torch.no_grad():
        given = None if mask is None else torch.from_numpy(mask[None].astype(np.float32))
        source = backbone.forward_merged(images, given).source
    assert source is not None
    token = source[0].argmax(0).numpy()  # (N,) which token holds each patch
    rows, columns = backbone.grid_hw
    small = cv2.resize(crop, (columns, rows), interpolation=cv2.INTER_AREA).reshape(-1, 3).astype(float)
    painted = cv2.resize(crop, (columns * 16, rows * 16), interpolation=cv2.INTER_LINEAR)
    for number in np.unique(token):
        patches = np.flatnonzero(token == number)
        for patch_index in patches if len(patches) > 1 else ():
            y, x = divmod(int(patch_index), columns)
            painted[16 * y : 16 * y + 16, 16 * x : 16 * x + 16] = small[patches].mean(0)
    for y in range(rows):
        for x in range(columns):
            here = token[y * columns + x]
            if x + 1 < columns and token[y * columns + x + 1] != here:
                cv2.line(painted, (16 * x + 16, 16 * y), (16 * x + 16, 16 * y + 15), (255, 255, 255), 1)
            if y + 1 < rows and token[(y + 1) * columns + x] != here:
                cv2.line(painted, (16 * x, 16 * y + 16), (16 * x + 15, 16 * y + 16), (255, 255, 255), 1)
    return beside([crop, np.asarray(painted, np.uint8)])


def show_layers(picture: Path) -> U8:
    """Picture, overlay, mesh alone; RGB. Raises: BodycastError."""
    import bodycast

    image = cv2.imread(str(picture))
    if image is None:
        raise ValueError(f"{picture}: no picture that can be read")
    people = bodycast.recover(np.asarray(image, np.uint8))
    if not people:
        raise ValueError(f"{picture}: nobody was found")
    with bodycast.Overlay() as overlay:
        drawn = [np.asarray(image, np.uint8), overlay(image, people), overlay(np.full_like(image, 255), people)]
    return beside([np.asarray(cv2.cvtColor(one, cv2.COLOR_BGR2RGB), np.uint8) for one in drawn])


def beside(panels: Sequence[U8]) -> U8:
    """Panels at one height, a white line between them."""
    resized = []
    for panel in panels:
        width = max(1, round(HEIGHT * panel.shape[1] / panel.shape[0]))
        resized.append(cv2.resize(panel, (width, HEIGHT), interpolation=cv2.INTER_NEAREST))
        resized.append(np.full((HEIGHT, 6, 3), 255, np.uint8))
    return np.asarray(np.concatenate(resized[:-1], axis=1), np.uint8)


def main(argv: Sequence[str]) -> int:
    """Command line. Exit code 2 for bad input."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation show", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("features", "sampling", "tokens", "layers"))
    parser.add_argument("picture", type=Path)
    parser.add_argument("--checkpoint", help="of the training here, or a registered name (random weights)")
    parser.add_argument("--mask", type=Path, help="tokens: a picture that is white where the person is")
    parser.add_argument("--out", type=Path, required=True, help="the .png to write")
    parser.add_argument("--overwrite", action="store_true", help="replace it if it is there")
    args = parser.parse_args(argv)
    try:
        check_target(args.out, args.overwrite)
        shown = show_layers(args.picture) if args.what == "layers" else _inside(args)
        done, data = cv2.imencode(".png", cv2.cvtColor(shown, cv2.COLOR_RGB2BGR))
        assert done
        args.out.write_bytes(data.tobytes())
    except (BodycastError, ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    print(args.out)
    return 0


def _inside(args: argparse.Namespace) -> U8:
    if args.checkpoint is None:
        raise ValueError(f"show {args.what} looks into a network: give --checkpoint")
    net = open_source(args.checkpoint).net
    if not isinstance(net, HmrNet):
        raise ValueError(f"{args.checkpoint}: no network that recovers bodies")
    crop = crop_of(args.picture, net.image_hw)
    if args.what == "features":
        return show_features(net, crop)
    if args.what == "sampling":
        return show_sampling(net, crop)
    mask = None if args.mask is None else crop_of(args.mask, net.image_hw).max(2) > 127
    return show_tokens(net, crop, mask)
