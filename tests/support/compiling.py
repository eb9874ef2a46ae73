"""Small programs and libraries in C that tests need."""

import subprocess
from pathlib import Path


def compile_c(source: Path, made: Path, *flags: str) -> None:
    """Compile a program, or with ``-fPIC -shared`` a library."""
    subprocess.run(["gcc", "-std=gnu11", "-Wall", "-Werror", *flags, "-o", str(made), str(source)], check=True)
