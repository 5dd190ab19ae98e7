"""Hostile settings and reports: config.yml, health.json, metrics.json, truth.npz and the index of a picture cache."""

import copy
import io
import json
import zipfile
from itertools import islice
from pathlib import Path
from typing import Any, Callable, Iterator, List

import numpy as np

from benchmarks.reliability.trials import Trial, damaged

SIDE = 16
FEWER = 5
"""Where little time is to be taken, one of so many is tried."""
METHOD = "gof-gan-tiny"
SCALARS = (
    *("text", "''", "null", "-1", "-5", "0", "3.7", "1e400", ".nan", "-.inf", "true", "yes", "{}", "[]", "2001-1-1"),
    *("0x7fffffffffffffff", "9" * 30, "1:30:00", "!!binary aGFsbG8=", "!!python/tuple []", "!!set {a, b}", "? a"),
    *('"\\0"', '"\\e[31m[red]"', "*missing", "&again x", "<<", "!unknown x", "- - -", ">-", "'", "%", "@x", "\u202e"),
)
"""What stands in place of a value."""
CODE = (
    "!!python/object/apply:os.system ['touch {mark}']",
    '!!python/object/apply:builtins.eval [\'open("{mark}", "w")\']',
    "!!python/object/apply:builtins.open ['{mark}', w]",
    "!!python/object/new:subprocess.Popen [['touch', '{mark}']]",
    "!!python/object/new:type {{args: [z, !!python/tuple [], {{extend: !!python/name:exec ''}}], listitems: x}}",
    "!!python/object:pathlib.Path {{}}",
    "!!python/object/apply:pathlib.Path.touch ['{mark}']",
    "!!python/object/apply:pathlib.PosixPath [!!python/object/apply:os.system ['touch {mark}']]",
    "!!python/object/apply:nerfstudio.utils.scripts.run_command ['touch {mark}']",
    "!!python/object/apply:gan3d_ns.exporter.writers.write_atomically ['{mark}', !!binary eA==]",
    "!!python/name:os.system ''",
    "!!python/name:nerfstudio.utils.scripts.run_command ''",
    "!!python/name:torch.optim.os.system ''",
    "!!python/module:antigravity ''",
    "!!python/module:gan3d_ns.scripts.main ''",
    "!!python/object:gan3d_ns.models.gan_model.GanModel {{}}",
    "!!python/object:gan3d_ns.data.cache.shutil {{}}",
    "!!python/object:gan3d_ns.exporter.mesh.Mesh {{vertices: 1}}",
    "!!python/object:nerfstudio.engine.trainer.TrainerConfig {{}}",
    "!!python/object:gan3d_ns.engine.gone.RemovedConfig {{}}",
    "!!python/object:gan3d_ns.pipelines.gan_pipeline.GanPipelineConfig {{}}",
    "!!python/object/apply:nerfstudio.utils.writer.EventName [none]",
    "!!python/tuple {{a: 1}}",
    "!!python/long 5",
    "!!python/bytes aGFsbG8=",
)
"""Values that name code; {mark} is a file that must not appear."""


def small_config(output: Path) -> Any:
    """A method's settings, for pictures of 16 x 16 on a CPU."""
    from nerfstudio.configs.method_configs import all_methods

    from gan3d_ns.engine.schedules import CurriculumStage

    config: Any = copy.deepcopy(all_methods[METHOD])
    config.output_dir, config.experiment_name, config.timestamp = output, "hostile", "run"
    config.vis, config.machine.device_type = "tensorboard", "cpu"
    config.curriculum = (CurriculumStage(0, SIDE, 2),)
    config.pipeline.datamanager.dataparser.num_virtual_views = 2
    config.pipeline.datamanager.dataparser.virtual_view_resolution = SIDE
    config.pipeline.model.tri_plane.generator_channels = (8, 8, 8)
    config.pipeline.model.tri_plane.geometry_side = SIDE
    config.pipeline.model.tri_plane.plane_channels = 4
    config.pipeline.discriminator.resolution = SIDE
    config.pipeline.discriminator.base_channels = 8
    config.pipeline.discriminator.max_channels = 16
    return config


def config_text(output: Path) -> str:
    """The config.yml of such a run."""
    import yaml

    return yaml.dump(small_config(output))


def hostile_configs(
    folder: Path, count: int, randomness: np.random.Generator, mark: Path, large: bool = True
) -> Iterator[Trial]:
    """Config files with wrong, missing, unknown, repeated and harmful entries, and damaged ones."""
    from gan3d_ns.scripts.runs import read_run_config

    folder.mkdir()
    path, text = folder / "config.yml", config_text(folder)

    def trial(what: str, content: bytes) -> Trial:
        path.write_bytes(content)
        return what, lambda: quietly(lambda: read_run_config(path))

    yield trial("as it was written", text.encode())
    for what, content in islice(special_configs(text, mark), 0, None, 1 if large else FEWER):
        yield trial(what, content)
    lines = text.splitlines()
    for number in range(count):
        if number % 4 == 0:
            what, content = damaged(text.encode(), randomness)
            yield trial(what, content)
            continue
        changed, spot = list(lines), int(randomness.integers(1, len(lines)))
        name = lines[spot].partition(":")[0]
        if number % 4 == 1:
            del changed[spot]
        elif number % 4 == 2:
            other = int(randomness.integers(len(lines)))
            changed.insert(spot, lines[other])
        else:
            value = SCALARS[int(randomness.integers(len(SCALARS)))]
            changed[spot] = f"{name}: {value}" if ":" in lines[spot] else f"{lines[spot].rstrip()} {value}"
        yield trial(f"line {spot}: {changed[min(spot, len(changed) - 1)].strip()[:60]}", "\n".join(changed).encode())


def special_configs(text: str, mark: Path) -> Iterator[tuple[str, bytes]]:
    """Config files that were made to harm."""
    first, _, rest = text.partition("\n")
    for entry in CODE:
        code = entry.format(mark=mark)
        yield f"{code[:50]} as an unknown entry", f"{text}\nzz_extra: {code}\n".encode()
        for name in ("_target", "output_dir", "presets"):
            if f"\n{name}:" in text:
                yield f"{code[:50]} as {name}", replaced(text, name, code).encode()
        yield f"{code[:50]} as a key", f"{text}\n? {code}\n: 1\n".encode()
        yield f"{code[:50]} as all", f"{first}\n--- {code}\n".encode()
        yield f"{code[:50]} as the run", code.encode()
    laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 30)
    )
    merged = "m0: &m0 {a: 1}\n" + "".join(
        f"m{level}: &m{level} {{<<: [*m{level - 1}, *m{level - 1}], b{level}: 1}}\n" for level in range(1, 30)
    )
    yield "a billion laughs", f"{text}\n{laughs}".encode()
    yield "a billion laughs as presets", replaced(text, "presets", "\n  " + laughs.replace("\n", "\n  ")).encode()
    yield "a billion merged keys", f"{text}\n{merged}".encode()
    yield "a merged key", f"{text}\n<<: {{ema_decay: 0.1}}\n".encode()
    yield "a ring", f"{first}\npresets: &ring {{a: *ring}}\n{rest}".encode()
    yield "a ring of lists", f"{text}\nzz: &ring [*ring]\n".encode()
    for depth in (100, 5_000, 200_000):
        yield f"{depth} deep lists", f"{text}\nzz: {'[' * depth}{']' * depth}\n".encode()
        yield f"{depth} deep mappings", f"{text}\nzz: {'{a: ' * min(depth, 50_000)}\n".encode()
        yield f"{depth} open lists alone", (b"[" * depth)
    yield "a number of 300,000 digits", f"{text}\nzz: {'1' * 300_000}\n".encode()
    yield "a number to the base of 60", f"{text}\nzz: {':'.join(['1'] * 100_000)}\n".encode()
    yield "a million entries", f"{text}\nzz: [{'1,' * 500_000}]\n".encode()
    yield "eight megabytes", text.encode() + b"# comment\n" * 800_000
    yield "a repeated key", f"{text}\nema_decay: 0.5\n".encode()
    yield "unknown keys", f"{text}\nfrom_the_future: 3\n".encode()
    yield "no UTF-8", text.encode() + b"\nname: \xff\xfe\n"
    yield "UTF-16", text.encode("utf-16")
    yield "a byte order mark", b"\xef\xbb\xbf" + text.encode()
    yield "zero bytes", bytes(1000)
    yield "nothing", b""
    yield "two documents", f"{text}\n--- 1\n".encode()
    yield "a directive", f"%TAG !! tag:evil,2002:\n---\n{text}".encode()
    yield "an aliased tag", f"%TAG !p! tag:yaml.org,2002:python/\n---\n{text}\nz: !p!name:os.system ''\n".encode()
    yield "Windows paths", text.replace("pathlib.PosixPath", "pathlib.WindowsPath").encode()
    yield "only the tag", first.encode()
    yield "the tag of a list", f"{first} []".encode()


def replaced(text: str, name: str, value: str) -> str:
    """The text with another value of an outermost entry."""
    lines, inside, result = text.splitlines(), False, []
    for line in lines:
        inside = line.startswith(f"{name}:") or (inside and line[:1] in (" ", "-", ""))
        if line.startswith(f"{name}:"):
            result.append(f"{name}: {value}")
        elif not inside:
            result.append(line)
    return "\n".join(result)


def hostile_reports(
    folder: Path, count: int, randomness: np.random.Generator, mark: Path, large: bool = True
) -> Iterator[Trial]:
    """Damaged and foreign health.json, metrics.json, index.json and truth.npz."""
    from gan3d_ns.data.truth_folders import open_truth
    from gan3d_ns.metrics.records import Measured, Record, Subject, as_json, read_measured
    from gan3d_ns.viewer.health_panel import HealthReport, read_report, write_report

    folder.mkdir()
    write_report(folder, HealthReport(5, 10, 1.5, {"hit_rate": 0.5}, 3, ("alarm",), "swd 3"), 5, 2)
    record = Record("fid", 3.0, {"resolution": 16}, "lower", "", 1.0, "subsets", 0.5, "halves", "pictures")
    (folder / "metrics.json").write_text(
        as_json([Measured(Subject("m", "d", "r", 3), [record], {"a": {"b": 1}})]), "utf-8"
    )
    write_truth(folder)
    readers: List[tuple[str, Callable[[], Any]]] = [
        ("health.json", lambda: panel_of(read_report(folder))),
        ("metrics.json", lambda: [entry.record("fid") for entry in read_measured(folder / "metrics.json")]),
        ("truth.npz", lambda: seen_in(open_truth(folder))),
    ]
    for name, read in readers:
        path = folder / name
        whole = path.read_bytes()
        foreign = foreign_json(whole) if name.endswith(".json") else foreign_arrays(whole, mark, large)
        yield f"{name}, as it was written", read
        for what, content in islice(foreign, 0, None, 1 if large else FEWER):
            path.write_bytes(content)
            yield f"{name}, {what}", read
        for _ in range(count // len(readers)):
            what, content = damaged(whole, randomness)
            path.write_bytes(content)
            yield f"{name}, {what}", read
        path.write_bytes(whole)


def panel_of(found: Any) -> None:
    """What the viewer makes of a report."""
    from gan3d_ns.viewer.health_panel import geometry_rows, loss_rows, progress_words

    if found is not None:
        report, _ = found
        progress_words(report)
        loss_rows(report.measures)
        geometry_rows(report.measures)


def seen_in(truth: Any) -> None:
    """What is asked of a collection with truth."""
    for index in range(min(2, len(truth))):
        truth.pose(index)
        truth.object_of(index)


def write_truth(folder: Path) -> None:
    """The truth file of a few built-in toy cars; the pictures are not needed."""
    from gan3d_ns.data.procedural import write_procedural_collection

    quietly(lambda: write_procedural_collection(folder, 3, 8, 0))


def foreign_json(whole: bytes) -> Iterator[tuple[str, bytes]]:
    """JSON that holds something else."""
    content = json.loads(whole)
    for value in ("x", [], {}, None, -1, True, float("nan"), 10**400, [[]], {"a": {}}):
        yield f"{str(value)[:20]} alone", json.dumps(value).encode()
        for path in paths_in(content):
            changed = copy.deepcopy(content)
            parent = changed
            for key in path[:-1]:
                parent = parent[key]
            parent[path[-1]] = value
            yield f"{'.'.join(map(str, path))} is {str(value)[:20]}", json.dumps(changed).encode()
    yield "deep lists", b"[" * 100_000
    yield "a long number", b"1" * 100_000
    yield "no UTF-8", b"\xff\xfe"
    yield "nothing", b""


def paths_in(content: Any, path: tuple = ()) -> Iterator[tuple]:
    """The way to every entry."""
    entries = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in entries:
        yield (*path, key)
        yield from paths_in(value, (*path, key))


class Runs:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (open, (str(self.mark), "w"))


def foreign_arrays(whole: bytes, mark: Path, large: bool) -> Iterator[tuple[str, bytes]]:
    """Truth files with other arrays, with pickles, and with very large ones."""
    with np.load(io.BytesIO(whole)) as stored:
        arrays = {name: stored[name] for name in stored.files}
    others = {
        "a pickle": np.array([Runs(mark)], dtype=object),
        "text": np.array("text"),
        "nothing": np.zeros((0,)),
        "a number": np.array(-1),
        "NaN": np.full((3, 2), np.nan),
        "five axes": np.zeros((1, 2, 1, 2, 1)),
        "complex numbers": np.zeros((3, 2), dtype=complex),
        "records": np.zeros(3, dtype=[("a", "f4")]),
        "dates": np.array(["2001-01-01"], dtype="datetime64"),
        "huge numbers": np.full((3, 2), 1e300),
    }
    for name in arrays:
        yield f"no {name}", packed({key: value for key, value in arrays.items() if key != name})
        for what, array in others.items():
            yield f"{name} is {what}", packed({**arrays, name: array})
    if not large:
        return
    stream = io.BytesIO()
    with (
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("poses.npy", "w", force_zip64=True) as entry,
    ):
        header = "{'descr': '<f8', 'fortran_order': False, 'shape': (200000000, 2), }".ljust(117) + "\n"
        entry.write(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode())
        for _ in range(2100):
            entry.write(bytes(1 << 20))
    yield "two gigabytes packed into two megabytes", stream.getvalue()


def packed(arrays: dict[str, np.ndarray]) -> bytes:
    """The content of an .npz file."""
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # pyright: ignore[reportArgumentType]
    return stream.getvalue()


def quietly(read: Callable[[], Any]) -> Any:
    """What a function returns; what it prints is swallowed, and must be harmless.

    Raises:
        AssertionError: something that would harm a terminal was printed.
    """
    from nerfstudio.utils.rich_utils import CONSOLE

    with CONSOLE.capture() as printed:
        result = read()
    harmful = [letter for letter in printed.get() if not letter.isprintable() and letter != "\n"]
    if harmful:
        raise AssertionError(f"printed were {harmful[:5]}")
    return result
