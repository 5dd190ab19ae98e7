"""The checkpoint with the best value of a metric, beside the latest: measured now and then while a training goes on."""

import copy
import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Literal, Optional

import torch
import yaml
from nerfstudio.engine.trainer import TrainerConfig
from nerfstudio.utils import writer
from nerfstudio.utils.decorators import check_main_thread
from nerfstudio.utils.rich_utils import CONSOLE

from gan3d_ns.data.image_collection import ImageCollection
from gan3d_ns.engine.checkpoint_files import PARTIAL_NAME, save_atomically
from gan3d_ns.engine.training_cost import TrainingCost
from gan3d_ns.errors import UserError
from gan3d_ns.exporter.writers import write_atomically
from gan3d_ns.metrics.records import Record, Value
from gan3d_ns.metrics.settings import PictureConfig
from gan3d_ns.metrics.sliced_wasserstein import RealPictures, SlicedWassersteinConfig, measure_sliced_wasserstein
from gan3d_ns.pipelines.gan_pipeline import GanPipeline

if TYPE_CHECKING:
    from gan3d_ns.metrics.feature_networks import FeatureNetwork

BEST_FOLDER = "best_models"
"""Of a run. Not nerfstudio_models, whose files nerfstudio takes the newest of."""
BEST_CONFIG, SCORES_NAME = "best.yml", "scores.json"
SCORES_FORMAT = 1


def refuse_best(config: TrainerConfig) -> None:
    """Refuses to train by the config of a best checkpoint, whose folder holds nothing but that.

    Raises:
        UserError: says how to go on instead.
    """
    if config.relative_model_dir == Path(BEST_FOLDER):
        raise UserError(
            f"{BEST_CONFIG} opens the best checkpoint for viewing, exporting and measuring, not for training; go on "
            f"from it with --load-dir {config.get_checkpoint_dir()} and without --load-config."
        )


@dataclass
class KeepBestConfig:
    """Which checkpoint is kept beside the latest."""

    metric: Literal["none", "swd", "fid", "kid"] = "swd"
    """swd: sliced Wasserstein distance of pictures and patches, which needs no network. fid, kid: of the features of a
    network, many times slower. none: keep only the latest."""
    interval: int = 1000
    """Steps between measurements; the last step is measured too."""
    num_pictures: int = 128
    """Generated pictures that are measured, and as many real ones. More give surer values and take longer; fid and kid
    want 1,000."""
    features: str = ""
    """Feature network of fid and kid: inception, efficientnet-lite0 (from the extra eval-offline), or a TorchScript
    file. The default is $GAN3D_FEATURES, or inception."""

    def __post_init__(self) -> None:
        if self.interval < 1 or self.num_pictures < 2:
            raise UserError(
                f"--keep-best.interval {self.interval} with --keep-best.num-pictures {self.num_pictures} measures "
                "nothing; give 1 step and 2 pictures at least, or --keep-best.metric none."
            )


@dataclass
class Score:
    """One measurement."""

    step: int
    metric: str
    value: float
    """Lower is better."""
    resolution: int
    """Side of the pictures; values of different ones are not compared."""
    start: int = 0
    """Step at which the weights were new."""
    wall_seconds: float = 0.0
    """Training time before the measured step, by the clock."""
    cpu_seconds: float = 0.0
    """The same of all CPU threads together."""
    kept: bool = False
    """Whether its checkpoint was written as the best so far."""
    protocol: Dict[str, Value] = field(default_factory=dict)
    """All that the value depends on."""

    def beats(self, best: Optional["Score"]) -> bool:
        """Whether this one is to be kept instead of the best so far.

        Larger pictures and new weights begin anew, and so does another way of measuring.
        """
        if not math.isfinite(self.value):
            return False
        if best is None or self.start != best.start:
            return True
        if self.resolution != best.resolution:
            return self.resolution > best.resolution
        if self.protocol != best.protocol or self.metric != best.metric:
            return True
        return self.value < best.value


class KeepBest:
    """Measures the averaged generator at intervals and writes its checkpoint when it is the best so far.

    Nothing here draws from the training's random numbers. Whatever fails is told, and the training goes on with the
    older best.

    Args:
        settings: what to measure, and when.
        config: of the training; a copy of it with another model folder opens the best checkpoint.

    Raises:
        UserError: the config is itself that of a best checkpoint.
    """

    def __init__(self, settings: KeepBestConfig, config: TrainerConfig) -> None:
        refuse_best(config)
        self.settings, self.folder = settings, config.get_base_dir()
        self.opening = copy.deepcopy(config)  # as config.yml has it: what is built from a config also writes into it
        self.opening.relative_model_dir = Path(BEST_FOLDER)
        # What the training was resumed from is not what is to be opened.
        self.opening.load_dir = self.opening.load_step = self.opening.load_checkpoint = None
        self.history: List[Score] = []
        self.faulty = False
        self.real: Optional[RealPictures] = None
        self.network: Optional["FeatureNetwork"] = None

    @property
    def best(self) -> Optional[Score]:
        """The measurement whose checkpoint is kept."""
        return next((score for score in reversed(self.history) if score.kept), None)

    def due(self, step: int, end: int, start: int = 0) -> bool:
        """Whether a training that ends before the step ``end`` is to be measured at this one.

        Weights that were replaced at this very step, the ``start`` of the new ones, have learnt nothing.
        """
        if self.settings.metric == "none" or self.faulty or step == start > 0:
            return False
        return step + 1 == end or (step > 0 and step % self.settings.interval == 0)

    def check(
        self,
        step: int,
        pipeline: GanPipeline,
        resolution: int,
        start: int,
        cost: TrainingCost,
        state: Callable[[int], Dict[str, Any]],
    ) -> None:
        """Measures, and keeps the checkpoint when it is the best so far.

        Args:
            step: the present one.
            pipeline: with the pictures that are trained on.
            resolution: side of the training's pictures now, in pixels.
            start: step at which the weights were new.
            cost: of the training so far.
            state: makes the checkpoint of a step.

        Raises:
            UserError: from making it, where the weights are spoilt.
        """
        try:
            record = self.measure(pipeline, resolution)
        except Exception as fault:
            self.faulty = True
            message = f"{type(fault).__name__}: {fault}"
            CONSOLE.print(
                f"The {self.settings.metric} of step {step} could not be measured ({message}); training goes on "
                "without keeping the best checkpoint.",
                markup=False,
            )
            return
        score = Score(
            step,
            record.metric,
            record.value,
            resolution,
            start,
            wall_seconds=cost.wall_seconds,
            cpu_seconds=cost.cpu_seconds,
            protocol=dict(record.protocol),
        )
        best = self.best
        self.history.append(score)
        if writer.is_initialized():
            writer.put_scalar(name=f"Scores/{score.metric}", scalar=score.value, step=step)
        if score.beats(best):
            score.kept = True  # in the checkpoint itself as well, which may be resumed from
            content = state(step)
            score.kept = self.publish(step, lambda path: save_atomically(content, path, self.folder / PARTIAL_NAME))
        self.write_scores()

    @check_main_thread
    def prepare(self, pipeline: GanPipeline) -> None:
        """Opens what the metric needs, before the training has taken any time.

        Raises:
            UserError: there is no such feature network, or there are too few pictures.
        """
        if self.settings.metric in ("fid", "kid"):
            from gan3d_ns.metrics.feature_networks import open_features
            from gan3d_ns.metrics.picture_quality import picture_counts

            with torch.random.fork_rng(devices=[]):  # networks are made with random weights, on the CPU
                self.network = open_features(self.settings.features, device=pipeline.device)
            picture_counts(len(self.collection_of(pipeline)), self.picture_settings())

    def measure(self, pipeline: GanPipeline, resolution: int) -> Record:
        """The chosen metric of the averaged generator, always of the same latents, poses and real pictures."""
        collection, chosen = self.collection_of(pipeline), self.settings.metric
        if self.network is not None:
            from gan3d_ns.metrics.picture_quality import measure_pictures

            records = measure_pictures(
                pipeline.model, collection, resolution, self.picture_settings(), network=self.network
            )
            return next(record for record in records if record.metric == chosen)
        if self.real is None or self.real.resolution != resolution:
            settings = SlicedWassersteinConfig(num_pictures=self.settings.num_pictures)
            self.real = RealPictures(collection, resolution, settings, floor=False)
        return measure_sliced_wasserstein(pipeline.model, self.real)[0]

    def picture_settings(self) -> PictureConfig:
        """How fid and kid compare pictures."""
        return PictureConfig(num_generated=self.settings.num_pictures, features=self.settings.features)

    @staticmethod
    def collection_of(pipeline: GanPipeline) -> ImageCollection:
        """The pictures that are trained on.

        Raises:
            UserError: none were loaded.
        """
        collection = pipeline.datamanager.collection
        if collection is None:
            raise UserError("no pictures were loaded: this run was opened for viewing; train it with ns-train.")
        return collection

    def publish(self, step: int, write: Callable[[Path], None]) -> bool:
        """Puts the checkpoint of a step in the place of the older best one; returns whether that worked."""
        path = self.checkpoint_path(step)
        try:
            write(path)
            self.write_config()
        except (OSError, UserError) as error:
            path.unlink(missing_ok=True)
            CONSOLE.print(
                f"The best checkpoint, of step {step}, could not be kept in {path.parent} ({error}); training goes on.",
                style="bold red",
                markup=False,
                soft_wrap=True,
            )
            return False
        for older in path.parent.glob("*.ckpt"):
            if older != path:
                older.unlink()
        return True

    def checkpoint_path(self, step: int) -> Path:
        """Where the best checkpoint lies when it is that of this step."""
        return self.folder / BEST_FOLDER / f"step-{step:09d}.ckpt"

    def write_config(self) -> None:
        """Writes what opens the best checkpoint.

        Raises:
            UserError: it cannot be written.
        """
        write_atomically(self.folder / BEST_CONFIG, yaml.dump(self.opening).encode("utf-8"))

    def write_scores(self) -> None:
        """Keeps the history for those who open the run."""
        best = self.best
        content = {
            "format": SCORES_FORMAT,
            "metric": self.settings.metric,
            "best_step": None if best is None else best.step,
            "scores": [
                {**asdict(score), "value": score.value if math.isfinite(score.value) else None}
                for score in self.history
            ],
        }
        try:
            write_atomically(self.folder / SCORES_NAME, (json.dumps(content, indent=1) + "\n").encode("utf-8"))
        except UserError as error:
            CONSOLE.print(f"The scores could not be kept: {error}.", style="bold red", markup=False, soft_wrap=True)

    def state(self) -> List[Dict[str, Any]]:
        """The history as plain numbers and words, for checkpoints."""
        return [asdict(score) for score in self.history]

    @check_main_thread
    def resume(self, history: Sequence[Mapping[str, Any]], checkpoint: Path) -> None:
        """Goes on with the history of a checkpoint, and takes its best checkpoint over from the earlier run's folder.

        Where that one is gone, the next measurement begins anew, and nothing opens as the best until then: what lies
        in the folder belongs to steps that were given up. Without a metric nothing is taken over.

        Raises:
            UserError: the folder cannot be written.
        """
        known = {entry.name for entry in fields(Score)}
        self.history = [Score(**{name: value for name, value in entry.items() if name in known}) for entry in history]
        best, measured = self.best, self.settings.metric != "none"
        if best is not None:
            path = self.checkpoint_path(best.step)
            source = checkpoint.parent.parent / BEST_FOLDER / path.name
            kept = path.is_file()
            if not kept and measured and source.is_file():
                kept = self.publish(best.step, lambda target: self.take_over(source, target))
            for score in self.history:
                score.kept = score.kept and kept
        if self.best is None:
            (self.folder / BEST_CONFIG).unlink(missing_ok=True)
        elif measured:
            self.write_config()
        if (self.history and measured) or (self.folder / SCORES_NAME).exists():
            self.write_scores()
        if not measured:
            self.history = []

    def take_over(self, source: Path, target: Path) -> None:
        """Copies a checkpoint, whole or not at all."""
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = self.folder / PARTIAL_NAME
        try:
            shutil.copyfile(source, scratch)
            scratch.replace(target)
        finally:
            scratch.unlink(missing_ok=True)

    def words(self) -> str:
        """The last value and the best one; empty before the first."""
        if not self.history:
            return ""
        last, best = self.history[-1], self.best
        words = f"{last.value:.4g} at step {last.step:,}"
        return words if best is None else f"{words}; best {best.value:.4g} at step {best.step:,}"

    def next_steps(self, step: int) -> List[str]:
        """What to say at the end of a training about a best checkpoint that is not the last."""
        best = self.best
        if best is None or best.step == step:
            return []
        config = self.folder / BEST_CONFIG
        return [f"The best:     step {best.step}, {best.metric} {best.value:.4g}: --load-config {config} opens it"]
