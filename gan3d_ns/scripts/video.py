"""`gan3d video`: films of a run's objects, for which the camera turns, the object changes, or both."""

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Dict, List, Literal, Optional, Tuple

from gan3d_ns.errors import UserError
from gan3d_ns.scripts.objects import ChosenObjects

if TYPE_CHECKING:
    from gan3d_ns.scripts.objects import NamedObject

SECONDS, SECONDS_EACH = 4.0, 2.0
MOST_OBJECTS = 8


@dataclass
class Video(ChosenObjects):
    """Write a film of objects of a run: .mp4, .webm or .gif. It is a loop: the last frame leads to the first.

    Several seeds stand side by side; with --interpolate each turns into the next one, and the last into the first.
    """

    camera: Optional[Literal["orbit", "front-sweep", "ellipse", "spiral", "still"]] = None
    """orbit: a full circle. front-sweep: there and back over the front. ellipse: around the front, up and down as well.
    spiral: turns twice while it rises and sinks again. Without it an orbit where the training pictures show their
    objects from all sides, else a front-sweep."""
    interpolate: bool = False
    """Let each object turn into the next one."""
    programme: Optional[
        Literal[
            "object-rotation",
            "object-translation",
            "object-depth",
            "object-circle",
            "shape",
            "appearance",
            "background",
            "add-objects",
        ]
    ] = None
    """Move the things of a scene (giraffe): one object turns, goes from side to side, forth and back or in a circle,
    or takes other shapes or appearances; the background changes; from one object to eight. The camera stands still
    unless --camera says otherwise."""
    object: int = 1
    """Which object the programme is about, counted from 1."""
    background: bool = True
    """--no-background shows the objects of a scene alone."""
    space: Literal["codes", "latents"] = "codes"
    """Where the way from object to object runs: between codes (styles), or between latents before the mapping."""
    curve: Literal["linear", "slerp"] = "linear"
    """The form of that way. slerp is an arc that keeps the length, of latents and of codes from the average code."""
    what: Tuple[Literal["rgb", "depth", "normals"], ...] = ("rgb",)
    """Side by side: colour, distance of the surface (near is white), world normals as n / 2 + 1/2."""
    output: Path = Path("video.mp4")
    """The file to write; its ending is the format."""
    seconds: Optional[float] = None
    """Length of the film: without it 4, with --interpolate 2 for each object."""
    fps: int = 30
    """Frames a second."""
    resolution: int = 256
    """Side of each picture in pixels."""
    fov_deg: Optional[float] = None
    """Field of view. Without it that of the training pictures, with some air where they show their objects from all
    sides."""
    turns: int = 1
    """How often the camera goes its way."""
    yaw_deg: Optional[float] = None
    """The middle of the camera's way (0 is the front); without it that of the training pictures."""
    elevation_deg: Optional[float] = None
    """The same for the height above the horizon."""
    columns: Optional[int] = None
    """How many objects stand side by side before a new row is begun; without it about a square."""

    def main(self) -> None:
        """Writes the film and says where it is.

        Raises:
            UserError: the run cannot be opened, there is nothing to film, or the file cannot be written.
        """
        num_frames = self.num_frames()

        from gan3d_ns.exporter.video_file import require_video_path

        require_video_path(self.output, self.fps)

        from nerfstudio.utils.rich_utils import CONSOLE
        from rich.progress import track

        from gan3d_ns.cameras.trajectories import suitable_programme, trajectory
        from gan3d_ns.engine.film import film, filming_fov_deg, journey, screen_for
        from gan3d_ns.engine.scene_films import composite_field_of, scene_reel, without_background
        from gan3d_ns.exporter.video_file import write_video

        run = self.open()
        prior, selections = run.model.pose_prior.config, [entry.selection for entry in run.objects]
        camera = self.camera or ("still" if self.programme else suitable_programme(prior))
        poses = trajectory(prior, camera, num_frames, self.turns, self.yaw_deg, self.elevation_deg)
        if not self.background:
            composite_field_of(run.model, "--no-background")
            selections = [without_background(selection) for selection in selections]
        reels = [[selection] * num_frames for selection in selections]
        if self.programme is not None:
            index = self.object - 1
            reels = [scene_reel(run.model, entry, self.programme, num_frames, index) for entry in selections]
        if self.interpolate:
            reels = [journey(selections, num_frames, self.space, self.curve)]
        screen = screen_for(len(reels), self.what, self.resolution, self.columns)
        fov_deg = filming_fov_deg(run.model) if self.fov_deg is None else self.fov_deg
        frames, start = film(run.model, reels, poses, fov_deg, screen), time.perf_counter()
        bar = track(frames, "filming", num_frames, console=CONSOLE, transient=True, disable=not CONSOLE.is_terminal)
        write_video(self.output, bar, self.fps, self.metadata(run.objects, camera))
        height, width = (side + side % 2 if self.output.suffix.lower() != ".gif" else side for side in screen.shape[:2])
        CONSOLE.print(
            f"{self.output}: {num_frames} frames of {width}x{height} pixels, {num_frames / self.fps:.3g} s, "
            f"{camera}{', interpolated' if self.interpolate else ''}"
            f"{f', {self.programme}' if self.programme else ''}, step {run.step}; "
            f"filmed in {time.perf_counter() - start:.1f} s",
            soft_wrap=True,
            markup=False,
        )

    def num_frames(self) -> int:
        """How many frames the settings ask for.

        Raises:
            UserError: none, or settings that show nothing or contradict each other.
        """
        seeds = self.seeds if self.seeds is not None else () if self.latents else (0,)
        count = len(seeds) + len(self.latents)
        if self.interpolate and count < 2:
            raise UserError(
                f"--interpolate wants at least two objects and got {count}; give --seeds 0 1, or more --latents."
            )
        if self.interpolate and self.space == "latents" and self.latents:
            raise UserError("saved latents hold codes: leave out --space latents, or film --seeds.")
        if self.programme is not None and (self.interpolate or not 1 <= self.object <= MOST_OBJECTS):
            raise UserError(
                f"--programme {self.programme} films one of the objects 1 to {MOST_OBJECTS} (--object {self.object}), "
                "and without --interpolate."
            )
        seconds = self.seconds
        if seconds is None:
            seconds = SECONDS_EACH * count if self.interpolate else SECONDS
        frames = round(seconds * self.fps) if math.isfinite(seconds) and self.fps > 0 else 0
        if frames < 1:
            raise UserError(f"{seconds:g} seconds at {self.fps} frames a second are no film; give more of them.")
        if not self.what or self.resolution < 2 or self.turns < 1 or (self.columns is not None and self.columns < 1):
            raise UserError(
                f"nothing to film: {len(self.what)} pictures of {self.resolution} pixels, {self.turns} turns, "
                f"{self.columns} columns; give at least 1, 2, 1 and 1."
            )
        return frames

    def metadata(self, objects: "List[NamedObject]", camera: str) -> Dict[str, str]:
        """What the file says of itself: where each object comes from, and how it was filmed."""
        facts: Dict[str, List[str]] = {}
        for entry in objects:
            for key, value in entry.metadata.items():
                values = facts.setdefault(key, [])
                values += [value] if value not in values else []
        joined = {key: ", ".join(values) for key, values in facts.items()}
        if self.interpolate:
            joined["interpolation"] = f"{self.curve} {self.space}"
        title = f"{joined.get('method', 'gan3d_ns')}: {', '.join(entry.name for entry in objects)}"
        programme = {"programme": self.programme} if self.programme else {}
        return {"title": title, **joined, "camera": camera, **programme}
