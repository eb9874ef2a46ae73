"""Why a start came to nothing, in words for its user and with what the server said last."""

from ..engine import containers
from ..engine.client import Engine
from ..errors import ContainerExited, ServerNotReady
from ..policy.admission import format_bytes


async def exited(engine: Engine, container: str, memory: int) -> ContainerExited:
    """Explain why a container ended.

    Parameters
    ----------
    memory
        Its limit, bytes.
    """
    state = await engine.call("quick", lambda client: containers.state(client, container))
    if state is None:
        cause = "it was removed by somebody"
    elif state.out_of_memory:
        cause = f"it needed more memory than its {format_bytes(memory)}"
    else:
        cause = f"exit code {state.exit_code}"
    words = await _last_words(engine, container)
    return ContainerExited(f"The container ended before its server answered: {cause}.{words}")


async def silent(engine: Engine, container: str, seconds: int) -> ServerNotReady:
    """Explain that a server did not answer in time."""
    words = await _last_words(engine, container)
    return ServerNotReady(f"The container runs, but its server did not answer within {seconds} s.{words}")


async def _last_words(engine: Engine, container: str) -> str:
    lines = await engine.call("quick", lambda client: containers.last_lines(client, container))
    return f" Its last words:\n{lines}" if lines else " It said nothing."
