"""Watches a training: averages its measures, looks at its fixed latents, raises alarms, tells viewer and records."""

from __future__ import annotations

import functools
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

import torch
from jaxtyping import Float
from nerfstudio.utils import writer
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor

from gan3d_ns.metrics.alarms import ALARM_NAMES, Alarm, Moment, alarms
from gan3d_ns.metrics.geometry_health import GeometryHealth, occupied_fraction
from gan3d_ns.metrics.picture_health import picture_health
from gan3d_ns.metrics.view_consistency import view_consistency
from gan3d_ns.model_components.latents import LatentSelection
from gan3d_ns.models.gan_model import GanModel
from gan3d_ns.viewer.health_panel import HealthPanel, HealthReport, write_report

if TYPE_CHECKING:
    from gan3d_ns.pipelines.gan_pipeline import GanPipeline

WINDOW_STEPS = 50
"""Steps that are averaged for the alarms."""
NUM_WINDOWS = 200
SECONDS_BETWEEN_REPORTS = 1.0
SPEED_SECONDS = 60.0
"""Steps a second are those of the last minute."""
PAUSE_SECONDS = 20.0
"""A longer time between two steps was a pause, and says nothing about the speed."""
SILENT_STEPS = 2000
"""An alarm that comes again within as many steps is not printed again."""


def never_fatal(method: Callable[..., None]) -> Callable[..., None]:
    """A fault in the report is told once and ends the reports, not the training."""

    @functools.wraps(method)
    def guarded(self: HealthMonitor, *arguments: Any) -> None:
        if self.faulty:
            return
        try:
            method(self, *arguments)
        except Exception as fault:
            self.faulty = True
            message = f"{type(fault).__name__}: {fault}"
            CONSOLE.print(f"The health report has failed ({message}); training goes on without it.", markup=False)

    return guarded


class HealthMonitor:
    """Told about every step, which costs less than a millisecond of CPU, and about every sample panel.

    Args:
        pipeline: what is trained; its ``health`` panel shows the reports.
        folder: of the run; the last report is kept there.
        end: step at which the training will be over.
        score: says how good the pictures are, in words.
    """

    def __init__(self, pipeline: GanPipeline, folder: Path, end: int, score: Callable[[], str] = lambda: "") -> None:
        self.pipeline, self.folder, self.end, self.score = pipeline, folder, end, score
        self.panel: HealthPanel = pipeline.health
        self.faulty = False
        self.announced: dict[str, int] = {}
        """Step at which an alarm was last heard, by its name."""
        self.pace: deque[tuple[float, int]] = deque()
        self.reported_at = 0.0
        self.restart()

    def restart(self) -> None:
        """Forgets what was seen of other weights."""
        self.steps: list[dict[str, Tensor]] = []
        self.windows: deque[Moment] = deque(maxlen=NUM_WINDOWS)
        self.looks: list[Moment] = []
        self.alarms: list[Alarm] = []
        self.pictures: Optional[Tensor] = None

    @never_fatal
    def after_step(self, step: int, measures: Mapping[str, Tensor]) -> None:
        """Takes in the terms and measures of a step; closes windows and reports when their time has come."""
        now = time.monotonic()
        if self.pace and now - self.pace[-1][0] > PAUSE_SECONDS:
            self.pace.clear()
        self.pace.append((now, step))
        while len(self.pace) > 2 and now - self.pace[0][0] > SPEED_SECONDS:
            self.pace.popleft()
        self.steps.append({name: value.detach() for name, value in measures.items()})
        if len(self.steps) >= WINDOW_STEPS:
            self.windows.append(Moment(step, averages(self.steps)))
            self.steps.clear()
            self.judge(step)
        if self.panel.open and now - self.reported_at >= SECONDS_BETWEEN_REPORTS:
            self.reported_at = now
            self.panel.show(self.report(step))

    @never_fatal
    def after_panel(
        self, step: int, panel: Float[Tensor, "height width 3"], health: GeometryHealth, num_yaws: int, front: int
    ) -> None:
        """Takes in a sample panel of the fixed latents and looks at their geometry.

        Args:
            panel: rows of colour, depth and normals, each at every yaw; a column for each object.
            num_yaws: rows of each kind.
            front: which of them is the frontal one.
        """
        if not self.looks or self.looks[-1].step < step:  # the last step of a training may be looked at twice
            self.look(step, panel, health, num_yaws)
        self.judge(step)
        report = self.report(step)
        try:
            write_report(self.folder, report, num_yaws, front)
        except OSError as error:
            CONSOLE.print(f"[bold red]the health report of step {step} could not be written ({error}).")
        if self.panel.open:
            self.panel.show(report)
            self.panel.show_samples((panel * 255).round().byte().cpu().numpy(), num_yaws, front, step)
        self.pipeline.prior_panel.refresh()

    def look(self, step: int, panel: Float[Tensor, "height width 3"], health: GeometryHealth, num_yaws: int) -> None:
        """Measures geometry and colours of the fixed latents."""
        side = panel.shape[0] // (3 * num_yaws)
        pictures = panel[: num_yaws * side].unflatten(0, (num_yaws, side)).unflatten(2, (-1, side))
        pictures = pictures.permute(2, 0, 1, 3, 4)
        colours = picture_health(pictures, self.pictures)
        self.pictures = pictures
        surfaces = {"occupied_fraction": self.occupied(len(pictures)), **self.close_views(len(pictures))}
        measures = {**vars(health), **surfaces, **vars(colours)}
        measures = {name: value for name, value in measures.items() if value is not None}
        self.looks.append(Moment(step, measures))
        if writer.is_initialized():
            writer.put_dict(name="Geometry", scalar_dict=measures, step=step)

    def occupied(self, num_objects: int) -> float:
        """Share of the box that the cameras see that lies inside matter, over the fixed latents."""
        model: GanModel = self.pipeline.model
        generator, box = model.generator_of(LatentSelection()), model.scene_box.aabb.to(model.device)
        randomness = torch.Generator(device=box.device).manual_seed(0)
        shares = []
        for seed in range(num_objects):
            styles = model.styles_of(LatentSelection(seed=seed))
            field = functools.partial(generator.field.geometry_logits, styles=styles)
            shares.append(occupied_fraction(field, generator.geometry.level, box, randomness))
        return sum(shares) / len(shares)

    def close_views(self, num_objects: int) -> dict[str, float]:
        """How two close views of each fixed latent agree around the prior's mean pose, see `view_consistency`.

        Mean difference of the colours that both see (nothing where no object shows any), and the mean share of them.
        """
        model: GanModel = self.pipeline.model
        generator, pose = model.generator_of(LatentSelection()), model.pose_prior.mean_pose(model.device)[None]
        found = [
            view_consistency(generator, model.styles_of(LatentSelection(seed=seed)), model.pose_prior, pose)
            for seed in range(num_objects)
        ]
        errors = torch.cat([entry.error for entry in found])
        measures = {"view_overlap": float(torch.cat([entry.share for entry in found]).mean())}
        return measures if errors.isnan().all() else {**measures, "view_error": float(errors.nanmean())}

    def judge(self, step: int) -> None:
        """Raises and drops alarms; new ones go to the terminal."""
        prior = self.pipeline.model.pose_prior.config
        self.alarms = alarms(list(self.windows), self.looks, prior.far - prior.near)
        active = {alarm.name for alarm in self.alarms}
        if writer.is_initialized():
            values = {name: float(name in active) for name in ALARM_NAMES}
            writer.put_dict(name="Alarms", scalar_dict=values, step=step)
        for alarm in self.alarms:
            if step - self.announced.get(alarm.name, -SILENT_STEPS) >= SILENT_STEPS:
                text = f"Step {step}: {alarm.sentence}"
                CONSOLE.print(text, style="bold yellow", markup=False, highlight=False, soft_wrap=True)
            self.announced[alarm.name] = step

    def steps_per_second(self) -> Optional[float]:
        """Over the last minute, with all that lies between the steps; None before that is known."""
        if len(self.pace) < 3:
            return None
        (first, start), (last, end) = self.pace[0], self.pace[-1]
        return (end - start) / (last - first) if last > first else None

    def report(self, step: int) -> HealthReport:
        """What is known now: the average since the last window, or that window's where there is more to it."""
        recent = averages(self.steps) if len(self.steps) >= 10 or not self.windows else {}
        window = dict(self.windows[-1].measures) if self.windows else {}
        look = self.looks[-1] if self.looks else None
        return HealthReport(
            step=step,
            end=self.end,
            steps_per_second=self.steps_per_second(),
            measures={**window, **recent, **(look.measures if look else {})},
            looked_at=look.step if look else None,
            alarms=tuple(alarm.sentence for alarm in self.alarms),
            score=self.score(),
        )


def averages(steps: list[dict[str, Tensor]]) -> dict[str, float]:
    """Means over the steps that have a measure: penalties come at intervals."""
    names = {name for step in steps for name in step}
    return {name: float(torch.stack([s[name].float().cpu() for s in steps if name in s]).mean()) for name in names}
