"""The hub's own pages in our look, the spawn form, and the hub's API of leases, classes and queue.

============= ====================================================================================
`form`        the spawn form
`cards`       what its cards and fields say of profiles, GPUs and quota
`words`       GPUs and times in words for people
`handlers`    the API's routes, `HANDLERS`, and the queue
`lease_api`   the API of leases
`class_api`   the API of classes
`views`       what the API says of a lease
`class_views` what it says of a class
`asking`      who asks, for which server, and what they hear when it fails
============= ====================================================================================
"""

from .files import STATIC, TEMPLATES
from .form import seat_form, spawn_form

__all__ = ["STATIC", "TEMPLATES", "seat_form", "spawn_form"]
