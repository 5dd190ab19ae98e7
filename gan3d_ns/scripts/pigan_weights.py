"""The weights that the pi-GAN release writes.

Its `train.py` saves `...generator.pth`, the network itself as a pickled object, and beside it `...ema.pth`, the moving
averages as GOF's. The networks of CelebA and cats (SPATIALSIRENBASELINE) and of CARLA (TALLSIREN) have the same
tensors.
"""

from __future__ import annotations

from gan3d_ns.fields.film_siren_field import translate_gof_name
from gan3d_ns.scripts.gof_weights import field_sizes
from gan3d_ns.scripts.weight_files import Release

PICKLED_CLASSES = (
    "generators.generators.ImplicitGenerator3d",
    "siren.siren.SPATIALSIRENBASELINE",
    "siren.siren.TALLSIREN",
    "siren.siren.CustomMappingNetwork",
    "siren.siren.FiLMLayer",
    "siren.siren.UniformBoxWarp",
    "torch.nn.modules.activation.LeakyReLU",
    "torch.nn.modules.activation.Sigmoid",
    "torch.nn.modules.container.ModuleList",
    "torch.nn.modules.container.Sequential",
    "torch.nn.modules.linear.Linear",
)
"""The classes of the objects in a generator.pth."""

PIGAN_RELEASE = Release(
    "pi-GAN", "generator.pth", "SPATIALSIRENBASELINE or TALLSIREN", field_sizes, translate_gof_name, PICKLED_CLASSES
)
