"""What each measurement is asked for: plain settings, read by command lines before anything heavy is loaded."""

from dataclasses import dataclass, field
from typing import Optional, Tuple

from gan3d_ns.errors import UserError

RELEASED_SAMPLES, RELEASED_TRUNCATION = 36, 0.7
"""Uniform samples of each ray and truncation by which GOF's release measures the variance of the depth."""
NEIGHBOURS = 3
"""k of precision and recall (Kynkäänniemi et al. 2019, section 3)."""
NEEDED = {"fid": 2, "kid": 4, "precision and recall": NEIGHBOURS + 1, "diversity": 2}
"""Fewest pictures of each kind. KID: two for each subset, and subsets that can differ."""
MOST_NEEDED = max(NEEDED.values())
NORM_GROUPS = 4
"""Of channels that the pose regressor normalises together."""

WITHOUT_TRUTH = ("pictures", "health", "compactness", "reprojection")
"""Measurements that any run allows."""
WITH_TRUTH = ("pose", "shapes", "surface")
"""Those that need a collection whose cameras and shapes are known."""
MEASURES = WITHOUT_TRUTH + WITH_TRUTH
MOST_SEEDS = 2**32
"""As many as numpy's generators know."""


def require_seed(seed: int) -> None:
    """Raise a UserError for a seed that not every random generator takes."""
    if not 0 <= seed < MOST_SEEDS:
        raise UserError(f"the seed is {seed}, but must lie between 0 and {MOST_SEEDS - 1}.")


@dataclass
class CompactnessConfig:
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
        require_seed(self.seed)
        if self.num_objects < 1 or self.resolution < 2 or self.num_samples < 3:
            raise UserError(
                f"the depth variance of {self.num_objects} objects at {self.resolution} pixels with {self.num_samples} "
                "samples says nothing; give at least 1, 2 and 3."
            )


@dataclass
class HealthConfig:
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
        require_seed(self.seed)
        if self.num_objects < 2 or self.resolution < 8:
            raise UserError(
                f"the health of {self.num_objects} objects at {self.resolution} pixels cannot be seen; give at least 2 "
                "and 8."
            )


@dataclass
class InversionConfig:
    """How the codes of pictures are searched for."""

    num_steps: int = 100
    """Steps of Adam."""
    learning_rate: float = 0.1
    """Adam's at the start, in standard deviations of the codes."""
    each_layer: bool = True
    """A code for each layer of the field; False: one for all, which can show less but stays among the objects that the
    generator has learnt."""
    num_candidates: int = 32
    """Random latents that the start is chosen from, besides the mean."""
    pull: float = 0.001
    """Weight of the pull towards the mean; raise it if surfaces become wild."""
    blurred_weight: float = 1.0
    """Weight of the blurred pictures' difference, which sees what lies some pixels beside its place."""
    stride: int = 2
    """Each step sees every so many pixels along rows and columns, in turn; 1: all of them."""
    pictures_at_once: int = 16
    """Pictures that are searched for together; lower it if memory runs out."""

    def __post_init__(self) -> None:
        if self.num_steps < 1 or self.stride < 1 or self.pictures_at_once < 1 or self.num_candidates < 0:
            raise UserError(
                f"an inversion needs at least 1 step, a stride of 1 and 1 picture at once, got {self.num_steps}, "
                f"{self.stride} and {self.pictures_at_once}, with {self.num_candidates} candidates."
            )
        if self.learning_rate <= 0 or self.pull < 0 or self.blurred_weight < 0:
            raise UserError(
                f"an inversion needs a positive learning rate and no negative weights, got {self.learning_rate}, "
                f"pull {self.pull} and blurred weight {self.blurred_weight}."
            )


@dataclass
class SurfaceConfig:
    """How generated surfaces are compared with true ones."""

    num_pictures: int = 16
    """Held-out pictures that are inverted."""
    resolution: int = 32
    """Side of all pictures in pixels; the time grows with its square."""
    novel_yaws_deg: Tuple[float, ...] = (30.0, 90.0)
    """Angles to either side from which novel views are compared."""
    inversion: InversionConfig = field(default_factory=InversionConfig)
    """How pictures are inverted."""
    seed: int = 0
    """Chooses the pictures, and the draws of the inversion."""

    def __post_init__(self) -> None:
        require_seed(self.seed)
        if self.num_pictures < 1 or self.resolution < 8:
            raise UserError(
                f"{self.num_pictures} pictures of {self.resolution} pixels cannot be inverted; ask for 1 or more, of 8 "
                "pixels or more a side."
            )


@dataclass
class PictureConfig:
    """How pictures are compared with real ones."""

    num_generated: int = 2048
    """Generated pictures, and real ones for the floor; at most half of the collection. FID falls with the number, so
    compare values of equal numbers only. Papers take 8,000 or 50,000."""
    num_real: Optional[int] = None
    """Real pictures to compare with; the default is as many as are generated."""
    resolution: Optional[int] = None
    """Side of the pictures in pixels; the default is what the training has come to. Below it the generator's pictures,
    of one ray for each pixel, are less smooth than reduced real ones, and its values worse."""
    features: str = ""
    """Feature network: inception, efficientnet-lite0 (from the extra eval-offline), another name of torch-fidelity, or
    a TorchScript file. The default is $GAN3D_FEATURES, or inception."""
    features_sha256: Optional[str] = None
    """What the hash of the network's weights must be, or its first characters."""
    truncation: float = 1.0
    """Of the latents' codes: smaller is nearer to the mean object, with better precision and worse recall."""
    raw_weights: bool = False
    """Measure the generator in training instead of its moving average."""
    seed: int = 0
    """Selects latents, poses, the real pictures and KID's subsets."""
    batch: int = 32
    """Pictures that go through the feature network at a time."""

    def __post_init__(self) -> None:
        require_seed(self.seed)
        if self.batch < 1:
            raise UserError(f"batch is {self.batch}, but must be at least 1 picture.")
        for name, count in (("num_generated", self.num_generated), ("num_real", self.num_real)):
            if count is not None and count < MOST_NEEDED:
                raise UserError(
                    f"{name} is {count}, but FID, KID, precision and recall need at least {MOST_NEEDED} pictures "
                    "(and mean something from some hundreds)."
                )


@dataclass
class ReprojectionConfig:
    """How the multi-view reprojection error is measured."""

    num_objects: int = 16
    """Random objects; the deviation is taken over them."""
    num_views: int = 5
    """Pictures of each object, uniformly spaced over the yaws of the pose prior."""
    resolution: int = 64
    """Side of the pictures in pixels."""
    mesh_resolution: int = 96
    """Cells on each axis of the marching cubes."""
    truncation: float = 0.7
    """Of the latents' codes."""
    raw_weights: bool = False
    """Measure the generator in training instead of its moving average."""
    seed: int = 0
    """Chooses the objects."""

    def __post_init__(self) -> None:
        """Refuses what cannot be measured.

        Raises:
            UserError: says which setting, and what it can be.
        """
        require_seed(self.seed)
        if self.num_objects < 2 or self.num_views < 2 or self.resolution < 8:
            raise UserError(
                f"a reprojection error of {self.num_objects} objects in {self.num_views} views of {self.resolution} "
                "pixels cannot be measured; give 2 or more objects and views, and 8 or more pixels."
            )


@dataclass
class ShapeSetsConfig:
    """How generated shapes are compared with true ones."""

    num_generated: int = 32
    """Random objects of the generator."""
    num_true: int = 32
    """True objects, the reference; as many others as are generated give the floor where there are enough."""
    points: int = 2048
    """Random points on each surface, uniform by area."""
    mesh_resolution: int = 96
    """Cells on each axis of the marching cubes."""
    truncation: float = 1.0
    """Of the latents' codes; less than 1 gives up coverage."""
    seen_only: bool = True
    """Only what a camera of the pose prior sees of a surface counts: no inner walls, no underside."""
    raw_weights: bool = False
    """Measure the generator in training instead of its moving average."""
    seed: int = 0
    """Chooses the objects, and the points on them."""

    def __post_init__(self) -> None:
        """Refuses what cannot be measured.

        Raises:
            UserError: says which setting, and what it can be.
        """
        require_seed(self.seed)
        if self.num_generated < 2 or self.num_true < 2:
            raise UserError(
                f"{self.num_generated} generated and {self.num_true} true shapes are no sets to compare; give 2 or "
                "more of each."
            )
        if self.points < 16:
            raise UserError(f"{self.points} points say nothing about a surface; give 16 or more, 2048 are usual.")


@dataclass
class PoseRegressorConfig:
    """How the network that estimates poses is taught."""

    steps: int = 2400
    """Optimizer steps. The default takes a minute on one CPU thread, once for each collection."""
    batch: int = 32
    """Pictures of a step."""
    channels: int = 24
    """Of the first layer; each of the two others has twice as many as the one before."""
    learning_rate: float = 3e-3
    """At its largest; it rises over a tenth of the steps and falls to nothing."""
    held_out: float = 0.15
    """Share of the pictures that the network never sees: its own error is measured on them."""
    seed: int = 0
    """Selects first weights, order, augmentation and the pictures that are held out."""

    def __post_init__(self) -> None:
        require_seed(self.seed)
        if not 0.0 < self.held_out < 1.0:
            raise UserError(f"held_out is {self.held_out}, but must lie between 0 and 1; 0.15 keeps a seventh back.")
        if min(self.steps, self.batch) < 1 or self.channels < 1 or self.channels % NORM_GROUPS:
            raise UserError(
                f"the pose regressor has {self.steps} steps, batch {self.batch} and {self.channels} channels; all "
                f"must be positive, and the channels a multiple of {NORM_GROUPS}."
            )


@dataclass
class PoseErrorConfig:
    """How poses of generated pictures are measured."""

    num_generated: int = 256
    """Random objects, each from a random pose of the model's prior."""
    resolution: int = 32
    """Side of the pictures in pixels; larger ones take the regressor longer to learn."""
    truncation: float = 1.0
    """Of the latents' codes."""
    raw_weights: bool = False
    """Measure the generator in training instead of its moving average."""
    seed: int = 0
    """Selects latents and poses."""
    regressor: PoseRegressorConfig = field(default_factory=PoseRegressorConfig)
    """The network that reads poses."""

    def __post_init__(self) -> None:
        require_seed(self.seed)
        if self.num_generated < 2:
            raise UserError(f"num_generated is {self.num_generated}; a pose error needs 2 pictures or more.")


@dataclass
class EvaluationConfig:
    """What each measurement is asked for."""

    pictures: PictureConfig = field(default_factory=PictureConfig)
    """FID, KID, precision, recall, diversity."""
    health: HealthConfig = field(default_factory=HealthConfig)
    """Which way surfaces face, how deep they are, how much is filled."""
    compactness: CompactnessConfig = field(default_factory=CompactnessConfig)
    """Depth variance of GOF."""
    reprojection: ReprojectionConfig = field(default_factory=ReprojectionConfig)
    """Reprojection error of VolumeGAN."""
    pose: PoseErrorConfig = field(default_factory=PoseErrorConfig)
    """Error of the poses that a regressor sees in the pictures."""
    shapes: ShapeSetsConfig = field(default_factory=ShapeSetsConfig)
    """Chamfer distance to true shapes, and how many of them are covered."""
    surface: SurfaceConfig = field(default_factory=SurfaceConfig)
    """Depth and normals against the truth, by inversion of held-out pictures."""
