"""The laws of a prior's cameras and of its learned ones, beside that of the pictures where it is known."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np
import torch
from jaxtyping import Float

from gan3d_ns.cameras.camera_generator import CameraGenerator
from gan3d_ns.cameras.pose_prior import PosePrior, PosePriorConfig
from gan3d_ns.cameras.viewpoints import Viewpoints
from gan3d_ns.data.true_cameras import TrueCameras
from gan3d_ns.data.true_collection import TrueCollection

QUANTITIES = {
    "yaw": "yaw (degrees, 0 = front)",
    "elevation": "elevation (degrees, up)",
    "fov": "field of view across (degrees)",
    "fov_down": "field of view down (degrees)",
    "radius": "radius (world units)",
}
"""What is measured of a camera, and how pictures call it."""
ROUNDING = 1e-3
"""Quantities that differ by less are the same: a constant must not differ from itself by its rounding."""
TURN_STEP_DEG = 0.5
"""Steps in which the angle is looked for by which a generator has turned its objects."""
TURN_SAMPLES = 2000
"""Cameras of each law that look for it."""
PANEL_INCHES, DPI, BINS = (3.6, 2.8), 110, 60
COLOURS = {"prior": "C7", "learned": "C0", "truth": "C2"}

Law = Mapping[str, Float[np.ndarray, "view"]]
"""A value of each of the ``QUANTITIES`` for every camera."""


def law_of(viewpoints: Viewpoints, prior: PosePriorConfig) -> Law:
    """The quantities of cameras; the yaw in (-180, 180]. ``prior`` gives what the viewpoints leave open."""
    degrees = torch.rad2deg(viewpoints.poses.double())
    ones = torch.ones_like(degrees[:, 0])
    fov = torch.stack((prior.fov_deg * ones, prior.fov_deg * ones), dim=1)
    if viewpoints.tangents is not None:
        fov = torch.rad2deg(2.0 * torch.atan(viewpoints.tangents.double()))
    radii = prior.radius * ones if viewpoints.radii is None else viewpoints.radii.double()
    values = {
        "yaw": 180.0 - torch.remainder(270.0 - degrees[:, 1], 360.0),
        "elevation": 90.0 - degrees[:, 0],
        "fov": fov[:, 0],
        "fov_down": fov[:, 1],
        "radius": radii,
    }
    return {name: value.detach().cpu().numpy() for name, value in values.items()}


def true_law(truth: TrueCollection) -> Law:
    """The cameras that a collection's pictures were really taken with."""
    poses = torch.stack([truth.pose(index) for index in range(len(truth))])
    own = getattr(truth, "cameras", None)
    return law_of(Viewpoints(poses, own.radii if isinstance(own, TrueCameras) else None), truth.prior.config)


def sampled_laws(
    prior: PosePriorConfig, cameras: Optional[CameraGenerator], num: int, seed: int = 0
) -> tuple[Law, Optional[Law]]:
    """The law of a prior, and of what a camera generator makes of the same cameras; None without one."""
    randomness = torch.Generator().manual_seed(seed)
    viewpoints = PosePrior(prior).sample_viewpoints(num, randomness)
    if cameras is None:
        return law_of(viewpoints, prior), None
    with torch.no_grad():
        learned = cameras(viewpoints.to(cameras.released.device)).to("cpu")
    return law_of(viewpoints, prior), law_of(learned, prior)


def kolmogorov_smirnov(first: Float[np.ndarray, "one"], second: Float[np.ndarray, "other"]) -> float:
    """Largest difference of the two samples' distribution functions, 0 for the same law to 1 for laws far apart."""
    from scipy.stats import ks_2samp

    one, other = (np.round(values / ROUNDING) for values in (first, second))
    return float(ks_2samp(one, other).statistic)  # pyright: ignore[reportAttributeAccessIssue]


def wrapped(degrees: Float[np.ndarray, "*angles"], centre: float = 0.0) -> Float[np.ndarray, "*angles"]:
    """Angles in degrees, in [centre - 180, centre + 180)."""
    return centre + np.remainder(degrees - centre + 180.0, 360.0) - 180.0


def circular_mean(degrees: Float[np.ndarray, "angle"]) -> float:
    """Mean direction in degrees."""
    angles = np.deg2rad(degrees)
    return math.degrees(math.atan2(np.sin(angles).mean(), np.cos(angles).mean()))


def free_turn(yaw_deg: Float[np.ndarray, "one"], true_deg: Float[np.ndarray, "other"]) -> float:
    """The angle in degrees that, added to all yaws, brings their law closest to the truth's (smallest distance).

    Nothing tells a generator which side of its objects is the front: turned objects seen by cameras turned as far give
    the same pictures. The prior's law is given its best turn as well when the two are compared.
    """
    picks = np.random.default_rng(0)
    some, truth = (
        picks.choice(values, min(TURN_SAMPLES, len(values)), replace=False) for values in (yaw_deg, true_deg)
    )
    centre = circular_mean(truth)
    truth = np.sort(wrapped(truth, centre))
    shares = np.arange(1, len(truth) + 1) / len(truth)
    turns = np.arange(-180.0, 180.0, TURN_STEP_DEG)

    def distance(turn: float) -> float:
        turned = np.sort(wrapped(some + turn, centre))
        below = np.searchsorted(turned, truth, side="right") / len(turned)
        return float(max(np.abs(below - shares).max(), np.abs(below - shares + 1.0 / len(truth)).max()))

    distances = np.array([distance(turn) for turn in turns])
    # Of equally good turns the smallest.
    best = turns[distances <= distances.min() + 1e-9]
    return float(best[np.abs(best).argmin()])


@dataclass(frozen=True)
class LawSummary:
    """Moments of one quantity."""

    mean: float
    """Of the yaw the mean direction."""
    std: float
    minimum: float
    maximum: float


def summary(values: Float[np.ndarray, "view"], circular: bool = False) -> LawSummary:
    """The moments of a quantity; of angles around their mean direction."""
    if circular:
        values = wrapped(values, circular_mean(values))
        mean = circular_mean(values)
        return LawSummary(
            mean, float(np.sqrt(np.square(values - mean).mean())), float(values.min()), float(values.max())
        )
    return LawSummary(*(float(number) for number in (values.mean(), values.std(), values.min(), values.max())))


@dataclass(frozen=True)
class CameraLaws:
    """The laws of a run's cameras, and what can be said of them."""

    laws: Mapping[str, Law]
    """Of "prior", "learned" where cameras are learned, and "truth" where it is known."""
    turns_deg: Mapping[str, float]
    """By which angle each law's yaw is turned before it is compared with the truth's."""

    @property
    def quantities(self) -> tuple[str, ...]:
        """What is worth telling: the vertical field of view only where it differs from the other."""
        same = all(np.abs(law["fov"] - law["fov_down"]).max() < ROUNDING for law in self.laws.values())
        return tuple(name for name in QUANTITIES if not (same and name == "fov_down"))

    def turned(self, kind: str) -> Float[np.ndarray, "view"]:
        """A law's yaws after the free turn, in degrees around the truth's mean direction."""
        truth = self.laws.get("truth")
        centre = 0.0 if truth is None else circular_mean(truth["yaw"])
        return wrapped(self.laws[kind]["yaw"] + self.turns_deg.get(kind, 0.0), centre)

    def values(self, kind: str, quantity: str) -> Float[np.ndarray, "view"]:
        """A quantity as it is compared and shown."""
        return self.turned(kind) if quantity == "yaw" else self.laws[kind][quantity]

    def distances(self) -> dict[str, dict[str, float]]:
        """Kolmogorov-Smirnov distance to the truth of each quantity, of prior and learned law; empty without truth.

        The yaw is compared after the free turn; `yaw_unturned` is compared as it is.
        """
        if "truth" not in self.laws:
            return {}
        found: dict[str, dict[str, float]] = {}
        for quantity in self.quantities:
            found[quantity] = {
                kind: kolmogorov_smirnov(self.values(kind, quantity), self.values("truth", quantity))
                for kind in self.laws
                if kind != "truth"
            }
        centre = circular_mean(self.laws["truth"]["yaw"])
        found["yaw_unturned"] = {
            kind: kolmogorov_smirnov(wrapped(self.laws[kind]["yaw"], centre), self.turned("truth"))
            for kind in self.laws
            if kind != "truth"
        }
        return found

    def report(self) -> dict[str, Any]:
        """All numbers, for a JSON file."""
        return {
            "cameras": {kind: len(law["yaw"]) for kind, law in self.laws.items()},
            "laws": {
                quantity: {
                    kind: vars(summary(law[quantity], circular=quantity == "yaw")) for kind, law in self.laws.items()
                }
                for quantity in self.quantities
            },
            "yaw_turn_deg": dict(self.turns_deg),
            "kolmogorov_smirnov": self.distances(),
        }


def camera_laws(
    prior: PosePriorConfig,
    cameras: Optional[CameraGenerator],
    truth: Optional[TrueCollection],
    num: int = 20_000,
    seed: int = 0,
) -> CameraLaws:
    """The laws of a run's cameras.

    Args:
        prior: the run's pose prior.
        cameras: its camera generator, where cameras are learned.
        truth: the collection whose cameras are known.
        num: how many cameras are drawn of the prior.
        seed: of that draw.
    """
    given, learned = sampled_laws(prior, cameras, num, seed)
    laws: dict[str, Law] = {"prior": given}
    if learned is not None:
        laws["learned"] = learned
    turns = {}
    if truth is not None:
        laws["truth"] = true_law(truth)
        turns = {kind: free_turn(law["yaw"], laws["truth"]["yaw"]) for kind, law in laws.items() if kind != "truth"}
    return CameraLaws(laws, turns)


def camera_histogram(found: CameraLaws, title: str = "") -> bytes:
    """A PNG with a panel for each quantity: densities of prior, learned and true cameras over each other."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    quantities, distances = found.quantities, found.distances()
    width, height = PANEL_INCHES
    figure = Figure(figsize=(width * len(quantities), height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    for panel, quantity in zip(figure.subplots(1, len(quantities), squeeze=False)[0], quantities, strict=True):
        shown = {kind: found.values(kind, quantity) for kind in found.laws}
        low, high = (
            min(values.min() for values in shown.values()),
            max(values.max() for values in shown.values()),
        )
        margin = 0.02 * (high - low) if high - low > ROUNDING else 0.05 * max(abs(high), 1.0)
        edges = np.linspace(low - margin, high + margin, BINS + 1)
        for kind, values in shown.items():
            distance = distances.get(quantity, {}).get(kind)
            label = kind if distance is None else f"{kind} (KS {distance:.2f})"
            counts = np.histogram(values, bins=edges)[0] / len(values)
            panel.stairs(counts, edges, fill=True, alpha=0.35, color=COLOURS[kind], label=label)
            panel.stairs(counts, edges, color=COLOURS[kind], linewidth=1.0)
        turns = [f"{kind} {turn:+.1f}" for kind, turn in found.turns_deg.items()]
        panel.set_title(f"turned by {', '.join(turns)}" if quantity == "yaw" and turns else "", fontsize=7)
        panel.set_xlabel(QUANTITIES[quantity], fontsize=8)
        panel.set_yticks([])
        panel.legend(fontsize=7)
    if title:
        figure.suptitle(title, fontsize=9)
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()
