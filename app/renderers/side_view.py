"""People from the side: the same meshes over a floor, seen by a camera that stands beside the scene."""

from __future__ import annotations

import cv2
import numpy as np

from bodycast.app.records import F32, F64, U8, FrameResult, FrameWorld
from bodycast.app.renderers.base import Renderer
from bodycast.hmr.geometry.camera import Intrinsics

FOCAL_OF_HEIGHT = 1.2
"""Focal length over the picture's height: 45 degrees from the lower to the upper edge."""
NEAREST_M = 4.0
ROOM = 1.25
"""So much more than the people is in the picture."""
FOLLOWS = 0.08
"""Share of its way to the people's middle that the camera goes with each frame."""
GROUND_BGR, LINE_BGR = (52, 48, 46), (92, 86, 82)
GRID_M, GRID_LINES = 0.5, 16


class SideView:
    """Draws people from their right-hand side of the picture; its camera follows them slowly."""

    def __init__(self) -> None:
        self._centre: F64 | None = None
        self._away_m = NEAREST_M
        self._ground_m = 0.0

    def draw(self, renderer: Renderer, result: FrameResult) -> U8:
        """A new (H,W,3) uint8 BGR picture of the frame's size."""
        width, height = result.frame.image_wh
        picture: U8 = np.full((height, width, 3), GROUND_BGR, np.uint8)
        world = result.world or FrameWorld.unknown(0)
        to_world = world.camera_to_world
        if not np.isfinite(to_world).all():
            to_world = FrameWorld.unknown(0).camera_to_world
        joints = result.bodies.joints.astype(np.float64) @ to_world[:3, :3].T + to_world[:3, 3]
        floor = 0.0 if np.isfinite(world.floor).all() else None
        self._follow(joints, floor, width / height)
        if self._centre is None:
            return picture
        intrinsics = Intrinsics.from_focal(FOCAL_OF_HEIGHT * height, (width, height))
        self._draw_floor(picture, intrinsics)
        turn, shift = self._from_world()
        from_camera = turn @ to_world[:3, :3], turn @ to_world[:3, 3] + shift
        vertices: F32 = (result.bodies.vertices @ from_camera[0].T + from_camera[1]).astype(np.float32)
        return renderer.render(picture, vertices, result.estimates.id, intrinsics)

    def _follow(self, joints: F64, floor: float | None, aspect: float) -> None:
        if len(joints) == 0:
            return
        points = joints.reshape(-1, 3)
        low, high = points.min(axis=0), points.max(axis=0)
        if floor is not None:
            low[1], high[1] = min(low[1], floor), max(high[1], floor)
        self._ground_m = float(low[1]) if floor is None else floor
        centre = (low + high) / 2
        # What is nearer to the eye needs more room in the picture.
        away = np.abs(points - centre) * (0, 1, 1 / aspect) * (2 * FOCAL_OF_HEIGHT * ROOM)
        away = max(NEAREST_M, float((points[:, 0] - centre[0] + away.max(axis=1)).max()))
        if self._centre is None:
            self._centre, self._away_m = centre, away
        self._centre = self._centre + FOLLOWS * (centre - self._centre)
        self._away_m += FOLLOWS * (away - self._away_m)

    def _from_world(self) -> tuple[F64, F64]:
        """Rotation and shift: world -> the side camera, which looks along the world's -x from its right."""
        assert self._centre is not None
        turn = np.array([[0.0, 0.0, -1.0], [0.0, -1.0, 0.0], [-1.0, 0.0, 0.0]])
        eye = self._centre + np.array([self._away_m, 0.0, 0.0])
        return turn, -turn @ eye

    def _draw_floor(self, picture: U8, intrinsics: Intrinsics) -> None:
        assert self._centre is not None
        turn, shift = self._from_world()
        middle = np.round(self._centre / GRID_M) * GRID_M
        reach = GRID_M * GRID_LINES
        height = self._ground_m
        # Behind the eye there is no picture.
        nearest = self._centre[0] + self._away_m - 0.3
        for step in np.arange(-GRID_LINES, GRID_LINES + 1) * GRID_M:
            x, z = middle[0] + step, middle[2] + step
            lines = [((middle[0] - reach, z), (min(middle[0] + reach, nearest), z))]
            if x < nearest:
                lines.append(((x, middle[2] - reach), (x, middle[2] + reach)))
            for ends in lines:
                points = np.array([(x_m, height, z_m) for x_m, z_m in ends]) @ turn.T + shift
                pixels = points[:, :2] / points[:, 2:] * intrinsics.fx + (intrinsics.cx, intrinsics.cy)
                first, second = np.clip(np.round(pixels), -30000, 30000).astype(int).tolist()
                cv2.line(picture, first, second, LINE_BGR, 1, cv2.LINE_AA)
