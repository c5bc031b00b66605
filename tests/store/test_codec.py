"""Records round-trip through JSON exactly; invalid ones are refused with the place of the fault."""

import dataclasses
import json
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import Bool, Float, Int

from taskclust import experiments
from taskclust.config import ExperimentConfig
from taskclust.probes.scores import ClusterScores, LayerClusters, Number
from taskclust.store import RecordError, decode, encode
from taskclust.store.codec import columns
from tests.experiments.made import RECORDS

CLUSTERS = LayerClusters(
    clusters={"raw": {"task": np.array([[0, 1, 1]])}, "tsne": {"task": np.array([[1, 0, 0], [0, 0, 1]])}},
    divergence=np.array([0.1, 1 / 3]),
    embedding=np.array([[0.0, 1.5, -0.0], [1.0, 2.0, 3.0], [5e-324, 1e22, 0.1]]),
    tsne_method="exact",
)
KINDS = {**{name: experiments.part(name, "record") for name in RECORDS}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A record with one field of each kind."""

    curve: Float[np.ndarray, " epoch"]
    table: Float[np.ndarray, "epoch layer"] = field(default_factory=lambda: np.zeros((1, 1)))
    one: Number = field(default_factory=lambda: np.array(0.5))
    labels: Int[np.ndarray, " point"] = field(default_factory=lambda: np.array([0]))
    flags: Bool[np.ndarray, " point"] = field(default_factory=lambda: np.array([True]))
    plain: float = 0.0
    by_name: dict[str, Float[np.ndarray, "..."]] = field(default_factory=dict)


def assert_same(found, expected, place=""):
    """Fail unless both have one type and bitwise equal numbers; does not use the codec."""
    assert type(found) is type(expected), place
    if dataclasses.is_dataclass(expected):
        for one in dataclasses.fields(expected):
            assert_same(getattr(found, one.name), getattr(expected, one.name), f"{place}.{one.name}")
    elif isinstance(expected, dict):
        assert list(found) == list(expected), place
        for name in expected:
            assert_same(found[name], expected[name], f"{place}[{name}]")
    elif isinstance(expected, (list, tuple)):
        assert len(found) == len(expected), place
        for n, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_same(one, other, f"{place}[{n}]")
    elif isinstance(expected, np.ndarray):
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype), place
        if expected.dtype == float:
            assert (np.isnan(found) == np.isnan(expected)).all(), place
            whole = ~np.isnan(expected)
            assert found[whole].tobytes() == expected[whole].tobytes(), place
        else:
            assert (found == expected).all(), place
    else:
        assert found == expected, place


# ---------------------------------------------------------------- there and back


@pytest.mark.parametrize("name", RECORDS)
def test_every_experiments_record_comes_back_to_the_bit(name):
    record = RECORDS[name]

    found = decode(encode(record), KINDS[name].Record, KINDS[name].upgrade)

    assert_same(found, record)
    assert encode(found) == encode(record)


def test_every_experiment_has_a_record_here():
    assert tuple(sorted(RECORDS)) == experiments.names()


def test_a_layers_clusters_come_back_to_the_bit():
    assert_same(decode(encode(CLUSTERS), LayerClusters), CLUSTERS)


def test_nan_is_null_in_the_file_and_nan_in_the_record():
    content = encode(RECORDS["synthetic"])

    plain = json.loads(content)
    assert plain["history"]["loss"][0] is plain["merging"]["bag"] is None
    assert b"NaN" not in content
    found = decode(content, KINDS["synthetic"].Record, KINDS["synthetic"].upgrade)
    assert np.isnan(found.history["loss"][0])
    assert np.isnan(found.merging.bag)
    assert found.merging.bag.shape == ()


@given(st.lists(st.floats(allow_nan=True, allow_infinity=False), min_size=1), st.floats(allow_infinity=False))
def test_any_number_comes_back_to_the_bit(values, one):
    record = Measured(curve=np.array(values), table=np.array([values, values]), one=np.array(one))

    assert_same(decode(encode(record), Measured), record)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1), st.lists(st.booleans(), min_size=1))
def test_any_labels_and_flags_come_back(labels, flags):
    record = Measured(curve=np.zeros(1), labels=np.array(labels), flags=np.array(flags))

    assert_same(decode(encode(record), Measured), record)


@pytest.mark.parametrize("value", [np.array([0.5, np.inf]), np.array([-np.inf])], ids=["inf", "minus-inf"])
def test_infinity_is_refused(value):
    """It would be written as null and read as NaN."""
    with pytest.raises(RecordError, match="infinite"):
        encode(Measured(curve=value))


def test_integers_in_float_fields_become_floats():
    found = decode(b'{"curve": [1, 2], "table": [[0]], "one": 3, "plain": 4}', Measured)

    assert (found.curve.dtype, found.table.dtype, found.one.dtype) == (float,) * 3
    assert type(found.plain) is float


def test_numpys_own_numbers_are_written_as_numbers():
    assert encode({"a": np.float64(0.25), "b": np.int64(3), "c": np.True_}) == b'{"a":0.25,"b":3,"c":true}'


def test_unsupported_values_are_refused():
    with pytest.raises(NotImplementedError, match="complex has no place in a record"):
        encode({"a": 1j})


def test_the_same_record_gives_the_same_bytes():
    assert len({encode(RECORDS["pretraining"]) for _ in range(3)}) == 1
    assert encode(Measured(curve=np.array([1.0]))) != encode(Measured(curve=np.array([np.nextafter(1, 2)])))


# ---------------------------------------------------------------- what is refused


def spoiled(name, change):
    """A record's JSON after ``change`` of its plain form."""
    plain = json.loads(encode(RECORDS[name]))
    change(plain)
    return json.dumps(plain).encode()


def read(name, content):
    return decode(content, KINDS[name].Record, KINDS[name].upgrade)


@pytest.mark.parametrize("name", RECORDS)
def test_a_missing_field_without_default_is_named(name):
    required = [
        one.name
        for one in dataclasses.fields(KINDS[name].Record)
        if one.default is one.default_factory is dataclasses.MISSING
    ]
    assert len(required) >= 7

    for one in required:
        with pytest.raises(RecordError, match=rf"{name}\.record\.Record: .*`{one}`.*make it again"):
            read(name, spoiled(name, lambda plain, one=one: plain.pop(one)))


SPOILED = {
    "missing-inside": (
        "synthetic",
        lambda r: r["knn"].pop("accuracy"),
        r"missing required field `accuracy` - at `\$.knn`",
    ),
    "missing-in-config": ("alignment", lambda r: r["config"].update(seed="one"), r"int.*str.* - at `\$.config.seed`"),
    "text-for-a-number": ("alignment", lambda r: r["base"].update(source="all"), r"float.*str.* - at `\$.base.source`"),
    "text-in-an-array": ("synthetic", lambda r: r["knn"]["accuracy"][0].__setitem__(0, "x"), r"at `\$.knn.accuracy`"),
    "null-for-a-number": ("alignment", lambda r: r["base"].update(source=None), r"float.*null.* - at `\$.base.source`"),
    "an-object-for-an-array": ("synthetic", lambda r: r["knn"].update(accuracy={"a": 1}), r"at `\$.knn.accuracy`"),
    "one-axis-too-few": (
        "synthetic",
        lambda r: r["history"].update(loss=0.5),
        r"not shape \(\) .*at `\$.history\[...\]`",
    ),
    "one-axis-too-many": (
        "synthetic",
        lambda r: r["history"].update(loss=[[0.5]]),
        r"Float.*epoch.* is expected, not shape \(1, 1\) of float64 - at `\$.history\[...\]`",
    ),
    "ragged": ("synthetic", lambda r: r["components"]["subset"].update(task=[[1, 2], [3]]), r"at `\$.components"),
    "two-axes-where-one-is-due": (
        "natural_language",
        lambda r: r["model"].update(divergence=[0.1]),
        r"not shape \(1,\) .*at `\$.model.divergence`",
    ),
    "fractions-for-labels": (
        "synthetic",
        lambda r: r["identities"]["subset"].update(task=[0.5]),
        r"of float64 - at `\$.identities\[...\].task`",
    ),
    "numbers-for-flags": (
        "synthetic",
        lambda r: r["identities"]["subset"].update(is_hard=[0, 1]),
        r"of int64 - at `\$.identities\[...\].is_hard`",
    ),
    "a-setting-that-cannot-be": (
        "pretraining",
        lambda r: r["config"]["training"].update(epochs=0),
        r"epochs=0: use 1 to 1,000,000 - at `\$.config.training`",
    ),
    "a-precision-that-is-none": (
        "pretraining",
        lambda r: r["config"]["training"].update(precision="float8"),
        r"float8.* - at `\$.config.training.precision`",
    ),
    "a-number-of-epochs-that-is-none": (
        "synthetic",
        lambda r: r["epochs"].update(raw=["0"]),
        r"at `\$.epochs.raw\[0\]`",
    ),
}


@pytest.mark.parametrize(("name", "change", "message"), SPOILED.values(), ids=SPOILED)
def test_a_wrong_type_or_shape_is_refused_with_its_place(name, change, message):
    with pytest.raises(RecordError, match=message):
        read(name, spoiled(name, change))


@pytest.mark.parametrize("content", [b"", b"{", b"nonsense", b'{"a": NaN}', b"\x00\xff", b"\xfd7zXZ\x00"], ids=repr)
def test_invalid_json_is_refused(content):
    with pytest.raises(RecordError, match=r"not a whole .*synthetic\.record\.Record: .*make it again"):
        read("synthetic", content)


@pytest.mark.parametrize(("content", "kind"), [(b"[]", "list"), (b"7", "int"), (b'"{}"', "str"), (b"null", "NoneType")])
def test_json_that_is_no_object_is_refused(content, kind):
    with pytest.raises(RecordError, match=f"^a {kind} instead of a record"):
        read("synthetic", content)


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.parametrize("content", [b"{}", b'{"schema": 1}', b'{"schema": "two"}', b'{"history": 7, "by_mapping": 0}'])
def test_an_object_of_no_known_format_is_refused(name, content):
    with pytest.raises(RecordError):
        read(name, content)


def test_a_record_of_one_experiment_is_none_of_another():
    with pytest.raises(RecordError):
        read("synthetic", encode(RECORDS["pretraining"]))


def test_a_type_that_is_no_array_has_no_decoder():
    @dataclass(frozen=True)
    class Odd:
        number: complex

    with pytest.raises(NotImplementedError, match="a record has no field of type"):
        decode(b'{"number": 1}', Odd)


# ---------------------------------------------------------------- the rest


def test_unknown_fields_are_ignored():
    found = decode(b'{"curve": [1], "left_by_a_later_version": {}}', Measured)

    assert_same(found, Measured(curve=np.array([1.0])))


def test_rows_are_turned_to_columns():
    assert columns([{"a": 1, "b": None}, {"a": 2, "b": 3}]) == {"a": [1, 2], "b": [None, 3]}


def test_a_configuration_is_itself_again():
    config = ExperimentConfig(seed=7)

    assert decode(encode(config), ExperimentConfig) == config


def test_parts_that_may_be_absent_come_back_absent():
    bare = ClusterScores(raw={"task": {"f1": np.array([[0.5]])}})

    assert_same(decode(encode(bare), ClusterScores), bare)


def test_a_field_added_later_is_read_as_its_neutral_value_whatever_the_default_is_now():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Grown:
        size: int
        way: str = dataclasses.field(default="new way", metadata={"neutral": "as before"})

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Kept:
        config: Grown

    assert decode(b'{"config": {"size": 3}}', Kept).config.way == "as before"
    assert decode(b'{"config": {"size": 3, "way": "new way"}}', Kept).config.way == "new way"


def test_a_record_of_a_later_version_is_refused():
    later = json.loads(encode(RECORDS["synthetic"]))
    content = json.dumps({**later, "schema": 99, "more": 1}).encode()

    with pytest.raises(RecordError, match="schema=99: made by a later version, this one knows"):
        decode(content, type(RECORDS["synthetic"]))


@pytest.mark.parametrize("content", [b"\xff\xfe{}", b"[" * 200_000], ids=["no-utf-8", "nested"])
def test_binary_or_deeply_nested_content_is_one_error(content):
    with pytest.raises(RecordError, match="not a whole"):
        decode(content, type(RECORDS["synthetic"]))
