"""How an object becomes a mesh: the settings that command line and viewer share. Light to import."""

from dataclasses import dataclass
from typing import Literal, Optional, Union

from gan3d_ns.errors import UserError

TEXTURED_FACES = 20_000
"""Faces of a textured mesh unless others are asked for: the texture carries the detail, and laying 130,000 faces flat
takes a minute and a half where 20,000 take five seconds."""
FEWEST_TEXELS, MOST_TEXELS = 16, 8192
FEWEST_CELLS = 4


@dataclass
class MeshExportConfig:
    """How an object becomes a mesh."""

    format: Literal["glb", "ply", "obj"] = "glb"
    """File format. glb: one file for Blender, engines and browsers. obj: with its .mtl and .png. ply: vertex colours
    only."""
    resolution: int = 128
    """Cells on each axis of the box; time and faces grow with its square."""
    level: Optional[float] = None
    """Logit on the surface; lower it where an object has holes. Without it the level that training used."""
    largest_component: bool = False
    """Keep only the largest connected piece."""
    decimate: Optional[Union[int, float]] = None
    """Faces to keep: a number of them, or up to 1 a share. Without it all; with a texture at most 20,000."""
    texture: bool = False
    """A picture around the mesh in place of colours at its vertices: as sharp with few faces as with many."""
    texture_size: int = 1024
    """Pixels on each side of the texture."""
    num_views: int = 32
    """Cameras of the pose prior whose pictures give the colours; an even number."""
    view_resolution: int = 128
    """Pixels on each side of these pictures; raise it for generators that were trained on larger ones."""

    def check(self) -> None:
        """Refuses what cannot be, before any work.

        Raises:
            UserError: says which setting, and what it can be.
        """
        if self.resolution < FEWEST_CELLS:
            raise UserError(
                f"a mesh needs at least {FEWEST_CELLS} cells on each axis (got {self.resolution}); try 128 or 256."
            )
        if self.decimate is not None and not 0.0 < self.decimate < float("inf"):
            raise UserError(f"decimate is {self.decimate:g}; give a number of faces, or a share of them such as 0.25.")
        if self.decimate is not None and self.decimate > 1.0 and self.decimate != round(self.decimate):
            raise UserError(f"decimate is {self.decimate:g}; a number of faces is whole, a share of them at most 1.")
        if self.texture and self.format == "ply":
            raise UserError(
                "a .ply file carries vertex colours and no texture: leave out --texture, or write glb or obj."
            )
        if self.texture and not FEWEST_TEXELS <= self.texture_size <= MOST_TEXELS:
            raise UserError(f"texture_size is {self.texture_size}; give {FEWEST_TEXELS} to {MOST_TEXELS} pixels.")
        if self.num_views < 2 or self.num_views % 2 or self.view_resolution < 2:
            raise UserError(
                f"colours from {self.num_views} views of {self.view_resolution} pixels cannot be; give an even number "
                "of views, and 2 pixels at least."
            )
