"""One discipline on one workload."""

from .disciplines import Discipline
from .engine import Simulation
from .report import Result, result_of
from .scenario import Workload


def run(workload: Workload, discipline: Discipline) -> Result:
    """Simulate; the same arguments always give the same result, bit by bit."""
    return result_of(workload, discipline, Simulation(workload, discipline).run())
