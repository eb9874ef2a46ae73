"""The command ``berth``: start and stop a deployment, look at it, check its settings.

Exit status: 0 done, 1 refused (the reason is printed, with its code), 2 wrong usage.
"""

from .main import main

__all__ = ["main"]
