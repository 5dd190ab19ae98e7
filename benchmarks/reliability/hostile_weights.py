"""Hostile checkpoints, released weights and saved latents."""

import copy
import io
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any, Callable, Iterator

import numpy as np
import torch

from benchmarks.reliability.hostile_settings import quietly, small_config
from benchmarks.reliability.trials import Trial, damaged

STEP = 7


class Runs:
    """Makes a file when it is unpickled: what stands for any code.

    Args:
        mark: the file.
        call: by which function.
    """

    def __init__(self, mark: Path, call: str = "open") -> None:
        self.mark, self.call = mark, call

    def __reduce__(self) -> Any:
        calls: dict[str, Any] = {
            "open": (open, (str(self.mark), "w")),
            "exec": (exec, (f"open({str(self.mark)!r}, 'w')",)),
            "system": (os.system, (f"touch {self.mark}",)),
            "numpy": (np.savetxt, (str(self.mark), [1.0])),
            "torch": (torch.save, (1, str(self.mark))),
            "path": (Path.touch, (self.mark,)),
        }
        return calls[self.call]


CALLS = ("open", "exec", "system", "numpy", "torch", "path")


def whole_run(folder: Path) -> tuple[Any, dict[str, Any]]:
    """An untrained pipeline, and the checkpoint of it."""
    from nerfstudio.engine.optimizers import Optimizers
    from torch.amp.grad_scaler import GradScaler

    from gan3d_ns.engine.checkpoint_files import checkpoint_state

    torch.manual_seed(0)
    config = small_config(folder)
    pipeline = quietly(lambda: config.pipeline.setup(device="cpu", test_mode="inference"))
    optimizers = Optimizers(config.optimizers.copy(), pipeline.get_param_groups())
    return pipeline, checkpoint_state(STEP, pipeline, optimizers, GradScaler(device="cpu"))


def saved(state: Any, **options: Any) -> bytes:
    """The content of torch.save's file."""
    stream = io.BytesIO()
    torch.save(state, stream, **options)
    return stream.getvalue()


def hostile_checkpoints(
    folder: Path, count: int, randomness: np.random.Generator, mark: Path, num_keys: int = 1_000_000
) -> Iterator[Trial]:
    """Checkpoints that are damaged, foreign, spoilt, or pickles that would run code.

    Args:
        folder: to make.
        count: of damaged ones.
        randomness: of the damage.
        mark: a file that must not appear.
        num_keys: entries of the largest one.
    """
    from gan3d_ns.engine.checkpoint_files import checkpoint_in, read_checkpoint, steps_in

    folder.mkdir()
    pipeline, state = whole_run(folder)
    path = folder / f"step-{STEP:09d}.ckpt"

    def load() -> None:
        found = read_checkpoint(checkpoint_in(folder))
        pipeline.load_pipeline(found["pipeline"], found["step"])

    def trial(what: str, content: bytes) -> Trial:
        path.write_bytes(content)
        return what, lambda: quietly(load)

    whole = saved(state)
    yield trial("as it was written", whole)
    for what, other in foreign_states(state, mark, num_keys):
        yield trial(what, saved(other))
    for call in CALLS:
        harm = Runs(mark, call)
        yield trial(f"a pickle that calls {call}", saved(harm))
        yield trial(f"such a pickle as the step ({call})", saved({**state, "step": harm}))
        yield trial(f"such a pickle without an archive ({call})", pickle.dumps(harm))
        yield trial(f"such a pickle of torch before 1.6 ({call})", saved(harm, _use_new_zipfile_serialization=False))
    yield trial("the archive of torch before 1.6", saved(state, _use_new_zipfile_serialization=False))
    yield trial("an archive that packs", repacked(whole))
    yield trial("an archive that packs 300 MB", repacked(whole, bytes(300 << 20)))
    yield trial("an archive without entries", zip_of({}))
    yield trial("an archive of pictures", zip_of({"a.png": b"x"}))
    for number in range(count):
        if number % 2:
            what, content = damaged(whole, randomness)
        else:  # the pickle is a small part of the archive, and the one that matters
            what, content = damaged_pickle(whole, randomness)
        yield trial(what, content)
    path.write_bytes(whole)
    for name in (
        "step-abc.ckpt",
        "step-.ckpt",
        "step-9.ckpt",
        "step-99999999999999999999999.ckpt",
        "step-²²²²²²²²².ckpt",
    ):
        (folder / name).touch()
    yield "files that are named like checkpoints", lambda: (steps_in(folder), quietly(load))
    yield "no folder", lambda: steps_in(folder / "none")
    yield "a checkpoint as the folder", lambda: steps_in(path)
    yield "a folder as the checkpoint", lambda: read_checkpoint(folder)


def foreign_states(state: dict[str, Any], mark: Path, num_keys: int) -> Iterator[tuple[str, Any]]:
    """Contents that are no checkpoint of this run, though torch can read them."""
    weights = state["pipeline"]
    names = [name for name, value in weights.items() if value.is_floating_point() and value.dim() > 1]
    for value in (None, 3, "text", [], {}, torch.zeros(3), {"model": weights}, weights):
        yield f"{type(value).__name__} alone", value
    for key in state:
        for value in (None, -1, "text", [1], {1: 2}, {"a": torch.zeros(2)}, float("nan"), 10**30, torch.zeros(2), True):
            yield f"{key} is {type(value).__name__} {str(value)[:20]}", {**state, key: value}
        yield f"no {key}", {name: value for name, value in state.items() if name != key}
    for name in names[:: max(1, len(names) // 6)]:
        value = weights[name]
        others: dict[str, Callable[[], Any]] = {
            "NaN": lambda value=value: torch.full_like(value, float("nan")),
            "infinite": lambda value=value: torch.full_like(value, float("inf")),
            "whole numbers": lambda value=value: value.to(torch.int32),
            "half precision": lambda value=value: value.half(),
            "double precision": lambda value=value: value.double(),
            "complex": lambda value=value: value.to(torch.complex64),
            "logical": lambda value=value: value > 0,
            "another size": lambda value=value: torch.zeros(*value.shape[:-1], value.shape[-1] + 1),
            "flat": lambda value=value: value.flatten(),
            "one number": lambda: torch.tensor(1.0),
            "none": lambda: torch.zeros(0),
            "sparse": lambda value=value: value.to_sparse(),
            "without numbers": lambda value=value: value.to("meta"),
            "one number shown often": lambda: torch.zeros(1).expand(10**5, 10**6),
            "text": lambda: "text",
            "a list": lambda value=value: value.tolist(),
        }
        for what, make in others.items():
            yield f"{name} is {what}", {**state, "pipeline": {**weights, name: make()}}
        yield f"no {name}", {**state, "pipeline": {key: entry for key, entry in weights.items() if key != name}}
        yield f"{name} twice", {**state, "pipeline": {**weights, f"{name}.again": value}}
    yield "keys that are no words", {**state, "pipeline": {**weights, 3: torch.zeros(1)}}
    yield "names that would harm a terminal", {**state, "pipeline": {**weights, "\x1b[31m[red]\n": torch.zeros(1)}}
    many = torch.zeros(1)
    yield f"{num_keys} entries", {**state, "pipeline": {**weights, **{f"k{index}": many for index in range(num_keys)}}}
    yield "no discriminator", {**state, "pipeline": {key: entry for key, entry in weights.items() if "_model" in key}}


def damaged_pickle(whole: bytes, randomness: np.random.Generator) -> tuple[str, bytes]:
    """The checkpoint with damage in the pickle inside of the archive."""
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    name = next(name for name in entries if name.endswith("data.pkl"))
    what, entries[name] = damaged(entries[name], randomness)
    return f"data.pkl, {what}", zip_of(entries)


def zip_of(entries: dict[str, bytes], packing: int = zipfile.ZIP_STORED) -> bytes:
    """The content of an archive."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", packing) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return stream.getvalue()


def repacked(whole: bytes, first: bytes | None = None) -> bytes:
    """A checkpoint whose entries are compressed, the first tensor replaced by other bytes."""
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    if first is not None:
        entries[next(name for name in entries if "/data/" in name)] = first
    return zip_of(entries, zipfile.ZIP_DEFLATED)


def hostile_releases(folder: Path, count: int, randomness: np.random.Generator, mark: Path) -> Iterator[Trial]:
    """Weight files for the import commands that are damaged, foreign, or would run code."""
    from gan3d_ns.scripts.gof_weights import GOF_RELEASE
    from gan3d_ns.scripts.weight_files import averaged_state, generator_state

    folder.mkdir()
    path, average = folder / "generator.pth", folder / "ema.pth"
    whole = published_state()

    def load() -> None:
        generator_state(path, GOF_RELEASE)

    def load_average() -> None:
        averaged_state(whole, average, GOF_RELEASE)

    path.write_bytes(saved(whole))
    yield "as it was written", load
    average.write_bytes(saved({"shadow_params": list(whole.values())}))
    yield "averages as they were written", load_average
    others: dict[str, Any] = {f"a pickle ({call})": Runs(mark, call) for call in CALLS}
    others.update(
        {type(value).__name__: value for value in (None, 3, "x", [], {}, [1], torch.zeros(3), {1: 2}, {"a": "b"})}
    )
    first = next(iter(whole))
    for value in (
        torch.zeros(0),
        torch.zeros(2, 2, 2),
        torch.full_like(whole[first], float("nan")),
        whole[first].int(),
        3,
    ):
        others[f"{first} is {str(value)[:20]}"] = {**whole, first: value}
    for what, other in others.items():
        path.write_bytes(saved(other))
        yield what, load
        for content in (other, {"shadow_params": other}, {"shadow_params": [other] * len(whole)}):
            average.write_bytes(saved(content))
            yield f"averages: {what}", load_average
    content = saved(whole)
    for number in range(count):
        what, bad = damaged(content, randomness) if number % 2 else damaged_pickle(content, randomness)
        path.write_bytes(bad)
        yield what, load
    yield "no file", lambda: generator_state(folder / "none", GOF_RELEASE)
    yield "a folder", lambda: generator_state(folder, GOF_RELEASE)


def published_state() -> dict[str, torch.Tensor]:
    """A small state dict under the names of the GOF release."""
    from gan3d_ns.fields.film_siren_field import FilmSirenField, FilmSirenFieldConfig
    from gan3d_ns.scripts.gof_weights import GOF_RELEASE

    torch.manual_seed(0)
    own = FilmSirenField(FilmSirenFieldConfig(latent_dim=4, hidden_dim=8, num_layers=2)).state_dict()
    theirs = {
        "mapping_network.layers.": "siren.mapping_network.network.",
        "trunk.": "siren.network.",
        "geometry_head.": "siren.final_layer.",
        "colour_layer.": "siren.color_layer_sine.",
        "colour_head.": "siren.color_layer_linear.0.",
    }
    names = {
        name: begin
        + (
            name[len(ours) :]
            if ours in ("mapping_network.layers.", "geometry_head.")
            else name[len(ours) :].replace("linear.", "layer.")
        )
        for name in own
        for ours, begin in theirs.items()
        if name.startswith(ours)
    }
    return {
        names[name]: value.clone() for name, value in own.items() if GOF_RELEASE.translate(names.get(name, "")) == name
    }


def hostile_latents(folder: Path, count: int, randomness: np.random.Generator) -> Iterator[Trial]:
    """Latents that are damaged or hold other things, read from files and loaded through the viewer's button."""
    from safetensors.torch import save

    from gan3d_ns.model_components.latents import FILE_KIND, LatentSelection, encode_latent, read_latent
    from gan3d_ns.viewer.latent_files import LatentFiles

    folder.mkdir()
    config = small_config(folder)
    model = quietly(lambda: config.pipeline.setup(device="cpu", test_mode="inference")).model
    field = model.generator.field
    codes = torch.zeros(len(field.style_layers), field.code_dim)
    button = LatentFiles(lambda _: b"", model.accept, LatentSelection, lambda _: None)
    path = folder / "a.safetensors"

    def trial(what: str, content: bytes) -> Trial:
        path.write_bytes(content)

        def load() -> None:
            button.load("../../\x1b[31m[red]<b>\0.safetensors", content)
            quietly(lambda: model.accept(read_latent(path)))

        return what, load

    whole = encode_latent(codes, {"method": config.method_name, "seed": "3"})
    yield trial("as it was written", whole)
    contents: dict[str, Any] = {
        "whole numbers": codes.int(),
        "NaN": codes * float("nan"),
        "half precision": codes.half(),
        "double precision": codes.double(),
        "very large numbers": codes + 3e38,
        "too large numbers": codes.double() + 1e300,
        "logical": codes > 0,
        "float8": codes.to(torch.float8_e4m3fn),
        "one axis": codes.flatten(),
        "three axes": codes[None],
        "nothing": torch.zeros(0, 0),
        "one more": torch.zeros(codes.shape[0] + 1, codes.shape[1]),
        "complex": codes.to(torch.complex64),
    }
    for what, tensor in contents.items():
        yield trial(what, save({"codes": tensor.contiguous()}, {"kind": FILE_KIND}))
    for text in (
        "",
        "{",
        "[]",
        "3",
        "null",
        "[" * 100_000,
        '{"objects": 3}',
        '{"num_objects": 1e9}',
        "9" * 10_000,
        '{"objects": [{"size": NaN}]}',
        '{"seed": ' + "9" * 400 + "}",
        '{"objects": [' + "{}," * 70 + "{}]}",
        '{"a\\u001b[31m": 1}',
        '{"num_objects": {}}',
        '{"background_shape": {"seed": []}}',
    ):
        yield trial(f"the scene {text[:30]}", encode_latent(codes, {"scene": text}))
    for key in ("method", "step", "seed", "weights", "kind", "", "\x1b[2J", "<script>", "a" * 10_000):
        yield trial(f"{key[:20]!r} in the metadata", encode_latent(codes, {key: "\x1b[31m[red]{alert(1)}<b>" * 20}))
    for length in (0, 1, 7, len(whole), 10**8, 2**31, 2**63, 2**64 - 1):
        yield trial(f"a header of {length} bytes", struct.pack("<Q", length) + whole[8:])
    for metadata in (3, None, [], {"a": 3}, {"kind": None}, {"kind": {}}, "text"):
        yield trial(f"metadata {metadata}", with_header(whole, "__metadata__", metadata))
    for entry in (
        3,
        {},
        {"dtype": "F32"},
        {"dtype": "F32", "shape": [10**9, 10**9], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]},
        {"dtype": "X", "shape": [1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [0, 10**18], "data_offsets": [0, 0]},
    ):
        yield trial(f"codes are {str(entry)[:50]}", with_header(whole, "codes", entry))
    yield trial("deep lists in the header", struct.pack("<Q", 200_000) + b"[" * 200_000)
    yield trial("nothing", b"")
    yield trial("a checkpoint", saved({"a": 1}))
    for _ in range(count):
        yield trial(*damaged(whole, randomness))
    pipe = folder / "pipe.safetensors"
    if hasattr(os, "mkfifo"):
        os.mkfifo(pipe)
        yield "a pipe", lambda: read_latent(pipe)
        yield "a device", lambda: read_latent(Path("/dev/zero"))
    yield "a folder", lambda: read_latent(folder)
    yield "no file", lambda: read_latent(folder / "none")
    yield "a long name", lambda: read_latent(Path("x" * 5000))
    yield "a zero byte", lambda: read_latent(Path("a\0b"))


def with_header(whole: bytes, name: str, value: Any) -> bytes:
    """The file with another entry in its header."""
    length = int.from_bytes(whole[:8], "little")
    header = copy.deepcopy(json.loads(whole[8 : 8 + length]))
    header[name] = value
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + whole[8 + length :]
