"""The hub's own pages in our look, the spawn form, and the hub's API of leases and queue.

============ =====================================================================================
`form`       the spawn form
`cards`      what its cards and fields say of profiles, GPUs and quota
`words`      GPUs and times in words for people
`handlers`   the API's routes, `HANDLERS`, and the queue
`lease_api`  the API of leases
`views`      what that API says of a lease
`asking`     who asks, for which server, and what they hear when it fails
============ =====================================================================================
"""

from .files import STATIC, TEMPLATES
from .form import spawn_form

__all__ = ["STATIC", "TEMPLATES", "spawn_form"]
