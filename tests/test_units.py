import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from spawner.policy.admission import format_bytes
from spawner.units import Bytes, parse_bytes

SIZE = TypeAdapter[int](Bytes)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("4096", 4096),
        ("2 GiB", 2 << 30),
        ("2G", 2 << 30),
        ("2gb", 2 << 30),
        (" 1.5 MiB ", 3 << 19),
        ("512 K", 512 << 10),
        ("1T", 1 << 40),
        ("7 B", 7),
    ],
)
def test_sizes_as_people_write_them(text: str, count: int) -> None:
    assert SIZE.validate_python(text) == count


@pytest.mark.parametrize("text", ["", "GiB", "2 GiBs", "-1 GiB", "1e3", "2 PiB", "1,5 GiB", "0x10", "nan", "1.5.2 G"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match='a size such as "2 GiB" or "512 MiB"'):
        SIZE.validate_python(text)


def test_an_endless_size_is_refused() -> None:
    with pytest.raises(ValidationError):
        SIZE.validate_python("9" * 400)


@pytest.mark.parametrize("value", [None, [], {}, 1.5])
def test_what_is_no_text_and_no_whole_number_is_refused(value: object) -> None:
    with pytest.raises(ValidationError):
        SIZE.validate_python(value)


@given(st.text())
def test_any_text_is_a_size_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(parse_bytes(text), int)


@given(st.integers(0, 1 << 50))
def test_what_is_shown_can_be_read_back(count: int) -> None:
    assert SIZE.validate_python(format_bytes(count)) == pytest.approx(
        count, rel=0.006, abs=1
    )  # two decimals, and whole bytes


@given(st.integers(1, 1023), st.sampled_from([0, 10, 20, 30]))
def test_round_sizes_survive_exactly(count: int, shift: int) -> None:
    size = count << shift
    if count < 1000:
        assert SIZE.validate_python(format_bytes(size)) == size
    assert SIZE.validate_json(SIZE.dump_json(size)) == pytest.approx(size, rel=0.005)
