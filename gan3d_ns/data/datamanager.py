"""Real pictures for training, and rays of the pose prior for everything in nerfstudio that asks for a ray batch."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Literal, Optional, Tuple, Type, Union

import numpy as np
import torch
from jaxtyping import Float
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManager, VanillaDataManagerConfig
from nerfstudio.data.datasets.base_dataset import InputDataset
from nerfstudio.data.utils.dataloaders import FixedIndicesEvalDataloader, RandIndicesEvalDataloader
from nerfstudio.model_components.ray_generators import RayGenerator
from torch import Tensor
from torch.nn import Parameter

from gan3d_ns.data.built_in import BuiltIn, built_in_folder
from gan3d_ns.data.data_order import epoch_flips, epoch_indices
from gan3d_ns.data.dataparsers import ImageCollectionDataParserConfig
from gan3d_ns.data.image_collection import ImageCollection, ImageCollectionConfig
from gan3d_ns.errors import UserError

PLACEHOLDER_GREY = 128


@dataclass
class GanDataManagerConfig(VanillaDataManagerConfig):
    """Pictures without poses."""

    _target: Type = field(default_factory=lambda: GanDataManager)
    """target class to instantiate"""
    dataparser: ImageCollectionDataParserConfig = field(  # pyright: ignore[reportIncompatibleVariableOverride]
        default_factory=ImageCollectionDataParserConfig
    )
    """The folder and its virtual views."""
    built_in: BuiltIn = "toy-cars"
    """The pictures of trainings without --data, made on the first use: a car in each, or two to four solids on a
    plane (scenes)."""
    collection: ImageCollectionConfig = field(default_factory=ImageCollectionConfig)
    """How pictures are cropped, resized and kept."""
    horizontal_flip: bool = True
    """Mirror half of the pictures: right for things that are as often seen from the left as from the right."""


class VirtualViewDataset(InputDataset):
    """The virtual cameras as nerfstudio's dataset. No picture belongs to such a camera, so each is plain grey."""

    def get_numpy_image(self, image_idx: int) -> np.ndarray:
        camera = self._dataparser_outputs.cameras[image_idx]
        height, width = int(camera.height), int(camera.width)  # pyright: ignore[reportArgumentType]
        return np.full((height, width, 3), PLACEHOLDER_GREY, dtype=np.uint8)


@dataclass
class RayBatchSize:
    """Stands where nerfstudio's exporters look for a pixel sampler: they set the number of rays in a batch."""

    num_rays_per_batch: int = 4096


class GanDataManager(VanillaDataManager[VirtualViewDataset]):
    """Serves batches of real pictures, and random rays of the virtual views.

    Pictures are read only where they are needed: for training. A viewer or an exporter opens a run without them.
    """

    config: GanDataManagerConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(
        self,
        config: GanDataManagerConfig,
        device: Union[torch.device, str] = "cpu",
        test_mode: Literal["test", "val", "inference"] = "val",
        world_size: int = 1,
        local_rank: int = 0,
        **kwargs: Any,
    ) -> None:
        self.collection: Optional[ImageCollection] = None
        self.rays_in_step = 0
        """Rays of the last training step, for nerfstudio's rays-per-second."""
        super().__init__(config, device, test_mode, world_size, local_rank, **kwargs)

    def load_collection(self, resolution: int) -> None:
        """Reads the pictures at the largest resolution that training will ask for.

        Raises:
            UserError: no folder, or too few usable pictures in it.
        """
        folder = self.config.dataparser.data
        if folder is None:
            folder = built_in_folder(self.config.built_in)
        self.collection = self.config.collection.setup(source=Path(folder), resolution=resolution)

    def real_batch(
        self, position: int, batch_size: int, resolution: int, seed: int
    ) -> Float[Tensor, "batch 3 resolution resolution"]:
        """The pictures at positions ``position ...`` of the seed's endless shuffled reading, in [-1, 1].

        Depends on the arguments alone, so that a resumed run sees what an uninterrupted one would.
        """
        if self.collection is None:
            raise UserError("no pictures were loaded: this run was opened for viewing; train it with ns-train.")
        size = len(self.collection)
        indices = epoch_indices(position, batch_size, size, seed)
        flips = epoch_flips(position, batch_size, size, seed) if self.config.horizontal_flip else None
        return self.collection.batch(indices, resolution, flips, device=self.device)

    def setup_train(self) -> None:
        self.train_pixel_sampler = RayBatchSize()  # pyright: ignore[reportAttributeAccessIssue]
        self.train_ray_generator = RayGenerator(self.train_dataset.cameras.to(self.device))

    def setup_eval(self) -> None:
        self.eval_pixel_sampler = RayBatchSize()  # pyright: ignore[reportAttributeAccessIssue]
        self.eval_ray_generator = RayGenerator(self.eval_dataset.cameras.to(self.device))
        self.fixed_indices_eval_dataloader = FixedIndicesEvalDataloader(
            input_dataset=self.eval_dataset, device=self.device, num_workers=0
        )
        self.eval_dataloader = RandIndicesEvalDataloader(
            input_dataset=self.eval_dataset, device=self.device, num_workers=0
        )

    def next_train(self, step: int) -> Tuple[RayBundle, Dict]:
        """Random rays of the virtual views, for nerfstudio's point cloud and Poisson exporters."""
        self.train_count += 1
        assert self.train_pixel_sampler is not None
        cameras = self.train_dataset.cameras
        count = self.train_pixel_sampler.num_rays_per_batch
        indices = torch.stack(
            (
                torch.randint(len(cameras), (count,)),
                torch.randint(int(cameras.height[0]), (count,)),
                torch.randint(int(cameras.width[0]), (count,)),
            ),
            dim=-1,
        )
        return self.train_ray_generator(indices), {"indices": indices}

    def next_eval(self, step: int) -> Tuple[RayBundle, Dict]:
        """As ``next_train``."""
        return self.next_train(step)

    def get_train_rays_per_batch(self) -> int:
        return self.rays_in_step

    def get_datapath(self) -> Path:
        return Path(self.config.dataparser.data or "built-in-collection")

    def get_param_groups(self) -> Dict[str, List[Parameter]]:
        return {}
