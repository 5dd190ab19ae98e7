"""Reading a run's config.yml without running code from it.

nerfstudio writes YAML that names Python objects, and reads it by importing modules and calling what is named there, as
a pickle does. Here the same text becomes the same settings, but nothing is called: only tuples, paths, the events that
nerfstudio logs, and the dataclasses of settings are made, the latter without their constructors; and where a class or
function is named, it must be the very one that the setting has by default.
"""

from __future__ import annotations

import dataclasses
import importlib
import re
import sys
from pathlib import Path, PureWindowsPath
from typing import Any

import yaml

from gan3d_ns.errors import UserError

PYTHON = "tag:yaml.org,2002:python/"
RUN_TAG = f"{PYTHON}object:gan3d_ns.engine.trainer_config.GanTrainerConfig"
OWN_MODULES = ("gan3d_ns.", "nerfstudio.")
MERGE = "tag:yaml.org,2002:merge"
KNOWN_TAGS = re.compile(
    r"!|tag:yaml\.org,2002:(null|bool|int|float|str|seq|map|python/(tuple"
    r"|(object|name):(gan3d_ns|nerfstudio|torch\.optim)(\.\w+)+"
    r"|object/apply:(pathlib\.(_local\.)?(Pure)?(Posix|Windows)Path|nerfstudio\.utils\.writer\.EventName)))"
)
LARGEST_FILE = 1 << 20
"""Bytes; a run's config has some 30,000."""
LARGEST_CONFIG = 100_000
"""Values, counted as often as anchors repeat them; a run's config has some 2,000."""
DEEPEST = 50
LONGEST_TEXT = 10_000


class NotAConfig(Exception):
    """The text is no config of ours; the message is the reason."""


@dataclasses.dataclass(frozen=True)
class Named:
    """A class or function that the text names; it is not looked up."""

    name: str


def read_text(path: Path) -> str:
    """The text of a config.

    Raises:
        NotAConfig: it is too large, or no text.
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        content = stream.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise NotAConfig(f"is no run: it is larger than {LARGEST_FILE >> 20} MiB")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise NotAConfig("is not a config.yml of nerfstudio: it is no text in UTF-8") from None


def parse(text: str) -> yaml.Node:
    """The text as a tree of YAML's nodes, in which nothing repeats itself without end and every tag is known.

    Raises:
        NotAConfig: it is no YAML, or YAML that no run contains.
    """
    try:
        tags = _checked_tags(text)
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise NotAConfig("is not a config.yml of nerfstudio: it cannot be read as YAML") from None
    if root is None or root.tag != RUN_TAG:
        method = re.search(r"^method_name: (\S+)$", text, re.MULTILINE)
        found = f"its method is {method[1][:100]}" if method else "it names no method"
        raise NotAConfig(f"is not a run of gan3d_ns ({found}); ns-viewer and ns-export open other runs")
    strange = sorted(tag for tag in tags if not KNOWN_TAGS.fullmatch(tag))
    if strange:
        raise NotAConfig(
            f"names {strange[0].rpartition('/')[2][:100]}, which no run of gan3d_ns contains; reading it could run "
            "code. Take the config.yml that the training wrote"
        )
    _check_nodes(root)
    return root


def _checked_tags(text: str) -> set[str]:
    """The tags in the text, read from beginning to end without building anything from it."""
    depth, tags = 0, set()
    for number, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
        depth += isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent))
        depth -= isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent))
        if depth > DEEPEST:
            raise NotAConfig(f"is no run: its entries are nested more than {DEEPEST} deep")
        if number > LARGEST_CONFIG:
            raise NotAConfig(f"is no run: it has more than {LARGEST_CONFIG} entries")
        if isinstance(event, yaml.ScalarEvent) and len(event.value) > LONGEST_TEXT:
            raise NotAConfig(f"is no run: one of its values has {len(event.value)} characters")
        tag = getattr(event, "tag", None)
        tags |= {tag} if tag else set()
    return tags


def _check_nodes(root: yaml.Node) -> None:
    """Refuses rings, what anchors blow up, merged and repeated keys."""
    sizes: dict[int, int] = {}
    above: set[int] = set()

    def size(node: yaml.Node) -> int:
        if id(node) in above:
            raise NotAConfig("is no run: one of its entries contains itself")
        if id(node) not in sizes:
            above.add(id(node))
            total = 1
            if isinstance(node, yaml.MappingNode):
                keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
                if len(keys) < len(node.value) or any(key.tag == MERGE for key, _ in node.value):
                    raise NotAConfig("is no run: it has keys that are no names")
                twice = sorted({key for key in keys if keys.count(key) > 1}) if len(keys) > len(set(keys)) else []
                if twice:
                    raise NotAConfig(f"is no run: it says {twice[0][:60]} twice")
                total += sum(size(value) for _, value in node.value)
            elif isinstance(node, yaml.SequenceNode):
                total += sum(size(value) for value in node.value)
            above.discard(id(node))
            sizes[id(node)] = total
        if sizes[id(node)] > LARGEST_CONFIG:
            raise NotAConfig(f"is no run: it has more than {LARGEST_CONFIG} entries")
        return sizes[id(node)]

    size(root)


class _RunLoader(yaml.SafeLoader):
    """Plain YAML and the few objects that a run's config holds."""


def _tuple(loader: yaml.SafeLoader, node: yaml.Node) -> tuple[Any, ...]:
    if not isinstance(node, yaml.SequenceNode):
        raise NotAConfig("is no run: one of its tuples is no list")
    return tuple(loader.construct_sequence(node, deep=True))


def _name(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Named:
    return Named(suffix)


def _settings(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Any:
    kind = settings_class(suffix)
    if not isinstance(node, yaml.MappingNode):
        raise NotAConfig(f"is no run: its {suffix[:100]} is no mapping")
    values = loader.construct_mapping(node, deep=True)
    settings = object.__new__(kind)
    # Neither the constructor nor __setstate__: both run code, which comes after the values have been checked.
    vars(settings).update(values)
    return settings


def _called(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Any:
    arguments = loader.construct_sequence(node, deep=True) if isinstance(node, yaml.SequenceNode) else []
    words = [argument for argument in arguments if isinstance(argument, str) and "\0" not in argument]
    if not isinstance(node, yaml.SequenceNode) or len(words) < len(arguments):
        raise NotAConfig(f"is no run: its {suffix[:100]} is made of something else than text")
    if suffix.endswith("EventName"):
        from nerfstudio.utils.writer import EventName

        try:
            (name,) = words
            return EventName(name)
        except ValueError:
            raise NotAConfig(f"is no run of this version: it names an unknown event {str(words)[:60]}") from None
    if "Windows" in suffix:
        return Path(PureWindowsPath(*words).as_posix())
    return Path(*words)


_RunLoader.add_constructor(f"{PYTHON}tuple", _tuple)
_RunLoader.add_multi_constructor(f"{PYTHON}name:", _name)
_RunLoader.add_multi_constructor(f"{PYTHON}object:", _settings)
_RunLoader.add_multi_constructor(f"{PYTHON}object/apply:", _called)


def settings_class(dotted: str) -> type:
    """The dataclass of settings with this name.

    Only modules of this package are imported for it; of nerfstudio, those that are there.

    Raises:
        NotAConfig: there is none.
    """
    module_name, _, name = dotted.rpartition(".")
    module = sys.modules.get(module_name)
    if module is None and module_name.startswith("gan3d_ns."):
        try:
            module = importlib.import_module(module_name)
        except ImportError:
            module = None
    kind = getattr(module, name, None)
    # Classes may have moved since: their old modules still know them.
    if not isinstance(kind, type) or not dataclasses.is_dataclass(kind) or not kind.__module__.startswith(OWN_MODULES):
        from gan3d_ns import __version__

        raise NotAConfig(
            f"names {dotted[:100]}, settings that gan3d_ns {__version__} does not have; another version has "
            "written it and can open it"
        )
    return kind


def settings_of(root: yaml.Node) -> Any:
    """The settings that a tree of `parse` describes, with defaults for what it does not say, and checked.

    Raises:
        NotAConfig: it describes something else.
        UserError: a setting has the wrong type or an impossible value.
    """
    from nerfstudio.utils.rich_utils import CONSOLE

    from gan3d_ns.engine.saved_settings import check_values, complete, named, nested_settings
    from gan3d_ns.engine.schedules import validate_stages

    loader = _RunLoader("")
    try:
        settings = loader.construct_document(root)
    except (yaml.YAMLError, ValueError, TypeError, OverflowError) as error:
        raise NotAConfig(f"is no run: one of its values cannot be read ({str(error).splitlines()[0][:100]})") from error
    finally:
        loader.dispose()
    missing, unknown = complete(settings)
    if missing:
        raise NotAConfig(f"is no run of this version: it does not say {named(missing)}")
    for path, one in nested_settings(settings):
        _look_up_names(path, one)
    check_values(settings)
    validate_stages(settings.curriculum)
    if unknown:
        CONSOLE.print(
            f"Settings that this version of gan3d_ns does not know are left out: {named(unknown)}. Another version has "
            "written them.",
            style="yellow",
            markup=False,
            soft_wrap=True,
        )
    return settings


def _look_up_names(path: str, settings: Any) -> None:
    """Puts the class or function that a setting has by default in place of its name.

    Raises:
        NotAConfig: the name is that of another.
    """
    for entry in dataclasses.fields(settings):
        value = getattr(settings, entry.name)
        if not isinstance(value, Named):
            continue
        made = entry.default_factory is not dataclasses.MISSING
        default = entry.default_factory() if made else entry.default  # pyright: ignore[reportCallIssue]
        own = f"{default.__module__}.{default.__qualname__}" if hasattr(default, "__qualname__") else "a plain value"
        module_name, _, name = value.name.rpartition(".")
        if value.name != own and getattr(sys.modules.get(module_name), name, None) is not default:
            raise NotAConfig(
                f"is no run: its {path}{'.' if path else ''}{entry.name} is {value.name[:100]} instead of {own}; "
                "reading it could run code"
            )
        vars(settings)[entry.name] = default  # of frozen settings too


def read(path: Path) -> Any:
    """The settings of a run in a file.

    Raises:
        UserError: says what is wrong with it.
    """
    try:
        return settings_of(parse(read_text(path)))
    except NotAConfig as reason:
        raise UserError(f"{path} {reason}.") from reason
    except UserError as error:
        raise UserError(f"in {path} {str(error).rstrip('.')}. Take the config.yml that the training wrote.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
