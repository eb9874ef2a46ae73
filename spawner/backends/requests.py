"""Between JupyterHub's forms and exceptions and the policy's requests and refusals."""

import html
from typing import Any

from jupyterhub.spawner import SpawnException

from ..errors import BerthError
from ..policy.model import Deny


def options_from_form(form: dict[str, list[str]]) -> dict[str, Any]:
    """Turn the form's texts into what the API takes; what is no number stays a text, for the policy to refuse."""
    options: dict[str, Any] = {}
    for name, values in form.items():
        text = values[-1]
        if text == "":
            continue  # nothing was chosen
        if name == "clean" and text == "true":
            options[name] = True
            continue
        if name in {"gpus", "hours"}:
            try:
                options[name] = int(text) if name == "gpus" else float(text)
                continue
            except ValueError:
                pass
        options[name] = text
    return options


def refusal(cause: Deny | BerthError, status: int) -> SpawnException:
    """Give the hub's exception: the code becomes a metric's label, the text is shown as it stands, lines kept."""
    text = cause.reason if isinstance(cause, Deny) else str(cause)
    first, _, rest = text.partition("\n")
    shown = html.escape(first) + (f"<pre class='berth-log'>{html.escape(rest)}</pre>" if rest else "")
    exception = SpawnException(text, reason=cause.code, message_html=shown, status_code=status)
    # The form's page reads these instead, and would else show the exception's technical text.
    exception.jupyterhub_message, exception.jupyterhub_html_message = text, shown
    return exception
