"""Names of containers, volumes and networks: safe for Docker, free of collisions, telling for people.

A name carries a readable part, which alone would collide (``ann.lee`` and ``ann_lee``), and a digest of the exact
user name, which alone would tell nobody anything.
"""

import hashlib
import re
import unicodedata

_READABLE = 24
_DIGEST_BITS = 80  # a collision among a million names: about 4e-13 (birthday bound n²/2 / 2^80)


def slug(text: str) -> str:
    """Give the readable part: up to 24 of ``a-z0-9-``, ``x`` where nothing is left."""
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", ascii_text).strip("-")[:_READABLE].strip("-") or "x"


def _digest(*parts: str) -> str:
    # Lengths in front keep ("a", "bc") and ("ab", "c") apart; surrogatepass takes what UTF-8 cannot.
    framed = b"".join(
        len(raw).to_bytes(4, "big") + raw for raw in (part.encode("utf-8", "surrogatepass") for part in parts)
    )
    return hashlib.sha256(framed).hexdigest()[: _DIGEST_BITS // 4]


def container_name(hub_id: str, user: str, server: str) -> str:
    """Name the container of a user's server (``""`` is the default server) in one hub."""
    readable = f"{slug(user)}-{slug(server)}" if server else slug(user)
    return f"berth-{hub_id}-{readable}-{_digest('container', hub_id, user, server)}"


def home_volume_name(hub_id: str, user: str) -> str:
    """Name the volume that holds a user's home in one hub; all servers of the user share it."""
    return f"{home_volume_prefix(hub_id)}{slug(user)}-{_digest('home', hub_id, user)}"


def home_volume_prefix(hub_id: str) -> str:
    """Give what the names of one hub's homes begin with."""
    return f"berth-{hub_id}-home-"


def exam_volume_name(hub_id: str, session: str, user: str) -> str:
    """Name the volume that takes the place of a user's home in one exam; no home's name begins so."""
    return f"berth-{hub_id}-exam-{slug(user)}-{_digest('exam', hub_id, session, user)}"


def cuda_volume_name(hub_id: str, model: str) -> str:
    """Name the volume that holds the compiled CUDA kernels for one GPU model in one hub."""
    return f"berth-{hub_id}-cuda-{slug(model)}-{_digest('cuda', hub_id, model)[:8]}"


def network_name(hub_id: str) -> str:
    return f"berth-{hub_id}"


def bridge_name(hub_id: str) -> str:
    """Name the network's bridge on the host; Linux allows 15 characters for it."""
    return f"berth-{hub_id}"[:15]


def exam_network_name(hub_id: str) -> str:
    return f"berth-{hub_id}-exam"


def exam_bridge_name(hub_id: str) -> str:
    return f"bexam-{hub_id}"[:15]
