"""All metrics of Berth's own."""

from .metric import Declaration
from .of_classes import CLASS_METRICS
from .of_containers import CONTAINER_METRICS
from .of_gpus import GPU_METRICS
from .of_hub import HUB_METRICS
from .of_leases import LEASE_METRICS

ALL_METRICS: tuple[Declaration, ...] = (
    *GPU_METRICS,
    *CONTAINER_METRICS,
    *LEASE_METRICS,
    *CLASS_METRICS,
    *HUB_METRICS,
)
