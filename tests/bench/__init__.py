"""The benchmark: Berth beside stock DockerSpawner, in one run, on one engine and one image. Run by ``make bench``."""
