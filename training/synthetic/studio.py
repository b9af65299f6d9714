"""Chunks of training crops: people of a cast before cameras, things around them, light, faults, labels."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

import cv2
import numpy as np
from numpy.typing import NDArray

from bodycast.hmr.body.joints import Joint
from training.synthetic import things as around
from training.synthetic.atlas_renderer import AtlasRenderer, CropScene, Drawn, UploadedMesh
from training.synthetic.cast import Member, SkinPoints, cast_avatars, make_cast
from training.synthetic.chunk import CHUNK, CHUNKS_PER_CAST, SPLIT_SALT
from training.synthetic.drawn import BareBody
from training.synthetic.faults import noise_sheet, spoil
from training.synthetic.framing import (
    FRAMINGS,
    place,
    sample_camera,
    sample_framing,
    sample_yaw,
    visible_box,
)
from training.synthetic.garments.head_chart import HEAD_AXIS_XZ, HEAD_LOW_M, HEAD_TOP_M
from training.synthetic.gear import add_gear
from training.synthetic.lighting import sample_lighting
from training.synthetic.limb_coordinates import limb_coordinates
from training.synthetic.pack import Pack
from training.synthetic.scene import CROP_HW, Camera, Placed, black_outside, crop_label, crop_window, jittered_square

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
Rng = np.random.Generator
PHOTOGRAPHS_ON_THINGS = 48
MIN_SHARE = {True: 0.05, False: 0.15}  # of the skin in the picture, for webcams and other cameras
BAD_SHARE = 0.08
ROOM_SHARE = 0.25
NEIGHBOUR_SHARE = 0.25


@dataclass(frozen=True)
class Actor:
    """A member in a pose (24, 3, 3): the joints' rotations (24, 3, 3), shifts (24, 3) and places (24, 3), and skin
    points (K, 3), in the world (y up), pelvis at the origin."""

    member: Member
    pose: F32
    turns: F32
    shifts: F32
    joints: F32
    points: F32

    def motions(self, camera: Camera, transl: F32) -> F32:
        """(24, 3, 4): rest space -> camera frame."""
        turns = camera.rotation @ self.turns
        shifts = self.shifts @ camera.rotation.T + transl
        return np.concatenate([turns, shifts[..., None]], axis=-1).astype(np.float32)


@dataclass(frozen=True)
class Shot:
    """An actor before a camera. `box` xyxy of what the picture shows."""

    framing: str
    actor: Actor
    camera: Camera
    transl: F32
    box: F32
    yaw: float

    @property
    def webcam(self) -> bool:
        """A camera on a desk or in a hand."""
        return FRAMINGS[self.framing].webcam

    def placed(self) -> Placed:
        """The person in the camera frame."""
        turn = self.camera.rotation
        pose = self.actor.pose.copy()
        pose[0] = turn @ pose[0]
        return Placed(
            pose, self.actor.member.betas, self.transl, (self.actor.points @ turn.T + self.transl).astype(np.float32),
            (self.actor.joints @ turn.T + self.transl).astype(np.float32),
        )  # fmt: skip


class Studio:
    """Makes the chunks of one split; the same pack, seed and number give the same pixels on the same GL."""

    hw = CROP_HW

    def __init__(self, pack: Pack, seed: int, *, chunk: int = CHUNK) -> None:
        self.pack, self.seed, self.size = pack, seed, chunk
        self.body = BareBody.of(pack.body, limb_coordinates(pack.body))
        self.points = SkinPoints.of(pack.body)
        self.wardrobe = pack.open_wardrobe()
        columns = min(8, chunk)
        self.renderer = AtlasRenderer(columns, -(-chunk // columns), self.hw, fold_m=pack.variety.fold_m)
        self.renderer.set_textures("cloth", self.wardrobe.cloth)
        self.renderer.set_textures("heads", self.wardrobe.heads)
        self.renderer.set_head_box((*HEAD_AXIS_XZ, HEAD_TOP_M, HEAD_LOW_M))
        self._noise = noise_sheet()
        self._cast: list[Member] = []
        self._cast_number = -1

    def chunk(self, number: int) -> dict[str, NDArray[np.generic]]:
        """Crops `number * CHUNK` to `number * CHUNK + CHUNK - 1` of the set, by the names of FIELDS."""
        self._engage(number // CHUNKS_PER_CAST)
        rng = np.random.default_rng([self.seed, SPLIT_SALT[self.pack.split], 1, number])
        shots = self._shots(rng)
        squares, scenes, backgrounds, bad, props = [], [], [], [], []
        for shot, others in shots:
            bad.append(rng.random() < BAD_SHARE)
            squares.append(self.square(rng, shot, bad[-1]))
            backgrounds.append(self._background(rng))
            company = self._company(rng, shot, others)
            scene, prop = self._scene(rng, shot, company, squares[-1], backgrounds[-1])
            scenes.append(scene)
            props.append(prop)
        colours, parts = self.renderer.render(scenes)
        for prop in props:
            if prop is not None:
                prop.release()
        rows = []
        for k, (shot, _) in enumerate(shots):
            centre, size = squares[k]
            pixels, part = self._finish(rng, colours[k], parts[k].copy(), backgrounds[k], size)
            black_outside(pixels, part, centre, size, shot.camera)
            label = crop_label(shot.placed(), shot.camera, centre, size)
            rows.append(label.as_row(pixels, part, float(not bad[k] and (part > 0).mean() > 0.02)))
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}

    def square(self, rng: Rng, shot: Shot, bad: bool) -> tuple[F32, float]:
        """Centre and side of a shot's crop, px; bad: one that misses its person."""
        return missed(rng, shot) if bad else followed_square(rng, shot)

    def _engage(self, number: int) -> None:
        """Make cast `number`, and choose the photographs that hang on walls and lie on things."""
        if number == self._cast_number:
            return
        for member in self._cast:
            member.mesh.release()
        rng = np.random.default_rng([self.seed, SPLIT_SALT[self.pack.split], 0, number])
        rigged = round(self.pack.variety.cast * self.pack.variety.avatars)
        dressed = self.pack.variety.cast - rigged
        self._cast = make_cast(rng, dressed, self.body, self.points, self.wardrobe, self.renderer)
        if rigged:
            self._cast += cast_avatars(rng, rigged, self.pack.avatars, self.body, self.points, self.renderer)
        pictures = (
            [self._photograph(rng, (256, 256)) for _ in range(PHOTOGRAPHS_ON_THINGS)] if self._photographs else []
        )
        prints = self.wardrobe.prints
        opaque = [np.dstack([p, np.full((256, 256), 255, np.uint8)]) for p in pictures]
        self.renderer.set_textures("prints", np.concatenate([prints, np.stack(opaque)]) if opaque else prints)
        self._pictures = len(opaque)
        self._cast_number = number

    @property
    def _photographs(self) -> tuple[U8, ...]:
        return self.pack.photographs

    def _photograph(self, rng: Rng, hw: tuple[int, int]) -> U8:
        """(h, w, 3) a random part of a random photograph, mirrored half of the time."""
        picture = self._photographs[rng.integers(len(self._photographs))]
        height, width = picture.shape[:2]
        zoom = min(height / hw[0], width / hw[1]) * rng.uniform(0.35, 1.0)
        h, w = max(int(hw[0] * zoom), 2), max(int(hw[1] * zoom), 2)
        y, x = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
        part = cv2.resize(picture[y : y + h, x : x + w], (hw[1], hw[0]), interpolation=cv2.INTER_LINEAR)
        return np.ascontiguousarray(part[:, ::-1]) if rng.random() < 0.5 else part

    def _background(self, rng: Rng) -> U8 | None:
        """(h, w, 3) what is behind the person, sometimes out of focus; None: a room that is drawn."""
        if not self._photographs or rng.random() < ROOM_SHARE:
            return None
        behind = self._photograph(rng, self.hw)
        if rng.random() < 0.4:
            behind = cv2.GaussianBlur(behind, (0, 0), float(rng.exponential(2.0) + 0.4))
        return behind

    def _shots(self, rng: Rng) -> list[tuple[Shot, list[Actor]]]:
        """The chunk's people before their cameras, and who is beside each of them."""
        framings = [sample_framing(rng) for _ in range(self.size)]
        company = (rng.random(self.size) < NEIGHBOUR_SHARE).astype(int)
        crowd = self.pack.variety.crowd
        if crowd:
            company = np.where(rng.random(self.size) < crowd, rng.integers(1, 4, self.size), company)
        webcams = [FRAMINGS[name].webcam for name in framings] + [False] * int(company.sum())
        members = [self._cast[i] for i in rng.integers(0, len(self._cast), len(webcams))]
        if crowd:  # some in the same clothes, as in a team
            of = np.repeat(np.arange(self.size), company)
            for place, leader in enumerate(of, self.size):
                if rng.random() < 0.25:
                    members[place] = members[leader]
        rest = np.stack([member.joints_rest for member in members])
        poses, turns, places = self.pack.poses.sample_clear(rng, webcams, rest)
        actors = [self._actor(*row) for row in zip(members, poses, turns, places, strict=True)]
        others = iter(actors[self.size :])
        return [
            (self._shot(rng, name, actor), list(islice(others, int(count))))
            for name, actor, count in zip(framings, actors[: self.size], company, strict=True)
        ]

    def _actor(self, member: Member, pose: F32, turns: F32, places: F32) -> Actor:
        places = places - places[0]
        shifts = places - (turns @ member.joints_rest[..., None])[..., 0]
        points = self.points.posed(member.points_rest, turns, shifts)
        return Actor(member, pose, turns, shifts, places, points.astype(np.float32))

    def _shot(self, rng: Rng, framing: str, actor: Actor) -> Shot:
        """A camera and a place where enough of the person is in the picture."""
        rule = FRAMINGS[framing]
        for _ in range(30):
            camera, yaw = sample_camera(rng, rule), sample_yaw(rng, rule)
            turned = yawed(actor, yaw)
            points, joints = turned.points @ camera.rotation.T, turned.joints @ camera.rotation.T
            transl = place(rng, points, joints, camera, rule)
            box, share = visible_box(points + transl, camera)
            if share > MIN_SHARE[rule.webcam] and (box[2:] - box[:2]).min() > 24:
                return Shot(framing, turned, camera, transl, box, yaw)
        raise RuntimeError(f"no picture in 30 shows enough of a person framed {framing!r}: the framing rules are wrong")

    @staticmethod
    def _company(rng: Rng, shot: Shot, others: list[Actor]) -> list[tuple[Actor, F32]]:
        """Who else is there, turned, and their translations (3,)."""
        placed: list[tuple[Actor, F32]] = []
        for other in others:
            turned = yawed(other, rng.uniform(-np.pi, np.pi))
            placed.append((turned, beside(rng, shot, len(others) > 1)))
        return placed

    def _scene(
        self, rng: Rng, shot: Shot, company: list[tuple[Actor, F32]], square: tuple[F32, float], background: U8 | None
    ) -> tuple[CropScene, UploadedMesh | None]:
        camera, actor = shot.camera, shot.actor
        motions = actor.motions(camera, shot.transl)
        drawn = [Drawn(actor.member.mesh, motions, labelled=True)]
        drawn += [Drawn(other.member.mesh, other.motions(camera, transl)) for other, transl in company]
        table = motions.copy()
        table[around.WORLD] = np.column_stack([camera.rotation, shot.transl])
        mesh = self._things(rng, shot, background is None)
        uploaded = None if mesh is None else self.renderer.upload(mesh)
        if uploaded is not None:
            drawn.append(Drawn(uploaded, table))
        window = crop_window(*square, camera, self.hw)
        shade = background if background is not None else np.full((8, 8, 3), rng.uniform(90, 200), np.uint8)
        lighting = sample_lighting(rng, shade, camera.rotation[:, 1])
        middle = (actor.points.min(0) + actor.points.max(0)) / 2
        radius = float(np.linalg.norm(actor.points - middle, axis=1).max()) + 0.12
        centre = camera.rotation @ middle + shot.transl
        return CropScene(drawn, window, lighting, centre.astype(np.float32), radius), uploaded

    def _things(self, rng: Rng, shot: Shot, room: bool):
        """Room or floor, furniture, what is held and what stands in the way, in the world around the pelvis."""
        things, actor, webcam = around.Things(), shot.actor, shot.webcam
        floor_y = float(actor.points[:, 1].min())
        materials = around.Materials(
            rng, len(self.wardrobe.cloth), len(self.wardrobe.prints), self._pictures
        )  # fmt: skip
        eye = -shot.camera.rotation.T @ shot.transl  # the camera in the world around the pelvis
        if room:
            around.add_room(things, rng, floor_y, materials, eye)
        elif not webcam and eye[1] > floor_y + 0.3 and rng.random() < 0.7:
            around.add_shadow_floor(things, floor_y, float(rng.uniform(0.25, 0.75)))
        upright = actor.joints[Joint.NECK, 1] > 0.3
        sits = upright and bool((actor.joints[[4, 5], 1] > -0.25).all())
        if sits and rng.random() < (0.5 if webcam else 0.3):
            around.add_chair(things, rng, shot.yaw, materials)
        if webcam and rng.random() < 0.4:
            add_desk_below_hands(things, rng, shot, eye, materials)
        if rng.random() < 0.14:
            side = "left" if rng.random() < 0.5 else "right"
            joint = Joint.LEFT_HAND if side == "left" else Joint.RIGHT_HAND
            around.add_held(things, rng, side, actor.member.joints_rest[joint], materials)
        gear = self.pack.variety.gear
        if gear and not webcam and rng.random() < gear:
            add_gear(things, rng, actor.member.joints_rest, materials)
        if rng.random() < 0.2:
            target = actor.joints[rng.integers(24)]
            gap = eye - target
            distance = float(np.linalg.norm(gap))
            around.add_obstacle(things, rng, target, (gap / distance).astype(np.float32), distance, materials)
        return things.mesh()

    def _finish(self, rng: Rng, rgba: U8, parts: U8, background: U8 | None, size: float) -> tuple[U8, U8]:
        """Lay the drawn people over the background and spoil the picture."""
        return spoil(rng, self._over(rng, rgba, background), size, self._noise), parts

    @staticmethod
    def _over(rng: Rng, rgba: U8, background: U8 | None) -> F32:
        """(h, w, 3) what is drawn, alpha premultiplied, over what is behind it, which is brighter or darker."""
        colours = rgba[..., :3].astype(np.float32)
        if background is not None:
            brightness = float(np.clip(rng.normal(1, 0.12), 0.6, 1.3))
            colours += (255 - rgba[..., 3:]).astype(np.float32) * (brightness / 255) * background
        return colours

    def close(self) -> None:
        """Release the GL context."""
        self.renderer.close()


def yawed(actor: Actor, yaw: float) -> Actor:
    """The actor turned about the vertical."""
    c, s = np.cos(yaw), np.sin(yaw)
    turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]], np.float32)
    pose = actor.pose.copy()
    pose[0] = turn @ pose[0]
    return Actor(
        actor.member, pose, turn @ actor.turns, actor.shifts @ turn.T, actor.joints @ turn.T, actor.points @ turn.T
    )


def beside(rng: Rng, shot: Shot, crowded: bool) -> F32:
    """Translation (3,) of somebody else: beside, behind, or partly in front; nearer in a crowd."""
    z = float(shot.transl[2])
    nearer = rng.random() < 0.3
    depth = max(z * (rng.uniform(0.75, 0.95) if nearer else rng.uniform(1.05, 2.2)), 0.5)
    side = rng.choice([-1, 1]) * (rng.uniform(0.1, 0.8) if crowded else rng.uniform(0.3, 1.1))
    place_there = shot.transl * (depth / max(z, 0.2))
    return np.array([place_there[0] + side, place_there[1] + rng.normal(0, 0.1), depth], np.float32)


def add_desk_below_hands(things: around.Things, rng: Rng, shot: Shot, eye: F32, materials: around.Materials) -> None:
    """A desk before the person, under hands that are over it, unless the camera stands lower."""
    ahead = np.array([np.sin(shot.yaw), 0, np.cos(shot.yaw)], np.float32)
    front = float(rng.uniform(0.16, 0.3))
    hands = shot.actor.joints[[20, 21, 22, 23]]
    over = hands[hands @ ahead > front - 0.1]
    top = float(rng.uniform(-0.05, 0.15))
    if len(over):
        top = min(top + 0.05, float(over[:, 1].min()) - 0.05)
    if eye[1] > top + 0.08:
        around.add_desk(things, rng, top, front, shot.yaw, materials)


def followed_square(rng: Rng, shot: Shot) -> tuple[F32, float]:
    """Centre and side of a crop as the program cuts it: around a detector's box, or a padded mesh that it follows."""
    box = shot.box
    if rng.random() < 0.4:
        wh = np.asarray(shot.camera.image_wh, np.float32)
        pad = 0.05 * np.tile(box[2:] - box[:2], 2) * [-1, -1, 1, 1]
        box = np.clip(box + pad, 0, np.tile(wh, 2)).astype(np.float32)
        return jittered_square(rng, box, 0.7)
    return jittered_square(rng, box)


def missed(rng: Rng, shot: Shot) -> tuple[F32, float]:
    """A crop that a detector should not have given: far beside the person, or far too small or large."""
    box = shot.box
    size = float(max(box[3] - box[1], box[2] - box[0]))
    centre = (box[:2] + box[2:]) / 2
    if rng.random() < 0.75:
        angle = rng.uniform(0, 2 * np.pi)
        away = size * rng.uniform(0.8, 1.6) * np.array([np.cos(angle), np.sin(angle)])
        inside = np.clip(centre + away, 0, shot.camera.image_wh)
        return inside.astype(np.float32), size * float(rng.uniform(0.4, 1.2))
    return centre.astype(np.float32), size * float(rng.choice([rng.uniform(0.08, 0.2), rng.uniform(5, 8)]))
