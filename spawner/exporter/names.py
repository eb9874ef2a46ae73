"""Who is called what in metrics."""

from dataclasses import dataclass, field

from ..engine.running import RunningContainer
from ..metrics.pseudonyms import Pseudonyms


@dataclass(frozen=True, slots=True)
class Naming:
    """Users' names, or what stands for them.

    Attributes
    ----------
    hashed
        Whether names are hidden; then containers, whose names tell of users, go by their ids.
    """

    pseudonyms: Pseudonyms = field(default_factory=Pseudonyms)
    hashed: bool = False

    def user(self, name: str) -> str:
        return self.pseudonyms.of(name)

    def container(self, container: RunningContainer) -> str:
        return container.id[:12] if self.hashed else container.name
