"""What people of sports carry: skis, boards, poles, rackets and bats, helmets, goggles, bags; tied to the joints."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bodycast.hmr.body.joints import Joint
from training.synthetic.things import BALL, CUBE, CYLINDER, Materials, Things, turn_y

F32 = NDArray[np.float32]
Rng = np.random.Generator
SIDES = ((1.0, Joint.LEFT_HAND, Joint.LEFT_ANKLE), (-1.0, Joint.RIGHT_HAND, Joint.RIGHT_ANKLE))
SOLE_BELOW_ANKLE_M = 0.075
_ALONG_Z = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], np.float32)  # a cylinder's axis from y to z


def add_gear(things: Things, rng: Rng, joints_rest: F32, materials: Materials) -> None:
    """Gear of one sport, or one or two pieces of anything, for a person with rest joints (24, 3), T-pose, facing +z."""
    sport = rng.random()
    if sport < 0.3:
        _skis(things, rng, joints_rest, materials)
        _poles(things, rng, joints_rest, materials)
    elif sport < 0.42:
        _board(things, rng, joints_rest, materials)
    elif sport < 0.7:
        _club(things, rng, joints_rest, materials)
    if (sport < 0.42 and rng.random() < 0.5) or rng.random() < 0.25:
        _helmet(things, rng, joints_rest, materials)
    if sport > 0.85 or rng.random() < 0.2:
        _bag(things, rng, joints_rest, materials)


def _skis(things: Things, rng: Rng, joints_rest: F32, materials: Materials) -> None:
    ski, boot = materials.thing(), materials.thing()
    length, width, boots = rng.uniform(1.2, 1.9), rng.uniform(0.05, 0.12), rng.random() < 0.7
    for _, _, ankle in SIDES:
        sole = joints_rest[ankle] - np.array([0, SOLE_BELOW_ANKLE_M, 0])
        along = rng.uniform(0.0, 0.15)
        things.add(CUBE, np.array([width, 0.02, length]), sole + np.array([0, -0.012, 0.06 + along]), ski, joint=ankle)
        if boots:
            things.add(CUBE, np.array([0.12, 0.09, 0.3]), sole + np.array([0, 0.045, 0.07]), boot, joint=ankle)
            shaft = np.array([0.125, rng.uniform(0.15, 0.28), 0.14])
            things.add(CYLINDER, shaft, sole + np.array([0, shaft[1] / 2, 0]), boot, joint=ankle)


def _board(things: Things, rng: Rng, joints_rest: F32, materials: Materials) -> None:
    """Under one foot, across or along it."""
    _, _, ankle = SIDES[rng.integers(2)]
    sole = joints_rest[ankle] - np.array([0, SOLE_BELOW_ANKLE_M, 0])
    size = np.array([rng.uniform(0.18, 0.5), 0.03, rng.uniform(0.7, 2.0)])
    turn = turn_y(float(rng.choice([0.0, np.pi / 2]) + rng.normal(0, 0.3)))
    middle = np.array([-0.6 * joints_rest[ankle][0] * rng.uniform(0, 2), -0.02, 0.05])
    things.add(CUBE, size, sole + middle, materials.thing(), turn=turn, joint=ankle)


def _grip(joints_rest: F32, hand: Joint, sign: float) -> F32:
    return joints_rest[hand] + np.array([0.02 * sign, -0.03, 0.01], np.float32)


def _poles(things: Things, rng: Rng, joints_rest: F32, materials: Materials) -> None:
    material, length, thick = materials.thing(), rng.uniform(0.9, 1.5), rng.uniform(0.014, 0.028)
    turn = _ALONG_Z
    for sign, hand, _ in SIDES:
        size = np.array([thick, length, thick])
        place = _grip(joints_rest, hand, sign) + np.array([0, 0, -0.45 * length])
        things.add(CYLINDER, size, place, material, turn=turn, joint=hand)
        if rng.random() < 0.6:  # gloves
            things.add(BALL, np.array([0.19, 0.09, 0.13]), joints_rest[hand] + [0.01 * sign, -0.005, 0.0], material,
                       joint=hand)  # fmt: skip


def _club(things: Things, rng: Rng, joints_rest: F32, materials: Materials) -> None:
    """A bat, a racket or a stick in one hand, its end towards the thumb."""
    sign, hand, _ = SIDES[rng.integers(2)]
    grip, material, kind = _grip(joints_rest, hand, sign), materials.thing(), rng.integers(3)
    length = (rng.uniform(0.6, 0.95), rng.uniform(0.25, 0.4), rng.uniform(0.9, 1.7))[kind]
    thick = (rng.uniform(0.04, 0.07), 0.03, rng.uniform(0.015, 0.04))[kind]
    lean = turn_y(float(rng.normal(0, 0.3)))
    along = (lean @ np.array([0, 0, 1.0])).astype(np.float32)
    turn = lean @ _ALONG_Z
    things.add(
        CYLINDER, np.array([thick, length, thick]), grip + along * length * 0.42, material, turn=turn, joint=hand
    )
    if kind == 1:
        head = rng.uniform(0.15, 0.32)
        flat = np.array([head, 0.012, head * 1.25])
        things.add(CYLINDER, flat, grip + along * (length * 0.9 + head * 0.6), materials.thing(), turn=lean, joint=hand)


def _helmet(things: Things, rng: Rng, joints_rest: F32, materials: Materials) -> None:
    """A shell over the skull, often with goggles; the face stays free."""
    head, shell = joints_rest[Joint.HEAD], materials.thing()
    size = np.array([0.2, 0.17, 0.25]) * rng.uniform(1.0, 1.2)
    things.add(BALL, size, head + np.array([0, 0.115, 0.006]), shell, joint=Joint.HEAD)
    if rng.random() < 0.5:
        things.add(CUBE, np.array([0.15, 0.055, 0.04]), head + np.array([0, 0.062, 0.112]), materials.thing(),
                   joint=Joint.HEAD)  # fmt: skip


def _bag(things: Things, rng: Rng, joints_rest: F32, materials: Materials) -> None:
    """A rucksack, or a bag at the hip."""
    material = materials.thing()
    if rng.random() < 0.65:
        size = np.array([rng.uniform(0.24, 0.36), rng.uniform(0.35, 0.6), rng.uniform(0.12, 0.25)])
        place = joints_rest[Joint.SPINE3] + np.array([0, 0.0, -0.065 - size[2] / 2])
        things.add(CUBE, size, place, material, joint=Joint.SPINE3)
        for sign in (1.0, -1.0):  # straps
            strap = joints_rest[Joint.SPINE3] + np.array([0.1 * sign, 0.0, 0.115])
            things.add(CUBE, np.array([0.045, 0.3, 0.05]), strap, material, joint=Joint.SPINE3)
    else:
        sign = float(rng.choice([-1, 1]))
        size = np.array([0.12, rng.uniform(0.2, 0.35), rng.uniform(0.2, 0.4)])
        things.add(CUBE, size, joints_rest[Joint.SPINE1] + np.array([0.24 * sign, -0.15, 0.0]), material,
                   joint=Joint.SPINE1)  # fmt: skip
