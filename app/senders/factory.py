"""The senders that a run was asked for, open before anything is written."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np

from bodycast.app.address import parse_address
from bodycast.app.config import SendConfig
from bodycast.app.senders.base import Sender
from bodycast.app.sources.base import SourceInfo
from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.geometry.arrays import F32


def open_senders(config: SendConfig, body: BodyModel, source: SourceInfo, opened: ExitStack) -> list[Sender]:
    """Open them; `opened` closes them. Raises: UsageError, one line."""
    senders: list[Sender] = []

    def add(sender: Sender) -> None:
        opened.callback(sender.close)
        senders.append(sender)

    if config.vmc is not None or config.vrchat is not None:
        from bodycast.app.senders.performer import Performer

        rest = body(np.eye(3, dtype=np.float32)[None, None].repeat(24, 1), *_average()).joints[0]
        if config.vmc is not None:
            from bodycast.app.senders import vmc

            performer = Performer(config.person, rest, config.avatar_hips)
            add(vmc.VmcSender(parse_address("vmc", config.vmc, vmc.DEFAULT_PORT), performer))
        if config.vrchat is not None:
            from bodycast.app.senders import vrchat

            address = parse_address("vrchat", config.vrchat, vrchat.DEFAULT_PORT)
            add(vrchat.VrchatSender(address, Performer(config.person, rest)))
    if config.websocket is not None:
        from bodycast.app.senders.websocket import WebSocketSender

        add(WebSocketSender(parse_address("websocket", config.websocket)))
    if config.view:
        from bodycast.app.viewer.live import LiveView

        add(LiveView(config.host, config.port, body))
    if config.virtual_camera:
        from bodycast.app.senders.virtual_camera import VirtualCameraSender

        add(VirtualCameraSender(source.image_wh, source.fps))
    return senders


def _average() -> tuple[F32, F32]:
    return np.zeros((1, 10), np.float32), np.zeros((1, 3), np.float32)
