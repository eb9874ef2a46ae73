"""Run all tests: those on the Docker Engine one after the other, and beside them those that need none.

The first wait for containers most of the time, while a core would idle.
"""

import subprocess
import sys
import tempfile
from typing import IO

ON_THE_ENGINE = "docker or image or gpu_image or hub"


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def start(which: str, output: IO[bytes] | None) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "pytest", "--durations=15", "-m", which]
    return subprocess.Popen(command, stdout=output, stderr=output and subprocess.STDOUT)


def main() -> int:
    with tempfile.TemporaryFile() as told:
        say("Tests that need no engine run beside those that do; what they say comes at the end.")
        beside = start(f"not ({ON_THE_ENGINE})", told)
        try:
            status = start(ON_THE_ENGINE, None).wait()
            statuses = {status, beside.wait()}
        finally:
            beside.kill()
        told.seek(0)
        say("\nThe tests that need no engine:")
        sys.stdout.buffer.write(told.read())
    return max(statuses)


if __name__ == "__main__":
    sys.exit(main())
