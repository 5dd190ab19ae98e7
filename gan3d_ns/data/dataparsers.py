"""`image-collection`: a folder of unposed pictures, seen by nerfstudio as virtual cameras drawn from a pose prior.

This module and the package imports stay free of datamanagers: nerfstudio imports dataparser plugins while it builds
its own.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import List, Optional, Type

import torch
from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.plugins.registry_dataparser import DataParserSpecification

from gan3d_ns.cameras.pose_prior import PosePriorConfig

VIEW_SEEDS = {"train": 0, "val": 1, "test": 2}


@dataclass
class ImageCollectionDataParserConfig(DataParserConfig):
    """Unposed pictures of one kind of thing; the cameras that nerfstudio sees are draws of the pose prior."""

    _target: Type = field(default_factory=lambda: ImageCollectionDataParser)
    """target class to instantiate"""
    data: Optional[Path] = None  # pyright: ignore[reportIncompatibleVariableOverride]
    """Folder of pictures, of any sizes and nested as you like. Without it built-in pictures are used."""
    num_virtual_views: int = 32
    """Cameras drawn from the pose prior: the views that ns-export fuses."""
    virtual_view_resolution: int = 128
    """Side of the virtual cameras' images, in pixels."""
    pose_prior: PosePriorConfig = field(default_factory=PosePriorConfig)
    """Where the cameras stand. The gan3d_ns methods put `--pipeline.model.pose-prior` here."""


@dataclass
class ImageCollectionDataParser(DataParser):
    """Virtual views of the pose prior; the pictures themselves are read by the datamanager, and only for training."""

    config: ImageCollectionDataParserConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs: object) -> DataparserOutputs:
        prior_config = self.config.pose_prior
        prior = prior_config.setup()
        randomness = torch.Generator().manual_seed(VIEW_SEEDS.get(split, 0))
        poses = prior.sample(self.config.num_virtual_views, randomness)
        half_side = max(prior_config.largest_radius - prior_config.near, prior_config.far - prior_config.largest_radius)
        names: List[Path] = [Path(f"virtual_view_{index:03d}.png") for index in range(len(poses))]
        return DataparserOutputs(
            image_filenames=names,
            cameras=prior.cameras(poses, self.config.virtual_view_resolution),
            scene_box=SceneBox(aabb=half_side * torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])),
            metadata={"poses": poses},
        )


image_collection_dataparser = DataParserSpecification(
    config=ImageCollectionDataParserConfig(),
    description="A folder of pictures of one kind of thing, without camera poses (gan3d_ns).",
)
