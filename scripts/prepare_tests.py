"""Before the tests: a Docker Engine that answers, and the user image. Without an engine, tests skip and say so."""

import subprocess
import sys
from pathlib import Path

from spawner.cli.output import Output
from spawner.engine.daemon import ensure_engine
from spawner.errors import BerthError


def main() -> int:
    output = Output(as_json=False)
    try:
        ensure_engine(output.step)
    except BerthError as error:
        output.step(f"No Docker Engine here, so what needs one will be skipped: {error}")
        return 0
    return subprocess.call([str(Path(sys.executable).with_name("berth")), "images", "--flavour", "cpu"])


if __name__ == "__main__":
    sys.exit(main())
