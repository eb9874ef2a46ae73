"""Traits derived from the settings schema, so that nothing is declared twice."""

from typing import Any

from pydantic import BaseModel, ValidationError
from traitlets import Any as AnyTrait
from traitlets import HasTraits, TraitError


class SettingTrait(AnyTrait):
    """A configurable trait that takes what one field of a settings model takes, validated by that model."""

    def __init__(self, model: type[BaseModel], name: str) -> None:
        field = model.model_fields[name]
        self._model = model
        super().__init__(field.get_default(call_default_factory=True), help=field.description)
        self.tag(config=True)

    def validate(self, obj: Any, value: Any) -> Any:
        """Validate with the whole model, all other fields at their defaults, so that its own checks run too."""
        try:
            return getattr(self._model.model_validate({self.name: value}), self.name)
        except ValidationError as error:
            lines = [
                f"{type(obj).__name__}.{'.'.join(map(str, detail['loc']))}: {detail['msg']}"
                for detail in error.errors()
            ]
            raise TraitError("; ".join(lines)) from None


def settings_traits(model: type[BaseModel], *, without: frozenset[str] = frozenset()) -> Any:
    """Make a mixin class with one trait per field of `model`, except `without`."""
    traits = {name: SettingTrait(model, name) for name in model.model_fields if name not in without}
    return type(f"{model.__name__}Traits", (HasTraits,), traits)
