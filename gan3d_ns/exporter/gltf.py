"""Binary glTF 2.0 (Khronos Group, "glTF 2.0 Specification", 2021) of one mesh with vertex colours or a texture."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, UInt8, UInt16

from gan3d_ns.exporter.mesh import Mesh

_MAX_COLOUR16 = 65535
_FLOAT, _UNSIGNED_SHORT, _UNSIGNED_INT = 5126, 5123, 5125
_ARRAY_BUFFER, _ELEMENT_ARRAY_BUFFER = 34962, 34963
_LINEAR, _LINEAR_MIPMAP_LINEAR, _CLAMP_TO_EDGE = 9729, 9987, 33071
_ALIGNMENT = 4


def srgb_to_linear(colours: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Linear light of sRGB values in [0, 1] (IEC 61966-2-1)."""
    return np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)


def _linear_colours16(mesh_colours: Float32[np.ndarray, "vertex 3"]) -> UInt16[np.ndarray, "vertex 4"]:
    """Linear colours and alpha 1. 16 bits, since 8 linear bits show bands in the dark; alpha keeps 4-byte alignment."""
    linear = srgb_to_linear(np.clip(mesh_colours.astype(np.float64), 0.0, 1.0))
    opaque = np.concatenate([linear, np.ones((len(linear), 1))], axis=1)
    return np.round(opaque * _MAX_COLOUR16).astype(np.uint16)


def png_of(picture: UInt8[np.ndarray, "row column 3"]) -> bytes:
    """The content of a PNG file."""
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(picture).save(content, "PNG")
    return content.getvalue()


class _Buffer:
    """The binary chunk, and the JSON entries that describe its parts."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def add(self, content: bytes, **extra: Any) -> int:
        """Index of a new buffer view; each starts at a multiple of 4 bytes."""
        self.content.extend(bytes(-len(self.content) % _ALIGNMENT))
        self.views.append({"buffer": 0, "byteOffset": len(self.content), "byteLength": len(content), **extra})
        self.content.extend(content)
        return len(self.views) - 1

    def add_array(self, array: np.ndarray, component_type: int, kind: str, target: int, **extra: Any) -> int:
        """Index of a new accessor to an array in a view of its own."""
        view = self.add(array.tobytes(), target=target)
        self.accessors.append(
            {"bufferView": view, "componentType": component_type, "count": len(array), "type": kind, **extra}
        )
        return len(self.accessors) - 1


def encode_glb(mesh: Mesh, metadata: Mapping[str, str]) -> bytes:
    """The content of a .glb file: a JSON chunk that describes the accessors, then one buffer.

    The texture is the material's base colour, a PNG whose bytes are sRGB, as the specification wants; vertex colours
    are linear. The material is neither metal nor one-sided, which are glTF's defaults and black in most viewers.
    """
    buffer = _Buffer()
    positions = mesh.vertices.astype("<f4")
    bounds = {"min": positions.min(axis=0).tolist(), "max": positions.max(axis=0).tolist()}
    attributes = {"POSITION": buffer.add_array(positions, _FLOAT, "VEC3", _ARRAY_BUFFER, **bounds)}
    surface: dict[str, Any] = {"metallicFactor": 0.0, "roughnessFactor": 1.0}
    textures: dict[str, Any] = {}
    if mesh.normals is not None:
        attributes["NORMAL"] = buffer.add_array(mesh.normals.astype("<f4"), _FLOAT, "VEC3", _ARRAY_BUFFER)
    if mesh.uvs is not None and mesh.texture is not None:
        attributes["TEXCOORD_0"] = buffer.add_array(mesh.uvs.astype("<f4"), _FLOAT, "VEC2", _ARRAY_BUFFER)
        surface["baseColorTexture"] = {"index": 0}
        textures = {
            "textures": [{"source": 0, "sampler": 0}],
            "samplers": [
                {
                    "magFilter": _LINEAR,
                    "minFilter": _LINEAR_MIPMAP_LINEAR,
                    "wrapS": _CLAMP_TO_EDGE,
                    "wrapT": _CLAMP_TO_EDGE,
                }
            ],
            "images": [
                {"bufferView": buffer.add(png_of(mesh.texture)), "mimeType": "image/png", "name": "base colour"}
            ],
        }
    elif mesh.colours is not None:
        colours = _linear_colours16(mesh.colours).astype("<u2")
        attributes["COLOR_0"] = buffer.add_array(colours, _UNSIGNED_SHORT, "VEC4", _ARRAY_BUFFER, normalized=True)
    indices = buffer.add_array(mesh.faces.astype("<u4").ravel(), _UNSIGNED_INT, "SCALAR", _ELEMENT_ARRAY_BUFFER)
    buffer.content.extend(bytes(-len(buffer.content) % _ALIGNMENT))
    document = {
        "asset": {"version": "2.0", "generator": "gan3d_ns", **({"extras": dict(metadata)} if metadata else {})},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "object"}],
        "meshes": [{"name": "object", "primitives": [{"attributes": attributes, "indices": indices, "material": 0}]}],
        "materials": [
            {
                "name": "texture" if textures else "vertex colours",
                "pbrMetallicRoughness": surface,
                "doubleSided": True,
            }
        ],
        **textures,
        "accessors": buffer.accessors,
        "bufferViews": buffer.views,
        "buffers": [{"byteLength": len(buffer.content)}],
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    # Chunks end on 4 bytes; JSON is padded with spaces.
    text += b" " * (-len(text) % _ALIGNMENT)
    length = 12 + 8 + len(text) + 8 + len(buffer.content)
    return b"".join(
        [
            b"glTF" + np.array([2, length], dtype="<u4").tobytes(),
            np.array([len(text)], dtype="<u4").tobytes() + b"JSON" + text,
            np.array([len(buffer.content)], dtype="<u4").tobytes() + b"BIN\0" + bytes(buffer.content),
        ]
    )
