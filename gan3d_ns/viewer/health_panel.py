"""How a training goes, in the viewer's panel: progress, losses, geometry, samples of fixed latents, alarms in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

import numpy as np
from jaxtyping import UInt8
from nerfstudio.viewer.viewer_elements import ViewerControl
from PIL import Image

from gan3d_ns.field_types import wrong_fields
from gan3d_ns.viewer.panel_text import alarm, as_text, data_url, picture, small, table

if TYPE_CHECKING:
    from nerfstudio.viewer.viewer import Viewer

FOLDER = "Health"
FOLDER_OFFSET = 0.8
"""Places the folder below the object's, see ``latent_controls``."""
REPORT_NAME, PANEL_NAME = "health.json", "samples.png"
"""Files of a run's folder: the last report, and the panel that belongs to it."""
LARGEST_NUMBER = 1e18
"""A report with larger ones was not written by a training."""
PICTURE_WIDTH = 384
JPEG_QUALITY = 80


@dataclass(frozen=True)
class HealthReport:
    """What is known about a training at one moment."""

    step: int
    end: int
    """Step at which the training will be over."""
    steps_per_second: Optional[float] = None
    """Over the last minute; None before it is known, and for a training that is over."""
    measures: Mapping[str, float] = field(default_factory=dict)
    """Losses, scores and geometry by name, averaged over the last steps or taken at the last look at the pictures."""
    looked_at: Optional[int] = None
    """Step of that look."""
    alarms: tuple[str, ...] = ()
    """Sentences."""
    score: str = ""
    """The value that the best checkpoint is chosen by, in words; empty before it is known."""


def duration(seconds: float) -> str:
    """A time in the two largest units that matter."""
    minutes = round(seconds / 60.0)
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes < 48 * 60 else f"{round(minutes / 1440)} days"


def progress_words(report: HealthReport) -> str:
    """Step, speed and the time that is left."""
    if report.step + 1 >= report.end:
        return f"All **{report.end:,}** steps are done."
    words = f"**Step {report.step:,}** of {report.end:,}"
    if report.steps_per_second:
        left = duration((report.end - report.step - 1) / report.steps_per_second)
        words += "<br/>" + small(f"{report.steps_per_second:.3g} steps/s, {left} left")
    return words


def loss_rows(measures: Mapping[str, float]) -> list[tuple[str, str]]:
    """Losses and scores in words."""

    def both(name: str) -> str:
        return " / ".join(f"{measures[key]:.3f}" for key in (f"g_{name}", f"d_{name}") if key in measures)

    rows = [("Loss G / D", both("adversarial")), ("Pose G / D", both("pose"))]
    penalties = [measures[name] for name in ("d_r1", "d_r2") if name in measures]
    rows.append(("Penalties", f"{sum(penalties):.3g}" if penalties else ""))
    shape = [measures[name] for name in ("g_normal", "g_opacity", "g_coverage") if name in measures]
    rows.append(("Surface terms", f"{sum(shape):.3g}" if shape else ""))
    if "logit_gap" in measures:
        rows.append(("Logit gap", f"{measures['logit_gap']:.2f}"))
    if "told_apart" in measures:
        rows.append(("Told apart", f"{measures['told_apart']:.0%}"))
    return [(name, value) for name, value in rows if value]


def geometry_rows(measures: Mapping[str, float]) -> list[tuple[str, str]]:
    """Surfaces and pictures in words."""
    forms = {
        "hit_rate": ("Rays that hit", "{:.0%}"),
        "occupied_fraction": ("Space filled", "{:.0%}"),
        "relief": ("Bulge (convexity)", "{:+.4f}"),
        "hollow_fraction": ("Hollow objects", "{:.0%}"),
        "depth_spread": ("Depth spread", "{:.4f}"),
        "view_error": ("Views disagree by", "{:.3f}"),
        "variety": ("Variety of latents", "{:.3f}"),
    }
    return [(words, form.format(measures[name])) for name, (words, form) in forms.items() if name in measures]


def overview(
    panel: UInt8[np.ndarray, "height width 3"], num_yaws: int, front: int
) -> UInt8[np.ndarray, "smaller width 3"]:
    """The rows of a sample panel that a narrow place can show: colour from three yaws, frontal depth and normals.

    Args:
        panel: rows of colour, depth and normals, each at every yaw.
        num_yaws: rows of each kind.
        front: which of them is the frontal one.
    """
    rows = np.split(panel, 3 * num_yaws, axis=0)
    sides = [index for index in (0, num_yaws // 2, num_yaws - 1) if index != front]
    chosen = sorted({front, *sides[:2]})
    return np.concatenate([rows[index] for index in (*chosen, num_yaws + front, 2 * num_yaws + front)])


def picture_words(panel: UInt8[np.ndarray, "height width 3"], num_yaws: int, front: int, step: int) -> str:
    """The picture of the fixed latents with its caption, tens of kilobytes."""
    image = Image.fromarray(overview(panel, num_yaws, front))
    if image.width > PICTURE_WIDTH:
        image = image.resize((PICTURE_WIDTH, round(image.height * PICTURE_WIDTH / image.width)), Image.Resampling.BOX)
    caption = small(f"The same latents at step {step:,}: colours, depth, normals")
    return picture(data_url(image, "jpeg", JPEG_QUALITY), "Samples of fixed latents") + "\n\n" + caption


class HealthPanel(ViewerControl):
    """A folder that a training fills; for a run that is only looked at, it shows what the training last said.

    Any thread may call it. Without a viewer it does nothing.
    """

    def _setup(self, viewer: Viewer) -> None:
        super()._setup(viewer)
        gui, training = self.viser_server.gui, viewer.trainer is not None
        order = viewer.stats_markdown.order + FOLDER_OFFSET
        saved = None if training else read_report(viewer.log_filename.parent)
        if not training and saved is None:
            return
        with gui.add_folder(FOLDER, order=order, expand_by_default=training):
            self.progress = gui.add_progress_bar(0.0)
            self.words = gui.add_markdown("Waiting for the first steps.")
            self.alarms = gui.add_markdown("", visible=False)
            self.losses = gui.add_markdown("")
            self.geometry = gui.add_markdown(small("Pictures and geometry follow with the first samples."))
            self.samples = gui.add_markdown("")
        if saved is not None:
            report, settings = saved
            path = viewer.log_filename.parent / PANEL_NAME
            try:
                self.show(replace(report, steps_per_second=None))
                if path.is_file() and report.looked_at is not None:
                    self.show_samples(np.asarray(Image.open(path).convert("RGB")), step=report.looked_at, **settings)
            except Exception as fault:
                # Files of a run that was broken off, or changed: no reason not to look at the object.
                self.words.content = small(
                    as_text(f"The saved report cannot be shown: {type(fault).__name__}: {fault}")
                )

    @property
    def open(self) -> bool:
        """Whether there is a viewer to show anything."""
        return hasattr(self, "samples")

    def show(self, report: HealthReport) -> None:
        """Everything but the picture."""
        if not self.open:
            return
        self.progress.value = 100.0 * min(1.0, (report.step + 1) / max(1, report.end))
        self.words.content = progress_words(report)
        self.alarms.content = "\n\n".join(alarm(sentence) for sentence in report.alarms)
        self.alarms.visible = bool(report.alarms)
        self.losses.content = table(loss_rows(report.measures))
        if report.looked_at is not None:
            score = [("Score", report.score)] if report.score else []
            self.geometry.content = table(geometry_rows(report.measures) + score)

    def show_samples(self, panel: UInt8[np.ndarray, "height width 3"], num_yaws: int, front: int, step: int) -> None:
        """The fixed latents, see :func:`overview`."""
        if self.open:
            self.samples.content = picture_words(panel, num_yaws, front, step)


def write_report(folder: Path, report: HealthReport, num_yaws: int, front: int) -> None:
    """Keeps a report for those who open the run later.

    Raises:
        OSError: where that cannot be written.
    """
    content = {**vars(report), "panel": {"num_yaws": num_yaws, "front": front}}
    partial = folder / f"{REPORT_NAME}.partial"
    try:
        partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        partial.replace(folder / REPORT_NAME)
    finally:
        partial.unlink(missing_ok=True)


def read_report(folder: Path) -> Optional[tuple[HealthReport, dict[str, int]]]:
    """The report of a run's folder and the form of its panel; None where there is none that can be read."""
    try:
        content: dict[str, Any] = json.loads((folder / REPORT_NAME).read_text(encoding="utf-8"))
        settings = {name: int(number) for name, number in content.pop("panel").items()}
        report = HealthReport(**{**content, "alarms": tuple(content["alarms"])})
        # JSON knows whole numbers of any length, and Python's also infinity: neither could be shown.
        numbers = [report.step, report.end, *report.measures.values(), *settings.values()]
        showable = not wrong_fields(report) and {"num_yaws", "front"} <= settings.keys()
        showable = showable and all(abs(number) < LARGEST_NUMBER or number != number for number in numbers)
        showable = showable and (report.steps_per_second is None or 0 < report.steps_per_second < LARGEST_NUMBER)
        return (report, settings) if showable else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None
