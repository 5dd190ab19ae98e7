"""What each measurement is asked for: plain settings, read by command lines before anything heavy is loaded."""

from dataclasses import dataclass, field

from gan3d_ns.errors import UserError

RELEASED_SAMPLES, RELEASED_TRUNCATION = 36, 0.7
"""Uniform samples of each ray and truncation by which GOF's release measures the variance of the depth."""

WITHOUT_TRUTH = ("pictures", "health", "compactness", "reprojection")
"""Measurements that any run allows."""
WITH_TRUTH = ("pose", "shapes", "surface")
"""Those that need a collection whose cameras and shapes are known."""
MEASURES = WITHOUT_TRUTH + WITH_TRUTH


@dataclass
class CompactnessSettings:
    """How the depth variance is measured."""

    num_objects: int = 16
    """Objects, each in one picture from a random pose; published were 1,000."""
    resolution: int = 64
    """Side of the pictures in pixels; published were 128."""
    truncation: float = RELEASED_TRUNCATION
    """As published."""
    num_samples: int = RELEASED_SAMPLES
    """Uniform samples of each ray, as published."""
    seed: int = 0
    """Of the first object; the others have the seeds after it."""

    def __post_init__(self) -> None:
        if self.num_objects < 1 or self.resolution < 2 or self.num_samples < 3:
            raise UserError(
                f"the depth variance of {self.num_objects} objects at {self.resolution} pixels with {self.num_samples} "
                "samples says nothing; give at least 1, 2 and 3."
            )


@dataclass
class HealthSettings:
    """How the health of shapes is measured."""

    num_objects: int = 64
    """Objects, each seen from the prior's mean pose."""
    resolution: int = 32
    """Side of the pictures in pixels."""
    truncation: float = 1.0
    """1 is the full variety."""
    seed: int = 0
    """Of the objects."""

    def __post_init__(self) -> None:
        if self.num_objects < 2 or self.resolution < 8:
            raise UserError(
                f"the health of {self.num_objects} objects at {self.resolution} pixels cannot be seen; give at least 2 "
                "and 8."
            )


@dataclass
class EvaluationConfig:
    """What each measurement is asked for."""

    pictures: PictureSettings = field(default_factory=PictureSettings)
    """FID, KID, precision, recall, diversity."""
    health: HealthSettings = field(default_factory=HealthSettings)
    """Which way surfaces face, how deep they are, how much is filled."""
    compactness: CompactnessSettings = field(default_factory=CompactnessSettings)
    """Depth variance of GOF."""
    reprojection: ReprojectionSettings = field(default_factory=ReprojectionSettings)
    """Reprojection error of VolumeGAN."""
    pose: PoseSettings = field(default_factory=PoseSettings)
    """Error of the poses that a regressor sees in the pictures."""
    shapes: ShapeSettings = field(default_factory=ShapeSettings)
    """Chamfer distance to true shapes, and how many of them are covered."""
    surface: SurfaceSettings = field(default_factory=SurfaceSettings)
    """Depth and normals against the truth, by inversion of held-out pictures."""
