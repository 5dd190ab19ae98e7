"""What `ns-train` shows of the methods, and that flags give what was asked."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tyro

REPOSITORY = Path(__file__).parents[1]


def gan_methods() -> dict[str, Any]:
    from nerfstudio.configs.method_configs import all_methods

    from gan3d_ns.engine.trainer_config import GanTrainerConfig

    return {name: config for name, config in all_methods.items() if isinstance(config, GanTrainerConfig)}


def parse(*arguments: str) -> Any:
    """What `ns-train arguments` would train."""
    from nerfstudio.configs.method_configs import AnnotatedBaseConfigUnion

    return tyro.cli(AnnotatedBaseConfigUnion, args=list(arguments))


def help_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as stop:
        parse(*arguments, "--help")
    assert stop.value.code == 0
    return " ".join(capsys.readouterr().out.replace("│", " ").split())


def test_the_methods_are_listed_with_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    from nerfstudio.configs.method_configs import all_descriptions

    shown = help_of(capsys)
    assert {"gof-gan-tiny", "gof-gan", "gof-gan-paper"} <= gan_methods().keys()
    for name in gan_methods():
        assert name in shown
        assert len(all_descriptions[name].split()) >= 5
        assert all_descriptions[name].split()[0] in shown


def test_flags_give_what_was_asked() -> None:
    config = parse(
        *("gof-gan-tiny", "--data", "X", "--preset", "cats", "--pipeline.model.truncation", "0.7"),
        *("--curriculum.0.resolution", "16", "--pipeline.model.pose-prior.yaw-spread-deg", "40"),
        *("--pipeline.datamanager.collection.crop", "stretch", "--max-num-iterations", "7"),
    )
    assert config.method_name == "gof-gan-tiny"
    assert config.data == Path("X")
    assert config.preset == "cats"
    assert config.pipeline.model.truncation == 0.7
    assert config.curriculum[0].resolution == 16
    assert config.curriculum[0].batch_size == gan_methods()["gof-gan-tiny"].curriculum[0].batch_size
    assert config.pipeline.datamanager.collection.crop == "stretch"
    assert config.max_num_iterations == 7
    config.resolve_preset()
    cats = config.presets["cats"]["pipeline.model.pose_prior"]
    prior = config.pipeline.model.pose_prior
    assert prior.yaw_spread_deg == 40.0, "the user's flag wins"
    assert (prior.near, prior.far, prior.distribution) == (cats.near, cats.far, cats.distribution)
    assert config.curriculum[0].resolution == 16


def test_parsing_changes_nothing_by_itself() -> None:
    for name, template in gan_methods().items():
        parsed = parse(name)
        for part in ("pipeline", "curriculum", "presets", "window", "opacity", "optimizers", "max_num_iterations"):
            assert getattr(parsed, part) == getattr(template, part), (name, part)


@pytest.mark.parametrize("name", ["gof-gan-tiny", "gof-gan", "gof-gan-paper"])
def test_the_help_of_a_method_explains_its_own_flags(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = help_of(capsys, name)
    for flag in ("--preset", "--pipeline.model.seed", "--pipeline.loss.r1-weight", "--curriculum.0.resolution"):
        assert flag in shown
    assert "--presets" not in shown, "the presets themselves are no flags"
    assert "--base-preset" not in shown


def test_a_wrong_flag_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        parse("gof-gan-tiny", "--pipeline.model.truncatoin", "0.7")
    assert stop.value.code != 0
    assert "truncatoin" in "".join(capsys.readouterr())


def config_fields() -> Iterator[tuple[str, ast.AnnAssign, ast.stmt | None]]:
    """The public fields of the package's config dataclasses, each with the statement that follows it."""
    for file in sorted((REPOSITORY / "gan3d_ns").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ClassDef) or not is_shown_on_the_command_line(node):
                continue
            for statement, following in zip(node.body, [*node.body[1:], None], strict=True):
                if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                    name = statement.target.id
                    if not name.startswith("_"):
                        yield f"{file.stem}.{node.name}.{name}", statement, following


def is_shown_on_the_command_line(node: ast.ClassDef) -> bool:
    dataclass = any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)
    return dataclass and (node.name.endswith("Config") or node.name == "CurriculumStage")


def test_every_setting_has_its_line_of_help() -> None:
    fields = list(config_fields())
    assert len(fields) > 80
    silent = [
        name
        for name, _, following in fields
        if not (
            isinstance(following, ast.Expr)
            and isinstance(following.value, ast.Constant)
            and isinstance(following.value.value, str)
            and len(following.value.value.split()) >= 2
        )
    ]
    assert not silent, f"write a docstring under: {silent}"


def test_every_model_knows_its_method() -> None:
    for name, template in gan_methods().items():
        assert template.pipeline.model.method_name == name
        assert parse(name).pipeline.model.method_name == name
