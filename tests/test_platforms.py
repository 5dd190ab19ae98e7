"""What has to hold on Windows and macOS, where the tests do not run: read off the source."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePath

import pytest

from gan3d_ns.file_names import free_path

REPOSITORY = Path(__file__).parent.parent
SOURCES = sorted(
    file for room in ("gan3d_ns", "method_configs", "benchmarks") for file in (REPOSITORY / room).rglob("*.py")
)
NOT_THE_REPOSITORYS = {"build", "dist", "outputs", "renders", "exports", "__pycache__", "node_modules"}
RESERVED_NAMES = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(10))}
"""Of Windows, whatever the suffix."""
LONGEST_PATH = 120
"""Letters: Windows stops at 260, and the clone lies somewhere."""
POSIX_MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "termios", "tty"}
POSIX_NAMES = {
    "os": {
        *("fork", "forkpty", "getpgid", "getuid", "geteuid", "getgid", "getloadavg", "killpg", "mkfifo", "nice"),
        *("chown", "fchmod", "fchown", "sched_getaffinity", "setsid", "sysconf", "uname", "wait3", "wait4", "statvfs"),
        *("O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK"),
    },
    "signal": {
        *("SIGALRM", "SIGCHLD", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGSTOP", "SIGTSTP", "SIGUSR1", "SIGUSR2"),
        *("alarm", "setitimer", "pause", "pthread_kill", "pthread_sigmask", "sigwait"),
    },
}


def repository_files() -> list[PurePath]:
    """Files below the repository, as they lie here: with git or without."""
    found = []
    for file in REPOSITORY.rglob("*"):
        path = file.relative_to(REPOSITORY)
        ours = not any(part.startswith(".") or part.endswith(".egg-info") for part in path.parts)
        if ours and file.is_file() and not NOT_THE_REPOSITORYS.intersection(path.parts):
            found.append(path)
    return found


def test_every_system_can_hold_the_files() -> None:
    paths = repository_files()
    assert len(paths) > 400
    for path in paths:
        for part in path.parts:
            assert re.fullmatch(r"[\w+.-]+", part, re.ASCII), path
            assert not part.endswith("."), path
            assert part.partition(".")[0].lower() not in RESERVED_NAMES, path
        assert len(str(path)) <= LONGEST_PATH, path
    twice = [name for name, count in Counter(str(path).lower() for path in paths).items() if count > 1]
    assert not twice, f"one file where upper and lower case are the same: {twice}"


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            yield name, node


def names_an_encoding(name: str, call: ast.Call) -> bool:
    """Whether a call that reads or writes a file says how text becomes bytes; also where it has no text."""
    if any(keyword.arg in ("encoding", None) for keyword in call.keywords):
        return True
    if name in ("read_text", "write_text"):
        return len(call.args) > (name == "write_text")
    words = [*call.args, *(keyword.value for keyword in call.keywords)]
    modes = [word.value for word in words if isinstance(word, ast.Constant) and isinstance(word.value, str)]
    return any(re.fullmatch(r"[rwxa+]*b[rwxa+]*", mode) for mode in modes)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        ("path.read_text()", False),
        ("path.read_text('utf-8')", True),
        ("path.write_text(text)", False),
        ("path.write_text(text, encoding='utf-8')", True),
        ("open(path)", False),
        ("path.open('w')", False),
        ("open(path, 'wb')", True),
        ("path.open(mode='rb')", True),
    ],
)
def test_encodings_are_seen(call: str, named: bool) -> None:
    ((name, node),) = calls(ast.parse(call))
    assert names_an_encoding(name, node) is named


def opens_a_file(name: str, call: ast.Call) -> bool:
    """Image.open, collection.open(...), run.open() and the like are something else."""
    if name != "open":
        return name in ("read_text", "write_text")
    if isinstance(call.func, ast.Name):
        return True
    modes = [word.value for word in call.args[:1] if isinstance(word, ast.Constant)]
    return bool(modes) and re.fullmatch(r"[rwxabt+]{1,3}", str(modes[0])) is not None


def test_text_names_its_encoding() -> None:
    """More than ruff's PLW1514 sees, which has to know that something is a path."""
    unnamed = [
        f"{file}:{node.lineno}: {name}"
        for file in SOURCES
        for name, node in calls(ast.parse(file.read_text(encoding="utf-8")))
        if opens_a_file(name, node) and not names_an_encoding(name, node)
    ]
    assert not unnamed


def posix_only(source: str) -> list[str]:
    """What a source asks of the system that Windows does not have, unless it asks whether it is there."""
    found = []
    tree = ast.parse(source)
    for statement in tree.body:  # at the top: the file could not be imported
        names = [alias.name for alias in statement.names] if isinstance(statement, ast.Import) else []
        names += [statement.module or ""] if isinstance(statement, ast.ImportFrom) else []
        found += [f"line {statement.lineno}: import {name}" for name in names if name in POSIX_MODULES]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module, name = node.value.id, node.attr
            asked = f'hasattr({module}, "{name}")' in source or "AttributeError" in source
            if name in POSIX_NAMES.get(module, ()) and not asked:
                found.append(f"line {node.lineno}: {module}.{name}")
    return found


@pytest.mark.parametrize(
    "source", ["import resource", "from fcntl import flock", "import os\nos.fork()", "import signal\nsignal.SIGKILL"]
)
def test_what_windows_lacks_is_seen(source: str) -> None:
    assert posix_only(source)


def test_nothing_needs_posix() -> None:
    """But the measurements of what a kill does."""
    found = {
        file: posix_only(file.read_text(encoding="utf-8")) for file in SOURCES if file.parent.name != "reliability"
    }
    assert not any(found.values()), {str(file): what for file, what in found.items() if what}


@pytest.mark.parametrize(
    ("stem", "name"),
    [("seed 3: a/b", "seed_3__a_b"), ("aux", "_aux"), ("NUL.v2", "_NUL.v2"), ("console", "console"), ("", "object")],
)
def test_files_that_are_named_by_users(stem: str, name: str, tmp_path: Path) -> None:
    path = free_path(tmp_path, stem, ".safetensors")
    assert path == tmp_path / f"{name}.safetensors"
    path.touch()
    assert free_path(tmp_path, stem, ".safetensors").name == f"{name}-2.safetensors"


def test_long_names_stay_writable(tmp_path: Path) -> None:
    free_path(tmp_path, "\N{GREEK SMALL LETTER PI}" * 300, ".safetensors").touch()
