"""Any folder of images as training data: squares of one size, in memory or in a decoded cache on disk."""

import hashlib
import json
import os
import shutil
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Callable, Iterable, Iterator, List, Literal, Optional, Sequence, Tuple, Type, Union

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from nerfstudio.configs.base_config import InstantiateConfig
from nerfstudio.utils.rich_utils import CONSOLE
from PIL import Image
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from gan3d_ns.data.cache import CACHE_VARIABLE, cache_root, publish_folder
from gan3d_ns.data.image_files import IMAGE_SUFFIXES, ImageReading, UnusableImage, list_image_files, read_image
from gan3d_ns.errors import UserError, printable, shown_path

BACKGROUNDS = {"white": (255, 255, 255), "black": (0, 0, 0), "grey": (128, 128, 128)}
"""Named backgrounds in RGB."""
CACHE_VERSION = 1
"""Part of the cache's key; raise it when the same file would give other pixels."""
SLOW_DECODING_SECONDS = 10.0
"""Collections that took longer to decode are kept in the cache even where they fit into memory."""
NUM_NAMED = 5
"""How many skipped files are printed by name."""
DECODING_WINDOW = 512
"""Images in flight between the decoding threads and the collection."""
DISK_RESERVE = 1 << 28
"""Bytes that the cache leaves free on its disk."""


@dataclass
class ImageCollectionConfig(InstantiateConfig):
    """How a folder of images becomes training data."""

    _target: Type = field(default_factory=lambda: ImageCollection)
    """target class to instantiate"""
    background: Union[Literal["white", "black", "grey"], Tuple[int, int, int]] = "white"
    """Colour behind transparent pixels: a name, or red green blue from 0 to 255. Renders of cut-out objects should use
    the background that the method renders."""
    crop: Literal["centre-square", "stretch"] = "centre-square"
    """centre-square cuts the middle out of pictures that are not square; stretch squeezes the whole picture in."""
    crop_size: Optional[int] = None
    """Side of the middle square in pixels of the files, where the subject fills only part of the picture; the default
    is the shorter side. GOF: 170 for BFM; 142 for aligned CelebA (178 x 218), as its resize to 320 and crop to 256."""
    min_images: int = 2
    """Fewest usable images to start with. A GAN wants hundreds; below two there is nothing to learn from."""
    memory_limit_mb: int = 2048
    """Decoded collections above this size are read from a cache file on disk instead of memory."""
    max_megapixels: float = 100.0
    """Larger pictures are skipped before they are decoded: they would fill the memory."""

    def __post_init__(self) -> None:
        rgb = self.background_rgb
        if any(not 0 <= value <= 255 for value in rgb):
            raise UserError(f"background is {rgb}, but its three values must lie between 0 and 255.")
        if self.crop_size is not None and self.crop == "stretch":
            raise UserError(f"crop_size {self.crop_size} has no meaning with crop stretch; remove one of the two.")
        if self.crop_size is not None and self.crop_size < 1:
            raise UserError(f"crop_size is {self.crop_size}, but must be at least 1 pixel.")
        if self.min_images < 2:
            raise UserError(f"min_images is {self.min_images}, but a GAN needs at least 2 images.")

    @property
    def background_rgb(self) -> Tuple[int, int, int]:
        """The background as red, green, blue from 0 to 255."""
        if isinstance(self.background, str):
            return BACKGROUNDS[self.background]
        red, green, blue = self.background
        return int(red), int(green), int(blue)


class ImageCollection:
    """All usable images of a folder as squares of one resolution.

    Args:
        config: how files become squares.
        source: a folder, searched in any depth, or a list of files.
        resolution: side of the stored squares in pixels; the largest that will be asked for.
        cache_folder: where a decoded cache may lie; the default is the user's cache folder.

    Raises:
        UserError: where the folder is missing, or holds too few usable images, or the cache has no room.
    """

    config: ImageCollectionConfig
    resolution: int
    """Side of the stored squares, in pixels."""
    paths: List[Path]
    """The usable files; image i comes from paths[i]."""
    skipped: List[Tuple[Path, str]]
    """The other files, each with the reason."""
    images: UInt8[Tensor, "image 3 row column"]
    """RGB bytes, row 0 on top; memory-mapped where the collection is large."""

    def __init__(
        self,
        config: ImageCollectionConfig,
        source: Union[Path, Sequence[Path]],
        resolution: int,
        cache_folder: Optional[Path] = None,
    ) -> None:
        if resolution < 1:
            raise UserError(f"resolution is {resolution}, but must be at least 1 pixel.")
        self.config = config
        self.resolution = resolution
        self.source = shown_path(source) if isinstance(source, Path) else f"the list of {len(source)} files"
        files = _files_of(source)
        root = source if isinstance(source, Path) else None
        reading = ImageReading(
            resolution=resolution,
            background=config.background_rgb,
            crop=config.crop,
            crop_size=config.crop_size,
            max_pixels=int(config.max_megapixels * 1e6),
        )
        num_bytes = len(files) * 3 * resolution**2
        large = num_bytes > config.memory_limit_mb * (1 << 20)
        target = (cache_folder or cache_root()) / "collections" / _cache_key(files, root, reading)
        if not _is_complete(target, resolution, len(files)):
            start = time.monotonic()
            if large:
                _check_room(target, num_bytes)
                publish_folder(
                    target,
                    lambda folder: self._decode_to_disk(folder, files, reading),
                    lambda folder: _is_complete(folder, resolution, len(files)),
                )
            else:
                self._decode_to_memory(files, reading)
                if time.monotonic() - start > SLOW_DECODING_SECONDS:
                    self._keep_for_next_time(target, files)
        if not hasattr(self, "images"):
            self._open_cache(target, files, large)
        self._report()

    def __len__(self) -> int:
        return len(self.paths)

    def batch(
        self,
        indices: Int64[Tensor, "batch"],
        resolution: Optional[int] = None,
        flip: Optional[Bool[Tensor, "batch"]] = None,
        device: Union[torch.device, str] = "cpu",
    ) -> Float[Tensor, "batch 3 row column"]:
        """Images as floats in [-1, 1], row 0 on top.

        Args:
            indices: which images.
            resolution: side of the result, at most the stored one (the default). Reduction is antialiased: the mean
                over each block where the sides divide, else an antialiased bilinear filter.
            flip: which images to mirror left to right; None: none.
            device: where the result lives; bytes travel there, floats are made there.

        Raises:
            ValueError: if `resolution` is larger than the stored one.
        """
        resolution = self.resolution if resolution is None else resolution
        if not 1 <= resolution <= self.resolution:
            raise ValueError(f"resolution {resolution} asked of images stored at {self.resolution}")
        images = self.images[indices.cpu()].to(device)
        if flip is not None:
            images = torch.where(flip.to(device)[:, None, None, None], images.flip(-1), images)
        floats = images.float().div_(127.5).sub_(1.0)
        if resolution == self.resolution:
            return floats
        if self.resolution % resolution == 0:
            return torch.nn.functional.avg_pool2d(floats, self.resolution // resolution)
        return torch.nn.functional.interpolate(floats, size=(resolution, resolution), mode="bilinear", antialias=True)

    def _decode_to_memory(self, files: List[Path], reading: ImageReading) -> None:
        images = torch.empty((len(files), 3, reading.resolution, reading.resolution), dtype=torch.uint8)
        pixels = images.numpy()

        def store(position: int, square: np.ndarray) -> None:
            pixels[position] = square

        kept, self.skipped = _decode(files, reading, store)
        self._require_enough(len(kept))
        self.paths = [files[index] for index in kept]
        # The copy frees the rows of skipped files.
        self.images = images if len(kept) == len(files) else images[: len(kept)].clone()

    def _decode_to_disk(self, folder: Path, files: List[Path], reading: ImageReading) -> None:
        with open(folder / "images.u8", "wb") as stream:
            kept, skipped = _decode(files, reading, lambda _, square: stream.write(square.tobytes()))
        self.skipped = skipped
        self._require_enough(len(kept))
        _write_index(folder, files, kept, skipped)

    def _keep_for_next_time(self, target: Path, files: List[Path]) -> None:
        def build(folder: Path) -> None:
            self.images.numpy().tofile(folder / "images.u8")
            numbers = {file: index for index, file in enumerate(files)}
            _write_index(folder, files, [numbers[path] for path in self.paths], self.skipped)

        try:
            publish_folder(target, build, lambda folder: _is_complete(folder, self.resolution, len(files)))
        except OSError as error:
            CONSOLE.print(
                f"[yellow]The decoded images were not kept in {escape(str(target))} ({escape(str(error))}); "
                f"the next start decodes them again. {CACHE_VARIABLE} moves the cache.[/yellow]"
            )

    def _open_cache(self, target: Path, files: List[Path], large: bool) -> None:
        kept, skipped = _read_index(target, len(files))
        self.paths = [files[number] for number in kept]
        self.skipped = [(files[number], reason) for number, reason in skipped]
        self._require_enough(len(self.paths))
        shape = (len(self.paths), 3, self.resolution, self.resolution)
        if large:
            # Copy-on-write, because PyTorch has no read-only tensors; nothing here writes.
            CONSOLE.print(f"Decoded images are read from {escape(str(target))}")
            pixels = np.memmap(target / "images.u8", dtype=np.uint8, mode="c", shape=shape)
        else:
            pixels = np.fromfile(target / "images.u8", dtype=np.uint8).reshape(shape)
        self.images = torch.from_numpy(pixels)

    def _require_enough(self, num_usable: int) -> None:
        if num_usable >= self.config.min_images:
            return
        reasons = f"; skipped: {_some_names(self.skipped)}" if self.skipped else ""
        raise UserError(
            f"{num_usable} usable image{'' if num_usable == 1 else 's'} in {self.source}, but training needs at least "
            f"{self.config.min_images} (and learns well from some hundreds){reasons}."
        )

    def _report(self) -> None:
        if self.skipped:
            CONSOLE.print(
                f"[yellow]Skipped {len(self.skipped)} of {len(self.skipped) + len(self)} files in "
                f"{escape(self.source)}: {escape(_some_names(self.skipped))}[/yellow]"
            )
        CONSOLE.print(
            f"{len(self)} images at {self.resolution} x {self.resolution} from {escape(self.source)} "
            f"({self.images.numel() / (1 << 20):.0f} MB)"
        )


def _files_of(source: Union[Path, Sequence[Path]]) -> List[Path]:
    if not isinstance(source, Path):
        return list(source)
    if not os.path.exists(source):
        raise UserError(f"{shown_path(source)} does not exist; give --data a folder of images.")
    if not source.is_dir():
        raise UserError(
            f"{shown_path(source)} is a file; give --data the folder that holds the images "
            f"({shown_path(source.parent)})."
        )
    files = list_image_files(source, _tell_of_folder)
    if not files:
        raise UserError(
            f"no images in {shown_path(source)} or its subfolders; files that end in {', '.join(IMAGE_SUFFIXES)} are "
            "looked for."
        )
    return files


def _tell_of_folder(error: OSError) -> None:
    CONSOLE.print(f"[yellow]A folder cannot be read: {escape(printable(str(error)))}[/yellow]")


def _decode(
    files: List[Path], reading: ImageReading, store: Callable[[int, UInt8[np.ndarray, "3 row column"]], object]
) -> Tuple[List[int], List[Tuple[Path, str]]]:
    """Decode in threads (Pillow works outside Python's lock) and hand the squares to `store` in the order of files.

    Returns the numbers of the usable files, and the other files with the reason.
    """

    def read(file: Path) -> Union[UInt8[np.ndarray, "3 row column"], str]:
        try:
            return read_image(file, reading)
        except UnusableImage as reason:
            return str(reason)

    kept: List[int] = []
    skipped: List[Tuple[Path, str]] = []
    columns = (TextColumn("Reading images"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with (
        warnings.catch_warnings(),
        ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool,
        Progress(*columns, console=CONSOLE, transient=True) as progress,
    ):
        # max_pixels rules; Pillow would warn, or with -W error stop, below it.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        task = progress.add_task("", total=len(files))
        number = 0
        for window in _windows(files, DECODING_WINDOW):
            for result in pool.map(read, window):
                if isinstance(result, str):
                    skipped.append((files[number], result))
                else:
                    store(len(kept), result)
                    kept.append(number)
                number += 1
            progress.update(task, completed=number)
    return kept, skipped


def _windows(files: Iterable[Path], size: int) -> Iterator[List[Path]]:
    iterator = iter(files)
    while window := list(islice(iterator, size)):
        yield window


def _cache_key(files: List[Path], root: Optional[Path], reading: ImageReading) -> str:
    """Hash of all that the decoded bytes depend on: names, sizes and times of the files, and the settings."""
    key = hashlib.blake2b(json.dumps([CACHE_VERSION, asdict(reading)]).encode(), digest_size=16)
    for file in files:
        try:
            status = os.stat(file)
            stamp = (status.st_size, status.st_mtime_ns)
        except OSError:
            stamp = (-1, -1)
        name = file.relative_to(root).as_posix() if root is not None else file.as_posix()
        key.update(f"{name}\0{stamp[0]}\0{stamp[1]}\n".encode("utf-8", "surrogateescape"))
    return key.hexdigest()


def _write_index(folder: Path, files: List[Path], kept: List[int], skipped: List[Tuple[Path, str]]) -> None:
    numbers = {file: index for index, file in enumerate(files)}
    index = {"kept": kept, "skipped": [(numbers[file], reason) for file, reason in skipped]}
    (folder / "index.json").write_text(json.dumps(index), encoding="utf-8")


def _read_index(folder: Path, num_files: int) -> Tuple[List[int], List[Tuple[int, str]]]:
    """The numbers of the files that a cache holds, and of the skipped ones with the reason.

    Raises:
        OSError, ValueError, KeyError, TypeError, RecursionError: it is missing or damaged.
    """
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    kept = [int(number) for number in index["kept"]]
    skipped = [(int(number), str(reason)) for number, reason in index["skipped"]]
    if sorted([*kept, *(number for number, _ in skipped)]) != list(range(num_files)):
        raise ValueError(f"it does not tell of each of {num_files} files")
    return kept, skipped


def _is_complete(target: Path, resolution: int, num_files: int) -> bool:
    try:
        kept, _ = _read_index(target, num_files)
        return (target / "images.u8").stat().st_size == len(kept) * 3 * resolution**2
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def _check_room(target: Path, num_bytes: int) -> None:
    parent = target.parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(parent).free
    except OSError as error:
        raise UserError(
            f"the cache folder {parent} cannot be written ({error}); set {CACHE_VARIABLE} to a folder with "
            f"{num_bytes / 1e9:.1f} GB of room, or raise memory_limit_mb."
        ) from error
    if free < num_bytes + DISK_RESERVE:
        raise UserError(
            f"the decoded images need {num_bytes / 1e9:.1f} GB in {parent}, which has {free / 1e9:.1f} GB left; set "
            f"{CACHE_VARIABLE} to a folder with more room, or raise memory_limit_mb if the memory allows."
        )


def _some_names(skipped: List[Tuple[Path, str]]) -> str:
    named = ", ".join(f"{shown_path(file.name)} ({printable(reason)})" for file, reason in skipped[:NUM_NAMED])
    return named if len(skipped) <= NUM_NAMED else f"{named} and {len(skipped) - NUM_NAMED} more"
