"""The whole deployment's settings, one schema: ``berth.yaml`` and the environment.

Traits of the spawner, ``berth settings`` and the reference page are derived from the models here.
"""

import ipaddress
import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from .gpus.choice import parse_choice
from .metrics.settings import MetricsSettings
from .policy.gpus import SlotKind
from .policy.homes import DeletedUsers
from .policy.leases import LeaseRules
from .policy.model import AtEnd, LimitRule, LimitRules, Profile
from .policy.quota import ALL, UNLIMITED, Quota, QuotaRule
from .signin import SignIn
from .units import Amount, Bytes, BytesOrUnlimited

DEFAULT_IMAGE = "berth/tensorflow:2.9.3-cpu"
HUB_PORT = 8081  # of the hub's API, at the gateway of the users' network; no two hubs share a network

_Cpu = Annotated[float, Field(gt=0, le=4096)]
_Memory = Annotated[Bytes, Field(ge=64 << 20)]
_Shm = Annotated[Bytes, Field(ge=1 << 20)]
_Count = Annotated[int, Field(gt=0)]
_Gpus = Annotated[int, Field(ge=0)]
_Hours = Annotated[float, Field(gt=0, le=24 * 365)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SizeSettings(_Section):
    """Part of a size; what is left out is decided elsewhere."""

    cpu: _Cpu | None = Field(None, description="Cores, as CPU time per second; fractions are allowed.")
    memory: _Memory | None = Field(None, description="Memory; swap adds nothing to it.")
    processes: _Count | None = Field(None, description="Processes and threads.")
    shm: _Shm | None = Field(None, description="Size of /dev/shm, which counts in the memory.")
    open_files: _Count | None = Field(None, description="Open files per process.")
    gpus: _Gpus | None = Field(None, description="GPUs at once.")

    def rule(self) -> LimitRule:
        return LimitRule(**{dimension: getattr(self, dimension) for dimension in LimitRule.__dataclass_fields__})


class QuotaSettings(SizeSettings):
    """Part of a quota; what is left out is decided elsewhere. The ledger's quotas go before it."""

    gpu_hours: Amount | None = Field(None, description="GPU-hours per `leases.budget_days`.")
    lease_hours: _Hours | None = Field(None, description="Longest lease of GPUs, hours.")
    home: BytesOrUnlimited | None = Field(None, description="Size of the home.")
    profiles: frozenset[str] | None = Field(None, description="Profiles allowed, by slug; `*` for all.")
    models: frozenset[str] | None = Field(None, description="GPU models allowed; `*` for all.")
    priority: int | None = Field(None, description="In the queue; higher goes first.")

    def quota_rule(self) -> QuotaRule:
        return QuotaRule(**{dimension: getattr(self, dimension) for dimension in QuotaRule.__dataclass_fields__})


class ProfileSettings(SizeSettings):
    """A kind of server that users choose."""

    slug: str = Field(
        pattern=r"^[a-z0-9](-?[a-z0-9]+)*$", max_length=40, description="Name in the API: a-z, 0-9, hyphens."
    )
    name: str = Field(min_length=1, description="Name on the card.")
    description: str = Field("", description="One or two sentences on the card.")
    image: str = Field("", description="Image of its servers; empty takes `image`.")
    users: frozenset[str] = Field(
        frozenset(), description="Users who may choose it; with no users and no groups, everyone."
    )
    groups: frozenset[str] = Field(frozenset(), description="Groups whose members may choose it.")
    gpu_models: frozenset[str] = Field(
        frozenset(), description="GPU models that will do, as `berth gpus` names them; left out, every one."
    )
    gpu_kinds: frozenset[SlotKind] = Field(
        frozenset(), description="Kinds of slots that will do: whole GPUs, MIG instances, shares; left out, every one."
    )
    gpu_memory: Bytes = Field(0, ge=0, description="Least memory of each GPU, or part of one.")
    idle_minutes: Annotated[int, Field(ge=0)] | None = Field(
        None, description="Overrides `leases.idle_minutes` for servers of this profile; 0 for never."
    )

    def profile(self) -> Profile:
        return Profile(
            self.slug,
            self.name,
            self.description,
            self.rule(),
            self.image,
            self.users,
            self.groups,
            self.gpu_models,
            self.gpu_kinds,
            self.gpu_memory,
            None if self.idle_minutes is None else timedelta(minutes=self.idle_minutes),
        )


class DefaultLimits(_Section):
    """The most that one server may have, for whom no group and no own rule says otherwise."""

    cpu: _Cpu = Field(4, description="Cores.")
    memory: _Memory = Field(16 << 30, description="Memory.")
    processes: _Count = Field(4096, description="Processes and threads.")
    shm: _Shm = Field(4 << 30, description="Size of /dev/shm.")
    open_files: _Count = Field(16384, description="Open files per process; no more than the engine itself may open.")
    gpus: _Gpus = Field(1, description="GPUs at once, over all servers of a user.")
    gpu_hours: Amount = Field(UNLIMITED, description="GPU-hours per `leases.budget_days`.")
    lease_hours: _Hours = Field(24, description="Longest lease of GPUs, hours.")
    home: BytesOrUnlimited = Field(UNLIMITED, description="Size of the home.")
    profiles: frozenset[str] = Field(ALL, description="Profiles allowed, by slug; `*` for all.")
    models: frozenset[str] = Field(ALL, description="GPU models allowed; `*` for all.")
    priority: int = Field(0, description="In the queue; higher goes first.")


class LimitSettings(_Section):
    default: DefaultLimits = Field(default_factory=DefaultLimits, description="Everyone's limits.")
    groups: dict[str, QuotaSettings] = Field(
        default_factory=dict,
        description="Limits per group; of several groups the most generous value counts.",
    )
    users: dict[str, QuotaSettings] = Field(
        default_factory=dict, description="Limits per user; they override the groups'."
    )

    def rules(self) -> LimitRules:
        return LimitRules(
            Quota(**self.default.model_dump()),
            {name: size.quota_rule() for name, size in self.groups.items()},
            {name: size.quota_rule() for name, size in self.users.items()},
        )


class LeaseSettings(_Section):
    """Leases of GPUs: how long, in which order, and what becomes of a server at the end."""

    budget_days: int = Field(7, ge=1, le=366, description="Rolling window of the GPU-hours quota, days.")
    half_life_days: float = Field(7, gt=0, description="After which use counts half in fair share, days.")
    patience_hours: float = Field(
        24, gt=0, description="After which a ticket goes before all younger ones, whatever their priority and share."
    )
    offer_minutes: float = Field(5, gt=0, le=120, description="How long free GPUs are held for who waited for them.")
    wait_seconds: int = Field(
        60, ge=0, le=600, description="How long a start waits in the queue before it hands over to the queue's page."
    )
    shortest_minutes: float = Field(10, gt=0, description="No lease is cut shorter than this by what is reserved.")
    turnover_seconds: float = Field(
        120, ge=0, description="From the end of a lease until its GPUs are surely free, in plans."
    )
    warn_minutes: tuple[_Count, ...] = Field((30, 10, 2), description="Minutes before the end at which users are told.")
    at_end: AtEnd = Field(
        AtEnd.CPU,
        description="At the end of a lease: `cpu` starts the server again without GPUs, `stop` stops it. Users may "
        "choose otherwise.",
    )
    idle_minutes: int = Field(
        60, ge=0, description="A GPU unused for so long, with no busy kernel, is released; 0 for never."
    )
    idle_utilisation: float = Field(0.02, ge=0, le=1, description="Utilisation up to which a GPU counts as unused.")
    idle_warn_minutes: int = Field(10, ge=1, description="How long before that its user is told.")
    idle_groups: dict[str, Annotated[int, Field(ge=0)]] = Field(
        default_factory=dict,
        description="Overrides `idle_minutes` for members of groups; the longest counts, 0 for never.",
    )
    watchdog_seconds: int = Field(
        60,
        ge=5,
        description="How long a process may exceed its share's memory after the warning, where only that helps.",
    )
    reconcile_seconds: int = Field(
        30,
        ge=1,
        le=600,
        description="How often leases and containers are compared; so much of a lease's time is unsure at most where "
        "the engine lost when its container ended.",
    )

    def rules(self) -> LeaseRules:
        return LeaseRules(
            window=timedelta(days=self.budget_days),
            half_life=timedelta(days=self.half_life_days),
            patience=timedelta(hours=self.patience_hours),
            offer=timedelta(minutes=self.offer_minutes),
            shortest=timedelta(minutes=self.shortest_minutes),
            turnover=timedelta(seconds=self.turnover_seconds),
        )


class ConsoleSettings(_Section):
    """The web pages and REST API at ``/services/console/``."""

    port: int | None = Field(
        None, ge=1, le=65535, description="Port on 127.0.0.1, behind the hub's proxy; left out, a free one."
    )


def _network(text: str) -> str:
    """Accept an IPv4 network as text."""
    return str(ipaddress.IPv4Network(text))


Network = Annotated[str, AfterValidator(_network)]


class NetworkSettings(_Section):
    subnet: Network | None = Field(
        None,
        description="IPv4 subnet of the users' containers; left out, the engine chooses a free one.",
        examples=["10.213.0.0/20"],
    )
    exam_subnet: Network | None = Field(
        None,
        description="IPv4 subnet of containers in exams; left out, the engine chooses a free one.",
        examples=["10.213.16.0/20"],
    )
    firewall: Literal["managed", "external"] = Field(
        "managed",
        description="`managed`: the hub sets the host's iptables rules and checks them before every start "
        "(needs root). "
        "`external`: you set the rules that `berth firewall` prints; the hub does not look.",
    )
    blocked: tuple[Network, ...] = Field(
        ("169.254.0.0/16",),
        description="Destinations that containers cannot reach; the default holds cloud metadata services.",
    )


_RESERVED = {"/", "/home", "/home/jovyan", "/srv/shared", "/opt", "/proc", "/sys", "/dev", "/etc"}


class MountSettings(_Section):
    source: str = Field(min_length=1, description="Absolute path on the host, or a Docker volume's name.")
    target: str = Field(pattern=r"^/", description="Absolute path in the container.")
    read_only: bool = Field(True, description="Whether users can only read.")

    @field_validator("target")
    @classmethod
    def _not_reserved(cls, target: str) -> str:
        if ".." in target.split("/"):
            raise ValueError("a path without ..")
        # Not Path: POSIX keeps two slashes in front apart, Linux does not.
        target = "/" + "/".join(part for part in target.split("/") if part not in {"", "."})
        if target in _RESERVED:
            raise ValueError("a path that the container does not need for itself")
        return target

    @field_validator("source")
    @classmethod
    def _path_or_volume(cls, source: str) -> str:
        if not re.fullmatch(r"/.*|[a-zA-Z0-9][a-zA-Z0-9_.-]+", source):
            raise ValueError("an absolute path on the host, or the name of a Docker volume")
        # Whoever holds the engine's socket is root on the host.
        if Path(source).name in {"docker.sock", "containerd.sock"}:
            raise ValueError("anything but the engine's socket")
        return source


class SpawnerSettings(BaseModel):
    """What `spawner.backends.docker.TensorFlowSpawner` needs; each field is one of its traits too."""

    profiles: tuple[ProfileSettings, ...] = Field(
        (
            ProfileSettings(
                slug="cpu",
                name="CPU",
                description="For notebooks, data preparation and small models.",
                cpu=1,
                memory=2 << 30,
                gpus=0,
            ),
            ProfileSettings(
                slug="gpu",
                name="GPU",
                description="For training. One GPU, or as many as your quota allows.",
                cpu=2,
                memory=6 << 30,
                gpus=1,
            ),
        ),
        description="Kinds of servers to choose from, as cards on the form; the first is the default.",
    )
    limits: LimitSettings = Field(
        default_factory=LimitSettings, description="The most that one server may have, by user and group."
    )
    leases: LeaseSettings = Field(default_factory=LeaseSettings, description="Leases of GPUs.")
    image: str = Field(
        DEFAULT_IMAGE, min_length=1, description="Image of users' servers, where the profile names none."
    )
    pull: Literal["missing", "always", "never"] = Field(
        "missing", description="When a server's image is pulled from its registry."
    )
    network: NetworkSettings = Field(default_factory=NetworkSettings, description="What users' containers can reach.")
    mps_pipes: Path = Field(
        Path("/tmp/nvidia-mps"),  # noqa: S108  NVIDIA's default
        description="Where the MPS control daemon of shared GPUs has its pipes (its CUDA_MPS_PIPE_DIRECTORY).",
    )
    mps_shm: Path | None = Field(
        None,
        description="Host directory that the MPS control daemon has as its /dev/shm; left out, it has the host's, and "
        "containers with shares behind MPS are in the host's IPC namespace.",
    )
    shared_dir: Path | None = Field(None, description="Host directory that every user sees, read-only, at /srv/shared.")
    mounts: tuple[MountSettings, ...] = Field((), description="Further mounts in every user's container.")
    certificates: tuple[Path, ...] = Field(
        (),
        description="PEM files of extra certificate authorities, for image builds and users' containers; "
        "they are trusted beside the usual ones.",
    )
    environment: dict[str, str] = Field(
        default_factory=dict, description="Further environment variables of users' servers."
    )
    start_timeout: int = Field(1800, gt=0, description="Seconds a start may take in all, image pull included.")
    ready_timeout: int = Field(120, gt=0, description="Seconds a server may take to answer, once its container runs.")
    stop_grace: int = Field(10, ge=0, description="Seconds a server gets to end by itself before it is killed.")

    @field_validator("profiles")
    @classmethod
    def _slugs_differ(cls, profiles: tuple[ProfileSettings, ...]) -> tuple[ProfileSettings, ...]:
        if not profiles:
            raise ValueError("at least one profile")
        slugs = [profile.slug for profile in profiles]
        twice = sorted({slug for slug in slugs if slugs.count(slug) > 1})
        if twice:
            raise ValueError(f"one profile per slug; {', '.join(twice)} appears twice")
        return profiles

    @field_validator("environment")
    @classmethod
    def _names_are_free(cls, environment: dict[str, str]) -> dict[str, str]:
        for name in environment:
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                raise ValueError(f"names of environment variables, not {name!r}")
            if name.startswith(("JUPYTERHUB_", "NVIDIA_VISIBLE_DEVICES")):
                raise ValueError(f"anything but {name}, which the hub sets")
        return environment


class HomeSettings(_Section):
    """Users' homes: measured, archived, deleted."""

    archive_dir: Path | None = Field(
        None,
        description="Directory of archived homes, on a disk with room for them; left out, `homes` in `state_dir`. "
        "Move what is in it along when you change it.",
        examples=["/srv/berth-archives"],
    )
    grace_days: int = Field(
        30,
        ge=0,
        le=3660,
        description="From the wish to delete a home until it is deleted, where nobody says otherwise.",
    )
    measure_minutes: int = Field(
        60,
        ge=0,
        description="How often the size of each home that is in use is measured, at low priority; 0 for never.",
    )
    deleted_users: DeletedUsers = Field(
        DeletedUsers.KEEP,
        description="What becomes of the home of a user whom the hub does not know any more: `keep` it, `archive` it, "
        "or `delete` it after `grace_days`. Who is back by then keeps it.",
    )


class ClassSettings(_Section):
    """Courses and their sessions."""

    teachers: tuple[str, ...] = Field(
        (),
        description="Groups of the hub whose members may make courses; admins always may.",
        examples=[["teachers"]],
    )
    ask_students: bool = Field(
        True,
        description="Whether people whom an instructor has put on a roster are asked before its staff can enter their "
        "seats, in which their homes are, put files into them, and collect from them. Who follows a join link, or is "
        "put in by an admin, is not asked.",
    )
    starts_at_once: int = Field(
        8, ge=1, le=1000, description="Seats that are being started together, before a session and in it."
    )
    materials: dict[str, Path] = Field(
        default_factory=dict,
        description="Directories of this machine that courses can hand out as materials, by name.",
        examples=[{"intro": "/srv/materials/intro"}],
    )
    git_hosts: tuple[str, ...] = Field(
        (),
        description="Hosts that materials may come from by git; left out, any that is not in a private network.",
        examples=[["git.example.org"]],
    )
    data_sets: dict[str, Path] = Field(
        default_factory=dict,
        description="Directories of this machine that courses can give their seats to read, at /srv/data/NAME.",
        examples=[{"imagenet": "/srv/imagenet"}],
    )
    exam_days: int = Field(
        90,
        ge=0,
        le=3660,
        description="How long after an exam the volumes that stood for homes in it are kept, where the work was "
        "collected from them; the others are kept. 0 for ever.",
    )
    push_bytes: int = Field(100 << 20, ge=1, description="Most bytes of a file that is pushed to seats.")
    collect_bytes: int = Field(
        1 << 30, ge=1, description="Most bytes of one seat's work that are collected at a time, before packing."
    )


class Settings(SpawnerSettings, BaseSettings):
    """A deployment's settings. Read them with `spawner.settings_file.load_settings`."""

    model_config = SettingsConfigDict(
        env_prefix="BERTH_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
    )

    bind_address: str = Field(
        "127.0.0.1",
        description="Address to listen on. The demo sign-in allows none but this machine's own.",
    )
    port: int = Field(8000, ge=1, le=65535, description="Port to listen on.")
    public_url: str | None = Field(
        None,
        pattern=r"^https?://[^/]+(/.*)?$",
        description="Address at which people reach the hub, where a reverse proxy stands before it.",
        examples=["https://berth.example.org"],
    )
    state_dir: Path = Field(
        Path(".berth"), description="Directory of all state but homes in use: database, secrets, logs."
    )
    gpus: str = Field(
        "auto",
        description="Where GPUs come from: `auto` (NVML where there is a driver; two simulated ones in a demo), "
        "`nvml`, `none`, `sim:N` for N simulated ones, `sim:PATH` for those that a YAML file describes.",
        examples=["sim:4"],
    )
    gpu_shares: dict[str, Annotated[int, Field(ge=1, le=64)]] = Field(
        default_factory=dict,
        description="GPUs that are shared, each in so many parts: by name (`gpu0`), UUID, model, or `*`.",
    )
    database_url: SecretStr | None = Field(
        None,
        description="Of the ledger: `postgresql://USER:PASSWORD@HOST/NAME`, or `sqlite:///PATH`; left out, a file in "
        "`state_dir`.",
    )
    api_token: SecretStr | None = Field(
        None,
        min_length=16,
        description="Registers a service `automation` with an admin's scopes, for scripts.",
    )
    sign_in: SignIn = Field(default_factory=SignIn, description="How people sign in.")
    homes: HomeSettings = Field(default_factory=HomeSettings, description="Users' homes.")
    metrics: MetricsSettings = Field(default_factory=MetricsSettings, description="Metrics for Prometheus.")
    classes: ClassSettings = Field(default_factory=ClassSettings, description="Courses and their sessions.")
    console: ConsoleSettings = Field(default_factory=ConsoleSettings, description="Web pages and REST API.")
    pip_index_url: str | None = Field(
        None, description="Python package index for image builds, where the usual one cannot be reached."
    )
    debian_mirror: str | None = Field(
        None, description="Debian mirror for image builds, where the usual one cannot be reached."
    )
    keep_certificates: bool = Field(
        False, description="Whether images that are built here keep the extra certificate authorities."
    )

    @field_validator("gpus")
    @classmethod
    def _is_a_source(cls, text: str) -> str:
        parse_choice(text)
        return text

    @field_validator("bind_address")
    @classmethod
    def _is_address(cls, address: str) -> str:
        ipaddress.ip_address(address)
        return address

    @model_validator(mode="after")
    def _demo_stays_here(self) -> Self:
        if self.sign_in.method == "demo" and not ipaddress.ip_address(self.bind_address).is_loopback:
            raise ValueError(
                "bind_address must be 127.0.0.1 with the demo sign-in, whose one password all users share; "
                "set sign_in.method to listen on another address"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment override what is passed in, which `load_settings` read from the file."""
        return env_settings, init_settings
