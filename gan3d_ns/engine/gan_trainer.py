"""Two phases a step inside nerfstudio's trainer: checkpoints, viewer, logging and resuming stay nerfstudio's."""

import copy
import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Dict, Literal, Tuple

import imageio.v3 as imageio
import torch
from nerfstudio.engine.optimizers import Optimizers
from nerfstudio.engine.trainer import Trainer
from nerfstudio.utils import writer
from nerfstudio.utils.decorators import check_main_thread
from nerfstudio.utils.misc import step_check
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor

from gan3d_ns.engine import stock_commands as stock_commands  # its sentences are wanted wherever a run is opened
from gan3d_ns.engine.adversarial_step import AdversarialStep, plan_of, step_randomness
from gan3d_ns.engine.checkpoint_files import (
    PARTIAL_NAME,
    checkpoint_in,
    checkpoint_state,
    read_checkpoint,
    require_fitting_moments,
    resuming_from,
    save_atomically,
)
from gan3d_ns.engine.event_writers import make_expendable
from gan3d_ns.engine.failures import Diverged, diverged, out_of_memory
from gan3d_ns.engine.health_report import HealthMonitor
from gan3d_ns.engine.keep_best import KeepBest
from gan3d_ns.engine.next_steps import next_steps
from gan3d_ns.engine.processes import Processes, only_compute, quiet_others, refuse_shares
from gan3d_ns.engine.sample_panel import front_row, sample_panel
from gan3d_ns.engine.schedules import stage_at
from gan3d_ns.engine.stopping import StopRequest
from gan3d_ns.engine.trainer_config import GanTrainerConfig
from gan3d_ns.engine.training_cost import TrainingCost
from gan3d_ns.errors import UserError, is_out_of_memory
from gan3d_ns.exporter.writers import write_atomically
from gan3d_ns.metrics.alarms import HOLLOW_MAJORITY, SMALLEST_HIT_RATE
from gan3d_ns.metrics.geometry_health import GeometryHealth
from gan3d_ns.pipelines.gan_pipeline import GanPipeline
from gan3d_ns.pipelines.step import StepPlan

PANEL_YAWS = 5
FIRST_PANEL = 100
"""Steps after the start that the first panel waits: so soon one sees whether things go well."""


class GanTrainer(Trainer):
    """Discriminator phase, generator phase, moving average; everything around them is nerfstudio's trainer."""

    config: GanTrainerConfig  # pyright: ignore[reportIncompatibleVariableOverride]
    pipeline: GanPipeline  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(self, config: GanTrainerConfig, local_rank: int = 0, world_size: int = 1) -> None:
        quiet_others()
        changed = config.resolve_preset()
        if changed:
            CONSOLE.print(f"Preset {config.base_preset} sets {', '.join(changed)}.")
            if (config.get_base_dir() / "config.yml").exists():
                config.save_config()
        config.validate_shown_sides()
        # Far from matter opacities fall below the normal range of floats, where CPUs compute many times more slowly.
        torch.set_flush_denormal(True)
        refuse_shares(config.curriculum, world_size)
        super().__init__(config, local_rank, world_size)
        self.processes = Processes(world_size, self.device)
        if not self.processes.first:
            only_compute(config)
        if config.mixed_precision and config.half_precision == "bfloat16":
            self.mixed_precision = True  # nerfstudio switches it off on CPUs, which know this type well enough
        self.reseeds = 0
        """How often the training has started over."""
        self.started_at = 0
        """Step at which the present weights were new: 0, or that of the last reseeding."""
        self.last_completed = -1
        """The newest step whose both phases are done."""
        self.last_saved = -1
        self.cost = TrainingCost()
        """What the steps so far have taken, those before a resume included."""
        self.best = KeepBest(config.keep_best, config)
        self.stopping = StopRequest(self.may_leave, self.go_on)

    def setup(self, test_mode: Literal["test", "val", "inference"] = "val") -> None:
        loading = self.config.load_dir or self.config.load_checkpoint
        if test_mode == "val" and loading is None and any(self.checkpoint_dir.glob("step-*.ckpt")):
            raise UserError(
                f"{self.checkpoint_dir} holds checkpoints of an earlier run, which a new start would replace. Go on "
                f"with --load-dir {self.checkpoint_dir} and without --load-config, or choose another --timestamp."
            )
        with self.closing_the_viewer_on_errors():
            super().setup(test_mode)
            make_expendable()
            # nerfstudio trains max_num_iterations more, but measures progress from step 0.
            end = self._start_step + self.config.max_num_iterations
            writer.GLOBAL_BUFFER["max_iter"] = end
            self.health = HealthMonitor(self.pipeline, self.base_dir, end, self.best.words)
            if test_mode == "val":
                self.pipeline.datamanager.load_collection(self.config.largest_resolution)
                self.best.prepare(self.pipeline)

    def train(self) -> None:
        with self.closing_the_viewer_on_errors(), self.stopping:
            try:
                super().train()
            except KeyboardInterrupt:
                self.stop_early()
            with suppress(KeyboardInterrupt):
                self.processes.wait()

    def may_leave(self) -> bool:
        """Whether this process may end on a signal; several agree on it at the end of a step."""
        return self.world_size == 1 or self.training_state == "completed"

    def go_on(self) -> None:
        """Ends a pause."""
        if self.training_state == "paused":
            self.training_state = "training"

    def stop_early(self) -> None:
        """After Ctrl-C or SIGTERM: saves what was learnt and says how to go on.

        Where a long step was cut short the weights may be one phase past the step that is written; resuming repeats
        that phase.
        """
        self.stopping.ending()
        running = self.training_state != "completed"
        saved = self.save_last_completed()
        if self.last_completed < self._start_step:
            CONSOLE.print("Stopped before the first step; nothing was trained.")
        elif running or saved:
            CONSOLE.print(f"Stopped after step {self.last_completed}.")
            self.print_next_steps()
        self.shutdown()

    def save_last_completed(self) -> bool:
        """Saves the newest whole step of a training that ends early, where it is not saved yet; returns whether."""
        if self.last_completed < self._start_step:
            return False
        self.step = self.last_completed
        if self.last_saved == self.step:
            return False
        self.save_checkpoint(self.step)
        return True

    def save_without_memory(self, error: BaseException) -> None:
        """Saves after an error for which there was too little memory, once what the step holds is freed."""
        traceback.clear_frames(error.__traceback__)
        self.optimizers.zero_grad_all()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        try:
            self.save_last_completed()
        except (RuntimeError, MemoryError, UserError) as second:
            CONSOLE.print(f"The last step could not be saved either ({second}).", style="bold red", markup=False)

    @contextmanager
    def closing_the_viewer_on_errors(self) -> Iterator[None]:
        """Stops the viewer when an error ends the training: its threads would keep the process alive for ever."""
        try:
            yield
        except KeyboardInterrupt:  # before the first step, while pictures are read
            self.shutdown()
            CONSOLE.print("\nStopped before the first step; nothing was trained.")
            raise SystemExit(128 + signal.SIGINT) from None
        except Exception:
            self.shutdown()
            raise

    def plan(self, step: int) -> StepPlan:
        """What the schedules say about a step."""
        return plan_of(self.config, step, self.started_at)

    def train_iteration(self, step: int) -> Tuple[Tensor, Dict[str, Tensor], Dict[str, Tensor]]:
        """One step, its time counted; returns the summed loss, all terms, and measures.

        Raises:
            KeyboardInterrupt: the end was asked for meanwhile; the step is done.
            UserError: the training has diverged, or the memory is too small.
        """
        try:
            with self.cost.counting():
                with self.stopping.whole_step():
                    terms, measures = self.adversarial_step(step).run()
                    self.last_completed = step
                if self.processes.any(self.stopping.by is not None):
                    raise KeyboardInterrupt
                self.after_step(step, {**terms, **measures})
        except Diverged as error:
            raise diverged(error.symptom, self.checkpoint_dir, error.advice) from None
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            self.save_without_memory(error)
            raise out_of_memory(error, step, self.config.curriculum, self.checkpoint_dir) from error
        return torch.stack(list(terms.values())).sum(), terms, measures

    def adversarial_step(self, step: int) -> AdversarialStep:
        """A step with what is trained now: a reseeding replaces the optimizers."""
        return AdversarialStep(
            self.config,
            self.pipeline,
            self.optimizers,
            self.grad_scaler,
            self.mixed_precision,
            self.stopping,
            step,
            self.started_at,
            self.processes,
        )

    def setup_optimizers(self) -> Optimizers:
        """The optimizers of new weights, which are those of the first process in all of them."""
        pipeline, processes = self.pipeline, self.processes
        pipeline.total = processes.total
        processes.share(pipeline)
        if not processes.first:  # nerfstudio's trainer lets every process write this file
            pipeline.datamanager.train_dataparser_outputs.save_dataparser_transform = lambda path: None
        return super().setup_optimizers()

    def after_step(self, step: int, measures: Dict[str, Tensor]) -> None:
        """Health, geometry check, best checkpoint and sample panel, at their intervals.

        By the first process: the others wait for it in the next step.
        """
        config = self.config
        if self.processes.first:
            self.health.after_step(step, measures)
        if config.hollow_check_step and step - self.started_at == config.hollow_check_step:
            self.check_outward_facing(step)
        if not self.processes.first:
            return
        if self.best.due(step, self.health.end, self.started_at):
            resolution = stage_at(config.curriculum, step).resolution
            self.best.check(step, self.pipeline, resolution, self.started_at, self.cost, self.whole_state)
        if step_check(step, config.steps_per_panel) or step - self._start_step == FIRST_PANEL:
            self.write_panel(step)

    def write_panel(self, step: int) -> Tuple[Path, GeometryHealth]:
        """Renders the sample panel into the run's folder and to the event writers."""
        model = self.pipeline.model
        self.update_truncation_centre()
        resolution = min(64, 2 * stage_at(self.config.curriculum, step).resolution)
        image, health = sample_panel(model, list(range(self.config.panel_objects)), 1.0, PANEL_YAWS, resolution)
        path = self.base_dir / "samples.png"
        try:
            pixels = (image * 255).round().to(torch.uint8).numpy()
            write_atomically(path, imageio.imwrite("<bytes>", pixels, extension=".png"))
        except UserError as error:
            CONSOLE.print(f"[bold red]the sample panel of step {step}: {error}.", soft_wrap=True)
        if writer.is_initialized():
            writer.put_image(name="Samples", image=image, step=step)
        self.health.after_panel(step, image, health, PANEL_YAWS, front_row(model.pose_prior.config, PANEL_YAWS))
        return path, health

    def update_truncation_centre(self) -> None:
        """Measures the mean code of the averaged generator, the centre of truncation."""
        model = self.pipeline.model
        generator = torch.Generator(device=self.pipeline.device).manual_seed(self.config.machine.seed)
        model.generator_ema.update_mean_code(generator)
        model.generator.mean_code.copy_(model.generator_ema.mean_code)

    def check_outward_facing(self, step: int) -> None:
        """Says whether surfaces bulge towards the camera; starts over with other weights if asked to."""
        hollow = self.processes.first and self.surfaces_are_hollow(step)
        if self.processes.first_says(hollow) and self.reseeds_left > 0:
            with self.stopping.changing():
                self.reseeds += 1
                self.reseed(step)

    @property
    def reseeds_left(self) -> int:
        """How often the training may still start over."""
        return max(0, self.config.hollow_reseeds - self.reseeds)

    def surfaces_are_hollow(self, step: int) -> bool:
        """Looks at some objects' surfaces and says what it has seen."""
        resolution = stage_at(self.config.curriculum, step).resolution
        _, health = sample_panel(self.pipeline.model, list(range(16)), 1.0, 3, resolution)
        if health.hit_rate < SMALLEST_HIT_RATE:
            CONSOLE.print(
                f"[bold yellow]Step {step}: only {health.hit_rate:.0%} of the rays meet a surface, too few to see "
                "which way it faces. Look at samples.png: the pose prior may not fit the pictures."
            )
            return False
        if health.hollow_fraction <= HOLLOW_MAJORITY:
            CONSOLE.print(
                f"Step {step}: surfaces face outwards, the middle is {health.relief:.4f} nearer than around it."
            )
            return False
        CONSOLE.print(
            f"[bold yellow]Step {step}: {health.hollow_fraction:.0%} of the surfaces are hollow (the middle lies "
            f"{-health.relief:.4f} deeper than around it). Another --machine.seed, or --hollow-reseeds 2, helps."
        )
        self.health.announced["hollow"] = step
        return True

    def reseed(self, step: int) -> None:
        """Fresh weights for generator, average and discriminator, and fresh optimizers.

        The step goes on, but geometry is held and the average warms up as at the start.
        """
        CONSOLE.print(f"Starting over with other weights ({self.reseeds_left} more tries).")
        pipeline, model = self.pipeline, self.pipeline.model
        centre = model.pose_prior.mean_pose()
        with torch.random.fork_rng(devices=[]):
            # As everything else a function of seed and step, so that a resumed run starts over as it would have.
            torch.manual_seed(step_randomness(self.config.machine.seed, -1 - step, "cpu").initial_seed())
            fresh = model.build_generator().to(pipeline.device)
            discriminator = pipeline.config.discriminator.setup(pose_centre=centre).to(pipeline.device)
        model.generator.load_state_dict(fresh.state_dict())
        model.generator_ema.load_state_dict(copy.deepcopy(fresh.state_dict()))
        if model.prior_grid is not None:
            model.prior_grid.reset()
        if pipeline.path_length is not None:
            pipeline.path_length.running_mean.zero_()
        pipeline.discriminator.load_state_dict(discriminator.state_dict())
        self.optimizers = self.setup_optimizers()
        self.started_at = step
        self.health.restart()

    def _load_checkpoint(self) -> None:
        config = self.config
        if config.load_dir is None and config.load_checkpoint is None:
            return
        found = None
        try:
            path = config.load_checkpoint or checkpoint_in(config.load_dir, config.load_step)  # pyright: ignore
            state = read_checkpoint(path)
            found = state["step"]
        finally:
            self.processes.go_on_from(found)
        self.pipeline.load_pipeline(state["pipeline"], state["step"])
        with resuming_from(path):
            self.optimizers.load_optimizers(state["optimizers"])
            require_fitting_moments(self.optimizers)
            if config.load_scheduler:
                self.optimizers.load_schedulers(state.get("schedulers", {}))
            if state.get("scalers"):  # empty where the run was trained without mixed precision
                self.grad_scaler.load_state_dict(state["scalers"])
            self.started_at = int(state.get("started_at", 0))
            self.reseeds = state.get("reseeds", 0)
            self.cost = TrainingCost(**state.get("cost", {}))
            self.best.resume(state.get("scores", []), path)
        self._start_step = state["step"] + 1
        CONSOLE.print(f"Going on at step {self._start_step} from {path}")

    def whole_state(self, step: int) -> Dict[str, Any]:
        """All that a checkpoint holds.

        Raises:
            UserError: the weights are spoilt.
        """
        spoilt = [name for name, entry in self.pipeline.named_parameters() if not bool(entry.isfinite().all())]
        if spoilt:
            symptom = f"{len(spoilt)} weights are not finite at step {step} (for example {spoilt[0]})"
            raise diverged(symptom, self.checkpoint_dir)
        self.update_truncation_centre()
        state = checkpoint_state(step, self.pipeline, self.optimizers, self.grad_scaler)
        return {
            **state,
            "started_at": self.started_at,
            "reseeds": self.reseeds,
            "cost": vars(self.cost).copy(),
            "scores": self.best.state(),
        }

    @check_main_thread
    def save_checkpoint(self, step: int) -> None:
        """Writes the checkpoint whole or not at all; older ones go only after that.

        Raises:
            UserError: the last checkpoint of a training cannot be written, or the weights are spoilt.
        """
        path, state = self.checkpoint_dir / f"step-{step:09d}.ckpt", self.whole_state(step)
        try:
            save_atomically(state, path, self.base_dir / PARTIAL_NAME)
        except OSError as error:
            message = f"the checkpoint of step {step} could not be written to {path.parent} ({error})"
            if self.training_state == "completed" or self.stopping.state == "ending":
                raise UserError(f"{message}; older checkpoints are untouched. Free some space and resume.") from error
            words = f"{message}; training goes on, older checkpoints are untouched."
            CONSOLE.print(words, style="bold red", markup=False, soft_wrap=True)
            return
        self.last_saved = step
        if self.config.save_only_latest_checkpoint:
            for older in self.checkpoint_dir.glob("*.ckpt"):
                if older != path:
                    older.unlink()

    def _train_complete_viewer(self) -> None:
        self.print_next_steps()
        if self.stopping.by is not None:  # noted since the last step
            raise KeyboardInterrupt
        super()._train_complete_viewer()

    def _after_train(self) -> None:
        super()._after_train()
        if self.config.viewer.quit_on_train_completion:
            self.print_next_steps()

    @check_main_thread
    def print_next_steps(self) -> None:
        """What was made, and the commands that continue from here."""
        panel, health = self.write_panel(self.step)
        lines = next_steps(self.config, panel, health, self.best.next_steps(self.step))
        CONSOLE.rule("What next")
        # Soft-wrapped: a command that the console breaks in two cannot be copied.
        CONSOLE.print("\n".join(lines), soft_wrap=True, markup=False, highlight=False)
