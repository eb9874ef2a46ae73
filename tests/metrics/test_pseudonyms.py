import hashlib
import hmac

from hypothesis import given
from hypothesis import strategies as st

from spawner.metrics.pseudonyms import Pseudonyms

KEY = b"a key of thirty-two bytes, or so"


@given(st.text())
def test_without_a_key_names_stay(name: str) -> None:
    assert Pseudonyms(None).of(name) == name


def test_with_a_key_it_is_the_documented_hash() -> None:
    digits = hmac.new(KEY, "müller".encode(), hashlib.sha256).hexdigest()
    assert Pseudonyms(KEY).of("müller") == f"u-{digits[:16]}"


@given(st.text(min_size=1), st.text(min_size=1))
def test_who_differs_stays_different(one: str, other: str) -> None:
    names = Pseudonyms(KEY)
    assert (names.of(one) == names.of(other)) == (one == other)


def test_nobody_stays_nobody() -> None:
    assert Pseudonyms(KEY).of("") == ""


def test_another_key_gives_other_names() -> None:
    assert Pseudonyms(KEY).of("ada") != Pseudonyms(KEY[::-1]).of("ada")


def test_the_key_is_not_shown() -> None:
    assert "bytes" not in repr(Pseudonyms(KEY))
