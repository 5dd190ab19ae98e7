"""3D-aware GANs as nerfstudio methods. Importing this package loads nothing heavy."""

from gan3d_ns import errors as errors

__version__ = "0.1.0"
