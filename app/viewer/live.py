"""`bodycast run --view`: the world live in a browser, as a sender, which gets the newest frame alone."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from bodycast.app.records import F64, FrameResult, FrameWorld
from bodycast.app.renderers.shading import person_colours
from bodycast.app.viewer.open_viser import OpenViser
from bodycast.app.viewer.picture_feed import PictureFeed
from bodycast.app.viewer.scene import MOST_PEOPLE
from bodycast.app.viewer.world_view import Figure, WorldView
from bodycast.hmr.body.body_model import BodyModel, forward_kinematics

BUSY_SHARE = 0.25
"""Of one core, for the world: with many people the page gets fewer frames, before the run does."""


class LiveView:
    """`Sender`: picture and world for browsers. Nothing is done while nobody looks."""

    needs_picture = True

    def __init__(self, host: str, port: int, body: BodyModel) -> None:
        """Starts the server. Raises: UsageError where viser is missing or the port cannot be had."""
        self.warnings: Sequence[str] = ()
        self._body = body
        self._feed = PictureFeed()
        self._viser = OpenViser(host, port, self._feed.newest)
        self._view = WorldView(self._viser.server, body)
        self._latency_s: float | None = None
        self._next_s = 0.0

    @property
    def name(self) -> str:
        """For messages."""
        return "view"

    @property
    def latency_s(self) -> float | None:
        """See `Sender`: until the frame is on its way to the browser."""
        return self._latency_s

    @property
    def url(self) -> str:
        """What to open in a browser."""
        return self._viser.url

    def describe(self) -> str:
        """See `Sender`."""
        return f"3D view: open {self.url}"

    def write(self, result: FrameResult) -> None:
        """Show one frame."""
        if not self._view.watched:
            self._latency_s = None
            return
        self._feed.put(result.overlay)
        began_s, cpu_s = time.monotonic(), time.thread_time()
        if began_s < self._next_s:
            return
        self._show(result)
        self._latency_s = time.monotonic() - result.frame.time_s
        self._next_s = began_s + (time.thread_time() - cpu_s) / BUSY_SHARE

    def _show(self, result: FrameResult) -> None:
        to_world = (result.world or FrameWorld.unknown(0)).camera_to_world
        if not np.isfinite(to_world).all():
            to_world = FrameWorld.unknown(0).camera_to_world
        self._view.set_camera(to_world, result.intrinsics.focal_px, result.frame.image_wh)
        self._view.show(self._figures(result, to_world), result.frame.time_s)
        self._view.forget(MOST_PEOPLE)

    def idle(self) -> None:
        """The last frame stays on the screen."""

    def recentre(self) -> None:
        """The world has its own middle."""

    def close(self) -> None:
        """May be called twice."""
        self._viser.close()

    def _figures(self, result: FrameResult, to_world: F64) -> list[Figure]:
        estimates = result.estimates
        largest = np.argsort(-np.prod(result.xyxy[:, 2:] - result.xyxy[:, :2], axis=1))[:MOST_PEOPLE]
        joints_rest = self._body.joints(estimates.betas)
        turns, _ = forward_kinematics(estimates.pose, joints_rest)
        turns = to_world[:3, :3] @ turns.astype(np.float64)
        places = result.bodies.joints.astype(np.float64) @ to_world[:3, :3].T + to_world[:3, 3]
        figures: list[Figure] = []
        for row in sorted(largest.tolist()):
            blue, green, red = (int(value) for value in person_colours(estimates.id[row : row + 1])[0])
            figures.append(
                Figure(
                    id=int(estimates.id[row]),
                    colour=(red, green, blue),
                    places=places[row],
                    turns=turns[row],
                    vertices=self._body.rest_vertices(estimates.betas[row : row + 1])[0],
                    joints_rest=joints_rest[row].astype(np.float64),
                )
            )
        return figures
