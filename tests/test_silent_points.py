"""Every silent field has a row and vice versa; rows are complete; the page is made from them."""

import dataclasses
import tomllib

import pytest

from taskclust.config import (
    AlignmentConfig,
    ConfigError,
    ExperimentConfig,
    LanguageConfig,
    PretrainingConfig,
    added,
    digest,
    is_silent,
    silent,
)
from taskclust.silent_points import check_fields, page, silent_points
from tests.helpers import command

POINTS = silent_points()
TEXTS = ("title", "paper", "ours", "alternatives", "evidence")
ROW = {name: f"its {name}" for name in TEXTS}


def fields_by_path(config, prefix=""):
    """The fields of a configuration and of nested ones, by path."""
    found = {}
    for field in dataclasses.fields(config):
        found[prefix + field.name] = field
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            found |= fields_by_path(value, f"{prefix}{field.name}.")
    return found


FIELDS = (
    fields_by_path(ExperimentConfig())
    | fields_by_path(PretrainingConfig(), "pretraining.")
    | fields_by_path(AlignmentConfig(), "alignment.")
    | fields_by_path(LanguageConfig(), "natural_language.")
)


def toml(key="model.norm", **row):
    return "\n".join([f'["{key}"]', *(f'{name} = "{text}"' for name, text in row.items())])


def point(**changes):
    return dataclasses.replace(silent_points(toml(**ROW))[0], **changes)


def test_every_silent_field_has_a_row():
    with_row = [FIELDS[path] for one in POINTS for path in one.fields]

    assert [path for path, field in FIELDS.items() if is_silent(field) and field not in with_row] == []


def test_every_field_of_a_row_is_silent():
    paths = [path for one in POINTS for path in one.fields]

    assert [path for path in paths if path not in FIELDS or not is_silent(FIELDS[path])] == []
    assert len(set(paths)) == len(paths)


def test_every_row_is_complete_and_titles_differ():
    assert [one.key for one in POINTS for name in TEXTS if not getattr(one, name).strip()] == []
    assert len({one.title for one in POINTS}) == len(POINTS)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """The page as the command writes it."""
    to = tmp_path_factory.mktemp("docs") / "silent-points.md"
    assert command("silent-points", to) == 0
    return to.read_text(encoding="utf-8")


def test_page_has_every_text_and_the_defaults_of_the_configurations(text):

    for one in POINTS:
        assert f'<a id="{one.key}"></a>{one.title}\n' in text
        assert all(getattr(one, name) in text for name in TEXTS)
    assert f"`model.norm={ExperimentConfig().model.norm}`" in text
    assert f"`alignment.switch.epochs={AlignmentConfig().switch.epochs}`" in text
    assert "`natural_language.probe=ProbeConfig(tsne_restarts=1, kmeans_restarts=10)`" in text


@pytest.mark.parametrize(
    ("planted", "message"),
    [
        (point(key="model.width"), r"model\.width: the field model\.width is not made with silent"),
        (point(also=("model.layers",)), r"model\.norm: the field model\.layers is not made with silent"),
        (point(key="model.nrom"), r"model\.nrom: there is no field model\.nrom"),
    ],
    ids=["not silent", "another's not silent", "misspelt"],
)
def test_a_row_whose_field_is_not_silent_is_refused_by_name(planted, message):
    with pytest.raises(ConfigError, match=message):
        check_fields([*POINTS, planted])


@pytest.mark.parametrize("left_out", [one for one in POINTS if one.fields], ids=lambda one: one.key)
def test_a_silent_field_without_its_row_is_refused_by_name(left_out):
    with pytest.raises(ConfigError, match="this silent field has no row") as refused:
        page([one for one in POINTS if one != left_out])

    assert any(f", {path}:" in str(refused.value) for path in left_out.fields)


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("text", [None, " "], ids=["absent", "blank"])
def test_a_row_without_a_text_is_refused_by_its_key_and_the_texts_name(name, text):
    row = {**ROW, name: text} if text else {k: v for k, v in ROW.items() if k != name}

    with pytest.raises(ConfigError, match=rf"silent_points\.toml, model\.norm: {name} is missing"):
        silent_points(toml(**row))


def test_a_row_with_an_unknown_entry_is_refused():
    with pytest.raises(ConfigError, match=r"model\.norm: unknown: evidenec"):
        silent_points(toml(**ROW, evidenec="a slip"))


def test_two_rows_of_one_key_are_refused():
    with pytest.raises(tomllib.TOMLDecodeError):
        silent_points("\n".join([toml(**ROW), toml(**ROW)]))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    number: int = 1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Marked:
    number: int = silent(1)
    later: str = silent(added("as before"))
    items: list = silent(dataclasses.field(default_factory=list, metadata={"unit": "none"}))


def test_silent_keeps_defaults_factories_and_metadata():
    first, second = Marked(), Marked()
    items = dataclasses.fields(Marked)[2]

    assert (first.number, first.later, first.items) == (1, "as before", [])
    assert first.items is not second.items
    assert all(is_silent(field) for field in dataclasses.fields(Marked))
    assert not is_silent(dataclasses.fields(Plain)[0])
    assert items.metadata["unit"] == "none"


def test_silent_changes_no_key_and_combines_with_added():
    kind = dataclasses.make_dataclass("Kind", [("number", int, silent(1)), ("later", str, silent(added("as before")))])

    assert digest(kind()) == digest(Plain())
    assert digest(kind(later="otherwise")) != digest(Plain())
