"""What all generative methods share towards nerfstudio: viewer, ns-render and ns-export see one current object."""

import copy
import dataclasses
from dataclasses import dataclass
from typing import Any, Dict, List, Literal, Optional, Tuple, Type, Union

import torch
import tyro
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import OrientedBox
from nerfstudio.models.base_model import Model, ModelConfig
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor
from torch.nn import Parameter
from typing_extensions import Annotated

from gan3d_ns.cameras.camera_generator import CameraGeneratorConfig
from gan3d_ns.cameras.framing import framing_problem
from gan3d_ns.cameras.pose_prior import PosePrior, PosePriorConfig, poses_to_positions
from gan3d_ns.cameras.viewpoints import Viewpoints
from gan3d_ns.errors import UserError
from gan3d_ns.field_components.start_shape import StartShapeConfig
from gan3d_ns.fields.base_field import GenerativeField, Styles
from gan3d_ns.fields.composite_field import CompositeFieldConfig
from gan3d_ns.fields.decomposed_field import DecomposedFieldConfig
from gan3d_ns.fields.feature_volume_field import FeatureVolumeFieldConfig
from gan3d_ns.fields.film_siren_field import FilmSirenFieldConfig
from gan3d_ns.fields.hash_grid_field import HashGridFieldConfig
from gan3d_ns.fields.nerf_field import NerfFieldConfig
from gan3d_ns.fields.tri_plane_field import TriPlaneFieldConfig
from gan3d_ns.model_components.compositing import Background
from gan3d_ns.model_components.geometry import Density
from gan3d_ns.model_components.latents import LatentSelection, SavedLatent, described, encode_latent, fingerprint
from gan3d_ns.model_components.neural_renderers import NeuralRendererConfig
from gan3d_ns.model_components.occupancy_grids import (
    LatentGrid,
    LatentGridConfig,
    OccupancyGrid,
    PriorGrid,
    PriorGridConfig,
)
from gan3d_ns.model_components.ray_samplers import (
    RaySampler,
    SurfaceWindowSamplerConfig,
    VolumeSamplerConfig,
)
from gan3d_ns.models.camera_law import CameraLaw
from gan3d_ns.models.finished_picture import finished_picture
from gan3d_ns.models.generator import Generator
from gan3d_ns.models.latent_codes import latent_of_seed, layer_codes, saved_codes, selected_styles
from gan3d_ns.models.named_outputs import COLOUR_OUTPUTS, OUTPUT_NAMES, named_outputs
from gan3d_ns.models.ray_bounds import reached, seen_radius, with_near_and_far
from gan3d_ns.models.scene_panel import scene_controls
from gan3d_ns.models.shown_object import PseudoDistanceField, ShownObject
from gan3d_ns.viewer.camera_home import CameraHome, Home
from gan3d_ns.viewer.doorman import Doorman
from gan3d_ns.viewer.latent_controls import LatentControls
from gan3d_ns.viewer.render_guard import RenderGuard
from gan3d_ns.viewer.render_thread import open_background, viewer_of_this_thread, wanted_outputs


@dataclass
class GanModelConfig(ModelConfig):
    """A generator and how it is shown."""

    _target: Type = dataclasses.field(default_factory=lambda: GanModel)
    """target class to instantiate"""
    field: Literal["film-siren", "tri-plane", "hash", "nerf", "composite", "decomposed", "feature-volume"] = "tri-plane"
    """film-siren: GOF's sine network, slow and smooth. tri-plane: three feature planes, many times faster. hash: hash
    tables that all objects share, read by networks that the latent modulates. nerf: GRAF's network, whose latent
    separates shape and appearance. composite: GIRAFFE's scenes of several objects before a background.
    decomposed: CAMPARI's two networks, of the object and of what lies behind it. feature-volume: VolumeGAN's 3D
    convolutions and the network that reads them."""
    film_siren: FilmSirenFieldConfig = dataclasses.field(default_factory=FilmSirenFieldConfig)
    """Sizes of the film-siren field."""
    tri_plane: TriPlaneFieldConfig = dataclasses.field(default_factory=TriPlaneFieldConfig)
    """Sizes of the tri-plane field."""
    hash_grid: HashGridFieldConfig = dataclasses.field(default_factory=HashGridFieldConfig)
    """Sizes of the hash field."""
    nerf: NerfFieldConfig = dataclasses.field(default_factory=NerfFieldConfig)
    """Sizes of the nerf field."""
    decomposed: DecomposedFieldConfig = dataclasses.field(default_factory=DecomposedFieldConfig)
    """Sizes of the decomposed field."""
    composite: CompositeFieldConfig = dataclasses.field(default_factory=CompositeFieldConfig)
    """Objects, background and places of the composite field."""
    feature_volume: FeatureVolumeFieldConfig = dataclasses.field(default_factory=FeatureVolumeFieldConfig)
    """Sizes of the feature-volume field."""
    start_shape: StartShapeConfig = dataclasses.field(default_factory=StartShapeConfig)
    """Box and first surface of the tri-plane and hash fields, and of nerf and feature-volume where they ask for one;
    film-siren has its own."""
    geometry: Literal["occupancy", "density"] = "occupancy"
    """occupancy: GOF, a surface is searched for and sampled in a shrinking window. density: a radiance field as pi-GAN
    and GRAF, sampled over the whole ray. The field stays the same: this flag is GOF against pi-GAN."""
    sampler: SurfaceWindowSamplerConfig = dataclasses.field(default_factory=SurfaceWindowSamplerConfig)
    """GOF's search for the surface and the samples around it; for occupancy."""
    volume_sampler: VolumeSamplerConfig = dataclasses.field(default_factory=VolumeSamplerConfig)
    """Samples over the whole ray; for density."""
    density: Density = dataclasses.field(default_factory=Density)
    """How values are read as a density."""
    pose_prior: PosePriorConfig = dataclasses.field(default_factory=PosePriorConfig)
    """Where the cameras of the pictures stand."""
    camera_law: Annotated[Literal["given", "learned"], tyro.conf.arg(name="pose-prior")] = "given"
    """given: cameras stand as pose-prior says. learned: a small network moves them from there to where the pictures
    were really taken (CAMPARI)."""
    camera_generator: CameraGeneratorConfig = dataclasses.field(default_factory=CameraGeneratorConfig)
    """What a learned pose prior may change."""
    neural_renderer: NeuralRendererConfig = dataclasses.field(default_factory=NeuralRendererConfig)
    """The network that finishes pictures of features; of methods whose field gives these."""
    background: Background = "black"
    """What rays show that meet nothing: match your pictures. Black also suits photographs, whose background becomes
    part of the surface."""
    eval_background: Optional[Background] = None
    """Another background for what is shown and exported; last-sample closes photographs (pi-GAN). None: the same."""
    prior_grid: PriorGridConfig = dataclasses.field(default_factory=PriorGridConfig)
    """Skips space that no object fills, while training."""
    latent_grid: LatentGridConfig = dataclasses.field(default_factory=LatentGridConfig)
    """A lattice of the shown object: viewer, ns-render and ns-export become several times faster."""
    show_background: bool = True
    """Show what is behind the objects, of methods that tell the two apart (giraffe). Off, ns-export takes the objects
    alone, as `gan3d export` always does."""
    surface_only: bool = False
    """Show the colour of one query at the surface instead of the composited colour: faster, with harder edges."""
    seed: int = 0
    """Which object viewer, ns-render and ns-export show."""
    truncation: float = 0.7
    """How far objects may lie from the average one: 0 is the average, .7 is safe, 1 the full variety."""
    enable_collider: bool = False
    """Unused: near and far follow from the pose prior."""
    eval_num_rays_per_chunk: int = 8192
    """Rays rendered at once in viewer and exports; lower it if memory runs out."""
    method_name: tyro.conf.Suppress[str] = ""
    """The method that this model belongs to, for the files that are made with it; the trainer's config sets it."""
    sdf_field: bool = True
    """Tells ns-export that `marching-cubes` works; it reads the pseudo-distance of `GanModel.field`."""

    @property
    def finisher(self) -> Optional[NeuralRendererConfig]:
        """The neural renderer, where the field gives features; None where it gives colours."""
        widths = {"composite": self.composite.feature_dim, "feature-volume": self.feature_volume.feature_dim}
        return None if widths.get(self.field) is None else self.neural_renderer

    def __setstate__(self, state: Dict[str, Any]) -> None:
        """Reads a saved config: settings that it does not know keep their defaults.

        Those of the start shape were the tri-plane field's before other fields had one.
        """
        vars(self).update({**vars(type(self)()), **state})
        if "start_shape" not in state:
            known = {entry.name for entry in dataclasses.fields(StartShapeConfig)} - {"_target"}
            moved = {name: value for name, value in vars(self.tri_plane).items() if name in known}
            self.start_shape = dataclasses.replace(self.start_shape, **moved)


class GanModel(Model):
    """Holds the generator in training, its moving average, and the object that is shown.

    In evaluation mode and in the viewer the averaged generator is used.
    """

    config: GanModelConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def populate_modules(self) -> None:
        super().populate_modules()
        config = self.config
        self.cameras = CameraLaw(config.pose_prior)
        self.generator = self.build_generator()
        problem = framing_problem(config.pose_prior, self.generator.field.expected_half_sides)
        if problem is not None:
            CONSOLE.print(f"[bold yellow]Warning: {problem}", soft_wrap=True)
        self.bounds = reached(config.pose_prior, self.generator.camera_generator)
        """The prior whose near and far hold all that cameras can see."""
        self.generator_ema = copy.deepcopy(self.generator).requires_grad_(False)
        self.generator_ema.background = config.eval_background or config.background
        self.field = PseudoDistanceField(self)
        self.scene_controls = scene_controls(self.generator.field, config.show_background)
        self.latent = LatentControls(
            config.seed,
            config.truncation,
            self.generator.field.separates_appearance,
            self.generator.field.style_layers,
            encode=lambda selection: encode_latent(self.layer_codes(selection)[:, 0], self.provenance(selection)),
            check=self.accept,
            scene=self.scene_controls,
        )
        self.guard = RenderGuard()
        self.doorman = Doorman()
        self.camera_home = CameraHome(self.home)
        grid = config.prior_grid
        self.prior_grid: Optional[PriorGrid] = grid.setup(radius=self.seen_radius) if grid.enabled else None
        self.shown_selection: Optional[LatentSelection] = None
        """The object that is shown whatever the viewer's controls say."""
        self.level: Optional[float] = None
        """The value whose level set is shown as the surface; None: the surface that the sampler finds."""
        self.step = 0
        """Training steps behind the weights."""
        self._shown_object: Optional[ShownObject] = None
        self._in_frame = False

    def build_generator(self) -> Generator:
        """A generator with fresh random weights, as the config describes it."""
        config = self.config
        shape = {"start_shape": config.start_shape}
        chosen, settings = {
            "film-siren": (config.film_siren, {}),
            "tri-plane": (config.tri_plane, shape),
            "hash": (config.hash_grid, shape),
            "nerf": (config.nerf, shape),
            "decomposed": (config.decomposed, shape),
            "composite": (config.composite, {}),
            "feature-volume": (
                config.feature_volume,
                {**shape, "renderer_layers": config.neural_renderer.style_layers},
            ),
        }[config.field]
        generative_field: GenerativeField = chosen.setup(**settings)
        renderer = None if config.finisher is None else config.finisher.setup()
        moved = None
        if config.camera_law == "learned":
            moved = config.camera_generator.setup(prior=config.pose_prior)
        return Generator(generative_field, self.build_sampler(), config.background, renderer, moved)

    @property
    def pose_prior(self) -> PosePrior:
        """Where the cameras of the pictures stand: as configured, or about as they have been learnt."""
        return self.cameras.seen(self.generator_ema)

    def home(self) -> Home:
        """The middle of the training cameras."""
        prior = self.pose_prior
        x, y, z = poses_to_positions(prior.mean_pose(), prior.config.radius).tolist()
        return Home((x, y, z), prior.config.fov_deg)

    def sample_viewpoints(
        self, num: int, randomness: Optional[torch.Generator] = None, device: Union[torch.device, str] = "cpu"
    ) -> Viewpoints:
        """Random cameras of the averaged generator's pictures."""
        return self.cameras.sample(self.generator_ema, num, randomness, device)

    def build_sampler(self) -> RaySampler:
        """The sampler of the chosen geometry."""
        config = self.config
        if config.geometry == "occupancy":
            return config.sampler.setup()
        return config.volume_sampler.setup(geometry=config.density)

    def update_to_step(self, step: int) -> None:
        self.step = step

    def selection(self) -> LatentSelection:
        """The object that viewer, render and nerfstudio's exporters show."""
        return self.shown_selection or self.latent.selection()

    def generator_of(self, selection: LatentSelection) -> Generator:
        """The generator that makes an object: the moving average, unless the raw weights are asked for."""
        return self.generator if selection.raw_weights else self.generator_ema

    @property
    def shown_generator(self) -> Generator:
        """The generator of the object that is shown."""
        return self.generator_of(self.selection())

    def show_level(self, level: Optional[float]) -> None:
        """Shows another level set as the surface; None: the sampler's own."""
        self.level = level

    def still_copy(self) -> "GanModel":
        """The same weights showing the same object, for work that takes its time while training and viewer go on."""
        with torch.random.fork_rng():
            copied: GanModel = self.config.setup(scene_box=self.scene_box, num_train_data=self.num_train_data)
        copied.load_state_dict(self.state_dict())
        copied.shown_selection, copied.level, copied.step = self.selection(), self.level, self.step
        return copied.to(self.device).eval()

    def accept(self, saved: SavedLatent) -> str:
        """What there is to say of a saved latent before it is shown; empty where it is of these very weights.

        Raises:
            UserError: it belongs to another method, or to other sizes.
        """
        known, own = saved.metadata, self.config.method_name
        saved_codes(self.generator.field, saved)
        described(LatentSelection(saved=saved), ())  # refuses a scene that cannot be read
        if own and known.get("method", own) != own:
            raise UserError(f"the latent {saved.name} is of {known['method']}, this run of {own}; open it there.")
        weights = known.get("weights", "").rpartition(" ")[-1]
        if weights in {fingerprint(self.generator), fingerprint(self.generator_ema), ""}:
            return ""
        return f"It was saved from other weights (step {known.get('step')}) and will not look as it did."

    def provenance(self, selection: LatentSelection) -> Dict[str, str]:
        """Where an object comes from, for the files that it is written to."""
        generator, kind = self.generator_of(selection), "raw" if selection.raw_weights else "average"
        known = {"method": self.config.method_name, "step": str(self.step)}
        known["weights"] = f"{kind} {fingerprint(generator)}"
        return {**known, **described(selection, generator.field.style_layers)}

    def get_param_groups(self) -> Dict[str, List[Parameter]]:
        mapping = list(self.generator.field.mapping_network.parameters())  # pyright: ignore
        in_mapping = {id(parameter) for parameter in mapping}
        others = [entry for entry in self.generator.parameters() if id(entry) not in in_mapping]
        # A method without a mapping network has no such group: torch's optimizers refuse an empty one.
        return {"generator": others, **({"mapping": mapping} if mapping else {})}

    def latent_of_seed(self, seed: int, appearance_seed: Optional[int] = None) -> Float[Tensor, "1 latent"]:
        """See :func:`~gan3d_ns.models.latent_codes.latent_of_seed`."""
        return latent_of_seed(self.generator.field, seed, appearance_seed).to(self.device)

    def layer_codes(self, selection: LatentSelection) -> Float[Tensor, "layer 1 code"]:
        """See :func:`~gan3d_ns.models.latent_codes.layer_codes`."""
        return layer_codes(self.generator_of(selection), selection)

    def styles_of(self, selection: LatentSelection) -> Styles:
        """See :func:`~gan3d_ns.models.latent_codes.selected_styles`."""
        return selected_styles(self.generator_of(selection), selection)

    def shown_object(self) -> "ShownObject":
        """The object that the controls choose; kept until the controls, the weights or the device change."""
        selection = self.selection()
        tensors = self.generator_of(selection).state_dict(keep_vars=True).values()
        # torch counts the writes into each tensor; moving a module to a device exchanges its memory uncounted.
        key = (selection, *((tensor.data_ptr(), tensor._version) for tensor in tensors))
        if self._shown_object is None or self._shown_object.key != key:
            self._shown_object = ShownObject(key, self.generator_of(selection), self.styles_of(selection))
        return self._shown_object

    def current_styles(self) -> Styles:
        """Styles of the object that the controls choose."""
        return self.shown_object().styles

    def training_grid(self) -> Optional[PriorGrid]:
        """The prior grid once it has seen enough to be relied upon."""
        return self.prior_grid if self.prior_grid is not None and self.prior_grid.ready else None

    def latent_grid(self, shown: Optional[ShownObject] = None) -> LatentGrid:
        """The lattice of the shown object, made on first use."""
        shown, config = shown or self.shown_object(), self.config.latent_grid
        if shown.grid is None or shown.grid.config != config:
            field, styles = shown.generator.field, shown.styles
            shown.grid = LatentGrid(
                lambda positions: field.geometry_logits(positions, styles),
                shown.generator.geometry,
                self.seen_radius,
                config,
                self.device,
            )
        return shown.grid

    def viewing_grid(self, shown: Optional[ShownObject] = None) -> Optional[OccupancyGrid]:
        """The grid for the rays that are to be rendered: the latent grid as soon as it is made up for, else none.

        A new latent in a small picture, as while a slider moves, would cost more with a lattice than without.
        """
        shown, config = shown or self.shown_object(), self.config.latent_grid
        if config.enabled and shown.num_rays * shown.generator.sampler.num_queries > (config.resolution + 1) ** 3:
            return self.latent_grid(shown)
        return self.training_grid()

    @property
    def seen_radius(self) -> float:
        """See :func:`~gan3d_ns.models.ray_bounds.seen_radius`."""
        return seen_radius(self.bounds)

    def get_outputs(self, ray_bundle: RayBundle) -> Dict[str, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Outputs of the current object along flat rays: see ``OUTPUT_NAMES``; normals are n / 2 + 1/2."""
        if not self._in_frame:
            self.shown_object().num_rays += len(ray_bundle)
        rays, valid = with_near_and_far(self.bounds, ray_bundle.flatten())
        assert rays.fars is not None
        if valid.all():
            return {name: value[0] for name, value in self.named_outputs(rays.reshape((1, -1))).items()}
        colour = torch.full_like(rays.origins, self.shown_generator.background_grey)
        nothing = torch.zeros_like(rays.fars)
        black = torch.zeros_like(colour)
        blank = (colour, rays.fars, black, nothing, nothing, colour, black, nothing)
        outputs = {name: value.clone() for name, value in zip(OUTPUT_NAMES, blank, strict=True)}
        if valid.any():
            for name, value in self.named_outputs(rays[valid].reshape((1, -1))).items():
                outputs[name][valid] = value[0]
        return outputs

    def named_outputs(self, rays: RayBundle) -> Dict[str, Float[Tensor, "1 ray channel"]]:
        """What bounded rays see, see :func:`~gan3d_ns.models.named_outputs.named_outputs`."""
        # Asked once: a hand on the controls must not change the object in mid-picture.
        shown, config = self.shown_object(), self.config
        grid = self.viewing_grid(shown)
        return named_outputs(shown, rays, self.bounds, grid, config.surface_only, self.level)

    @torch.no_grad()
    def get_outputs_for_camera_ray_bundle(self, camera_ray_bundle: RayBundle) -> Dict[str, Tensor]:
        """As nerfstudio's; all chunks of a picture are rendered alike."""
        self.shown_object().num_rays += len(camera_ray_bundle)
        self._in_frame = True
        try:
            return super().get_outputs_for_camera_ray_bundle(camera_ray_bundle)
        finally:
            self._in_frame = False

    @torch.no_grad()
    def get_outputs_for_camera(self, camera: Cameras, obb_box: Optional[OrientedBox] = None) -> Dict[str, Tensor]:
        """As nerfstudio's; in a viewer a fault becomes a message in the panel, and frusta show beside the object."""
        parent = super().get_outputs_for_camera

        def render() -> Dict[str, Tensor]:
            outputs = parent(camera, obb_box)
            if "rgb" in wanted_outputs(OUTPUT_NAMES):
                chunk = self.config.eval_num_rays_per_chunk
                finished = finished_picture(
                    self.shown_object(), camera, self.pose_prior.config, self.bounds, obb_box, chunk
                )
                outputs["rgb"] = outputs["rgb"] if finished is None else finished
            if viewer_of_this_thread() is not None and "depth" not in wanted_outputs(OUTPUT_NAMES):
                outputs["depth"] = open_background(outputs["depth"], outputs["accumulation"])
            return outputs

        return self.guard(render, camera, OUTPUT_NAMES, COLOUR_OUTPUTS)

    def get_rgba_image(self, outputs: Dict[str, Tensor], output_name: str = "rgb") -> Tensor:
        """The colour with the accumulation as alpha."""
        return torch.cat((outputs[output_name], outputs["accumulation"]), dim=-1)

    def get_loss_dict(
        self, outputs: Any, batch: Any, metrics_dict: Optional[Dict[str, Tensor]] = None
    ) -> Dict[str, Tensor]:
        """Empty: a generator has no loss without a discriminator, see the pipeline."""
        return {}

    def get_image_metrics_and_images(
        self, outputs: Dict[str, Tensor], batch: Dict[str, Any]
    ) -> Tuple[Dict[str, float], Dict[str, Tensor]]:
        """The rendered image, and how much of it shows a surface; there is no true image to compare with."""
        return {"surface_hit": float(outputs["surface_hit"].mean())}, {"img": outputs["rgb"]}
