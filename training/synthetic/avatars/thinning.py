"""Fewer triangles by vertex clustering (Rossignac and Borrel, "Multi-resolution 3D approximations", 1993).

Vertices in one cell of a grid become one place, so that parts still meet at texture seams; each island of the texture
keeps a vertex of its own there. Quick, which edge collapse in Python is not at 40,000 triangles.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from bodycast.hmr.body.joints import NUM_JOINTS, Joint
from training.synthetic.avatars.rig import Rigged

CELL_M, FINE_CELL_M = 0.012, 0.006
FINE = (Joint.HEAD, Joint.LEFT_WRIST, Joint.RIGHT_WRIST, Joint.LEFT_HAND, Joint.RIGHT_HAND)


def thin(rigged: Rigged) -> Rigged:
    """The same person with cells of CELL_M, of FINE_CELL_M at head and hands."""
    count = len(rigged.vertices)
    dense = np.zeros((count, NUM_JOINTS))
    np.add.at(dense, (np.arange(count)[:, None], rigged.joint), rigged.weight)
    fine = np.isin(dense.argmax(1), FINE)
    size = np.where(fine, FINE_CELL_M, CELL_M)[:, None]
    cells = np.column_stack([np.floor(rigged.vertices / size).astype(np.int64), fine])
    place, shared = _means(cells, rigged.vertices)
    keys = np.column_stack([shared, _islands(rigged), rigged.picture])
    uv, vertex = _means(keys, rigged.uv)
    _, first = np.unique(vertex, return_index=True)
    weights, _ = _means(shared[:, None], dense)
    weights = weights[shared[first]]
    joint = np.argsort(-weights, axis=1, kind="stable")[:, :4]
    weight = np.take_along_axis(weights, joint, 1)
    faces = vertex[rigged.faces]
    corner = shared[first][faces]
    whole = (corner[:, 0] != corner[:, 1]) & (corner[:, 1] != corner[:, 2]) & (corner[:, 2] != corner[:, 0])
    faces = np.unique(faces[whole], axis=0)
    return replace(
        rigged, vertices=place[shared[first]].astype(np.float32), uv=uv.astype(np.float32),
        joint=joint.astype(np.uint8), weight=(weight / weight.sum(1, keepdims=True)).astype(np.float32),
        picture=rigged.picture[first],
        faces=faces.astype(np.int32),
    )  # fmt: skip


def _islands(rigged: Rigged) -> NDArray[np.int64]:
    """(V,) number of the piece of mesh, cut at texture seams, that each vertex belongs to."""
    a, b = rigged.faces[:, [0, 1, 2]].ravel(), rigged.faces[:, [1, 2, 0]].ravel()
    count = len(rigged.vertices)
    graph = sparse.coo_matrix((np.ones(len(a)), (a, b)), (count, count))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def _means(keys: NDArray[np.int64], values: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The mean of the rows of `values` with equal rows of `keys`, and which mean each row went into."""
    _, group = np.unique(keys, axis=0, return_inverse=True)
    group = group.reshape(-1)
    sums = np.zeros((group.max() + 1, values.shape[1]))
    np.add.at(sums, group, values)
    return sums / np.bincount(group)[:, None], group
