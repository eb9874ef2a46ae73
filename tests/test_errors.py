import inspect
import re

from spawner import errors
from spawner.errors import BerthError

CLASSES = [value for _, value in inspect.getmembers(errors, inspect.isclass) if issubclass(value, BerthError)]
NAMES = [cls.__name__ for cls in CLASSES if cls is not BerthError]


def test_the_docstring_shows_the_whole_tree() -> None:
    shown = re.findall(r"^      (\w+)$", errors.__doc__ or "", re.MULTILINE)
    assert shown == NAMES


def test_errors_stand_sorted() -> None:
    assert sorted(NAMES) == NAMES
    lines = [inspect.getsourcelines(getattr(errors, name))[1] for name in NAMES]
    assert lines == sorted(lines)


def test_each_code_is_the_class_name_in_lower_case() -> None:
    for name in NAMES:
        assert getattr(errors, name).code == re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def test_an_error_shows_its_message() -> None:
    assert all(str(cls("Say what to do.")) == "Say what to do." for cls in CLASSES)
