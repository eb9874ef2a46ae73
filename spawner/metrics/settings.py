"""What a deployment says about its metrics."""

import ipaddress
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

Port = Annotated[int, Field(ge=1, le=65535)]


class ExporterSettings(BaseModel):
    """Where a node's exporter is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(
        pattern=r"^https?://[^/\s?#@]+$", description="Address, without `/metrics`.", examples=["https://node1:9410"]
    )
    token: SecretStr | None = Field(None, description="Bearer token that it wants; left out, `metrics.token`.")
    certificate_authority: Path | None = Field(
        None, description="PEM file of the authority behind its certificate; left out, the usual ones are trusted."
    )


class MetricsSettings(BaseModel):
    """Metrics for Prometheus."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bind_address: str = Field("127.0.0.1", description="Address on which exporter and janitor serve their metrics.")
    exporter_port: Port = Field(9410, description="Port of the exporter: GPUs, containers, homes of this node.")
    janitor_port: Port = Field(9411, description="Port of the janitor's metrics: leases, queue, quotas, accounting.")
    token: SecretStr | None = Field(
        None, min_length=16, description="Bearer token that whoever asks for metrics must send; left out, none."
    )
    certificate: Path | None = Field(
        None, description="PEM file with the certificate chain for TLS; left out, metrics are served without."
    )
    key: Path | None = Field(None, description="PEM file with the certificate's key.")
    exporters: tuple[ExporterSettings, ...] = Field(
        (),
        description="The exporters of all nodes, which the console asks for live readings; left out, this host's own.",
    )
    hash_users: bool = Field(
        False,
        description="Put a keyed hash in place of each user's name in metrics; `berth usage` keeps names.",
    )
    processes: bool = Field(True, description="Whether each process on a GPU has samples of its own.")
    home_minutes: Annotated[float, Field(ge=0)] = Field(
        30, description="How often each home's size is measured, at low priority; 0 for never."
    )
    job_mapping_dir: Path | None = Field(
        None,
        description="Directory in which the exporter writes who holds each GPU, for dcgm-exporter's "
        "`--hpc-job-mapping-dir`.",
        examples=["/var/run/berth/job-mapping"],
    )
    prometheus_port: Port = Field(9090, description="Port of the Prometheus that `make up MONITORING=1` starts.")
    alertmanager: str | None = Field(
        None,
        pattern=r"^[^/\s:]+:\d+$",
        description="Alertmanager to which that Prometheus sends alerts, `HOST:PORT`.",
        examples=["127.0.0.1:9093"],
    )
    retention_days: int = Field(90, ge=1, description="How long that Prometheus keeps samples, days.")

    @field_validator("bind_address")
    @classmethod
    def _is_address(cls, address: str) -> str:
        ipaddress.ip_address(address)
        return address

    @model_validator(mode="after")
    def _key_with_certificate(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together: set both, or neither")
        return self
