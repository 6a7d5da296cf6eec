"""Writes points as PLY and GLB, formats of a header and arrays.

By a writer of our own: with it a PLY says what its numbers mean, and colours in a GLB are what glTF defines, linear light and
not in 256 steps. The library at hand, trimesh, with which the tests read these files, writes neither.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from depthmask.base.errors import UserError
from depthmask.base.files import replace_file

if TYPE_CHECKING:
    from depthmask.point_clouds.points import PointCloud

AXES = "x right, y up, camera at the origin, looks along -z"
FLOAT, POINTS, ARRAY_BUFFER = 5126, 0, 34962  # glTF's numbers for them


def save_points(points: PointCloud, path: Path) -> None:
    """Write the points to a .ply or .glb file, whole or not at all; equal points give equal bytes.

    Raises:
        UserError: another suffix.
        OSError: the file cannot be written.
    """
    encode = FORMATS.get(path.suffix.lower().removeprefix("."))
    if encode is None:
        raise UserError(f"{path}: not a format for points; allowed: {', '.join(f'.{name}' for name in FORMATS)}")
    with replace_file(path) as part:
        part.write_bytes(encode(points))


def encode_ply(points: PointCloud) -> bytes:
    """PLY, binary, little-endian: x, y, z (float), red, green, blue (uchar, sRGB), foreground (uchar, 1 or 0) of each point."""
    named = [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("red", "u1"), ("green", "u1"), ("blue", "u1"), ("foreground", "u1")]
    rows = np.empty(len(points), np.dtype(named))
    for names, values in ((("x", "y", "z"), points.positions), (("red", "green", "blue"), points.colours)):
        for column, name in enumerate(names):
            rows[name] = values[:, column]
    rows["foreground"] = points.is_foreground
    kinds = {"<f4": "float", "u1": "uchar"}
    header = [
        "ply",
        "format binary_little_endian 1.0",
        f"comment unit: {points.unit}",
        f"comment axes: {AXES}",
        f"comment field of view: {points.field_of_view_deg:g} degrees across the longer side",
        f"element vertex {len(points)}",
        *(f"property {kinds[kind]} {name}" for name, kind in named),
        "end_header\n",
    ]
    return "\n".join(header).encode() + rows.tobytes()


def encode_glb(points: PointCloud) -> bytes:
    """glTF 2.0, binary: the nodes `foreground` and `scene`, each of points, where there are any; no light falls on them."""
    parts = {"foreground": points.take_foreground(), "scene": points.take_scene()}
    buffers, accessors, meshes = [], [], []
    for name, part in parts.items():
        if len(part):
            meshes.append({"name": name, "primitives": [_describe_primitive(len(accessors))]})
            low, high = (values.astype(float).tolist() for values in (part.positions.min(axis=0), part.positions.max(axis=0)))
            accessors.append(_describe_accessor(len(buffers), part) | {"min": low, "max": high})
            buffers.append(part.positions.astype("<f4").tobytes())
            accessors.append(_describe_accessor(len(buffers), part))
            buffers.append(_make_linear(part.colours).tobytes())
    described: dict[str, Any] = {
        "asset": {
            "version": "2.0",
            "generator": "depthmask",
            "extras": {"unit": points.unit, "axes": AXES, "field_of_view_deg": points.field_of_view_deg},
        },
        "scene": 0,
        "scenes": [{"nodes": list(range(len(meshes)))} if meshes else {}],
    }
    if meshes:
        offsets = np.cumsum([0, *map(len, buffers)]).tolist()
        described |= {
            "extensionsUsed": ["KHR_materials_unlit"],
            "materials": [{"extensions": {"KHR_materials_unlit": {}}}],
            "nodes": [{"name": mesh["name"], "mesh": number} for number, mesh in enumerate(meshes)],
            "meshes": meshes,
            "accessors": accessors,
            "bufferViews": [
                {"buffer": 0, "byteOffset": offset, "byteLength": len(data), "target": ARRAY_BUFFER}
                for offset, data in zip(offsets, buffers)
            ],
            "buffers": [{"byteLength": offsets[-1]}],
        }
    return _join_chunks(json.dumps(described, separators=(",", ":")).encode(), b"".join(buffers))


FORMATS: dict[str, Callable[[PointCloud], bytes]] = {"ply": encode_ply, "glb": encode_glb}


def _describe_primitive(first: int) -> dict[str, Any]:
    return {"attributes": {"POSITION": first, "COLOR_0": first + 1}, "mode": POINTS, "material": 0}


def _describe_accessor(view: int, part: PointCloud) -> dict[str, Any]:
    return {"bufferView": view, "componentType": FLOAT, "count": len(part), "type": "VEC3"}


def _make_linear(colours: np.ndarray) -> np.ndarray:
    """sRGB as linear light, float32 N x 3, 0..1; the curve of IEC 61966-2-1."""
    level = np.arange(256) / 255
    light = np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)
    return light.astype("<f4")[colours]


def _join_chunks(described: bytes, data: bytes) -> bytes:
    """A GLB file of the two; each chunk ends at a multiple of four bytes."""
    chunks = [(b"JSON", described + b" " * (-len(described) % 4))]
    if data:
        chunks.append((b"BIN\0", data + b"\0" * (-len(data) % 4)))
    body = b"".join(struct.pack("<I", len(content)) + kind + content for kind, content in chunks)
    return struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body
