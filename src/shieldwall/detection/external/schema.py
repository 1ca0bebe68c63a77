"""The schema of an external alert: what any product may tell, each field checked and bounded."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from ipaddress import IPv6Address, ip_address
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
)
from pydantic import ValidationError as PydanticError
from pydantic.alias_generators import to_camel

from shieldwall.times import now, parse

PAST = timedelta(days=366)
FUTURE = timedelta(hours=1)
"""How far from our clock an alert's times may be."""
ITEMS = 50
"""Most files, users, processes, addresses or techniques of one alert."""

SEVERITIES = ("Informational", "Low", "Medium", "High")
CATEGORIES = (
    "General",
    "CommandAndControl",
    "Collection",
    "CredentialAccess",
    "DefenseEvasion",
    "Discovery",
    "Exfiltration",
    "Exploit",
    "Execution",
    "InitialAccess",
    "LateralMovement",
    "Malware",
    "Persistence",
    "PrivilegeEscalation",
    "Ransomware",
    "SuspiciousActivity",
)

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_MILLISECONDS = 100_000_000_000
"""Numbers from here on are milliseconds since 1970, smaller ones are seconds."""


class FieldError(ValueError):
    """A field that cannot be taken; ``field`` is its path as the sender wrote it, ``""`` for the whole."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field} {message}" if field else message)
        self.field = field
        self.message = message


def _printable(text: str) -> str:
    if found := _CONTROL.search(text):
        raise ValueError(f"has the control character U+{ord(found[0]):04X}")
    return text


def _address(value: Any) -> str:
    try:
        parsed = ip_address(value.strip().strip("[]"))
    except (ValueError, AttributeError):
        raise ValueError("is no IP address") from None
    if isinstance(parsed, IPv6Address):
        if parsed.scope_id:
            raise ValueError("is an IP address with a zone, which means nothing here")
        return str(parsed.ipv4_mapped or parsed)
    return str(parsed)


def _time(value: Any) -> datetime:
    """ISO 8601, or seconds or milliseconds since 1970."""
    try:
        if isinstance(value, str):
            return parse(value)
        if isinstance(value, datetime):
            return value.astimezone(UTC)
        if isinstance(value, int | float) and not isinstance(value, bool):
            seconds = value / 1000 if abs(value) >= _MILLISECONDS else value
            return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    raise ValueError("is no date and time")


def _recent(moment: datetime, info: ValidationInfo) -> datetime:
    # What was accepted stays acceptable, however old it grows.
    if info.context is None and not now() - PAST <= moment <= now() + FUTURE:
        raise ValueError(f"is not within the last {PAST.days} days: {moment:%Y-%m-%dT%H:%M:%SZ}")
    return moment


def _mac(text: str) -> str:
    digits = re.sub("[:.-]", "", text.strip().lower())
    if not re.fullmatch("[0-9a-f]{12}", digits):
        raise ValueError("is no MAC address")
    return digits


def _one_of(*names: str, **also: str) -> AfterValidator:
    """One of ``names`` in any case, or another word for one."""
    known = {name.lower(): name for name in names} | also

    def read(text: str) -> str:
        found = known.get(text.strip().lower())
        if found is None:
            raise ValueError(f"must be one of {', '.join(names)}")
        return found

    return AfterValidator(read)


Tag = Annotated[str, StringConstraints(strip_whitespace=True, max_length=64), AfterValidator(_printable)]
Label = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200), AfterValidator(_printable)]
Name = Annotated[Label, StringConstraints(min_length=1)]
Text = Annotated[str, StringConstraints(strip_whitespace=True, max_length=500), AfterValidator(_printable)]
Title = Annotated[Text, StringConstraints(min_length=1)]
Path = Annotated[str, StringConstraints(strip_whitespace=True, max_length=2048), AfterValidator(_printable)]
Long = Annotated[str, StringConstraints(strip_whitespace=True, max_length=10_000), AfterValidator(_printable)]
Sha1 = Annotated[str, StringConstraints(strip_whitespace=True, to_lower=True, pattern="^[0-9a-fA-F]{40}$")]
Sha256 = Annotated[str, StringConstraints(strip_whitespace=True, to_lower=True, pattern="^[0-9a-fA-F]{64}$")]
Md5 = Annotated[str, StringConstraints(strip_whitespace=True, to_lower=True, pattern="^[0-9a-fA-F]{32}$")]
Mac = Annotated[str, StringConstraints(max_length=40), AfterValidator(_mac)]
Technique = Annotated[
    str, StringConstraints(strip_whitespace=True, to_upper=True, pattern=r"^[Tt]\d{4}(\.\d{3})?$")
]
Address = Annotated[str, BeforeValidator(_address)]
Time = Annotated[datetime, BeforeValidator(_time)]
Recent = Annotated[Time, AfterValidator(_recent)]
Port = Annotated[int, Field(ge=0, le=65535)]
Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
Number = Annotated[int, Field(ge=0, le=2**53)]
Severity = Annotated[str, _one_of(*SEVERITIES, critical="High")]
Category = Annotated[str, _one_of(*CATEGORIES)]
Status = Annotated[str, _one_of("New", "InProgress", "Resolved")]
Direction = Annotated[str, _one_of("Inbound", "Outbound", "Lateral", "Unknown")]


class Part(BaseModel):
    """Fields in camel case, each of its type; what is not named here is passed over."""

    model_config = ConfigDict(alias_generator=to_camel, strict=True, extra="ignore", frozen=True)


class DeviceHint(Part):
    """What the product knows of the device; the more, the surer it is found."""

    id: Label | None = None
    """The device's id here, or its Entra device id."""
    name: Label | None = None
    addresses: Annotated[list[Address], Field(max_length=ITEMS)] = []
    mac_addresses: Annotated[list[Mac], Field(max_length=ITEMS)] = []


class Network(Part):
    """The connection. The source is who opened it."""

    source_address: Address | None = None
    source_port: Port | None = None
    destination_address: Address | None = None
    destination_port: Port | None = None
    translated_source_address: Address | None = None
    """Of the same connection on the other side of a NAT."""
    translated_source_port: Port | None = None
    protocol: Tag | None = None
    direction: Direction = "Unknown"
    start_time: Recent | None = None
    """When the connection began, by the clock of the alert's time."""
    domain: Path | None = None
    url: Path | None = None
    sni: Path | None = None
    ja3: Md5 | None = None


class FileHint(Part):
    name: Text | None = None
    path: Path | None = None
    sha1: Sha1 | None = None
    sha256: Sha256 | None = None
    md5: Md5 | None = None
    malicious: bool = True
    """False for a file that is named, such as a program that acted, but not accused."""


class UserHint(Part):
    name: Name
    domain: Label | None = None
    sid: Label | None = None


class ProcessHint(Part):
    process_id: Number | None = None
    name: Text | None = None
    path: Path | None = None
    command_line: Long | None = None
    creation_time: Time | None = None
    sha1: Sha1 | None = None
    sha256: Sha256 | None = None
    md5: Md5 | None = None
    parent_process_id: Number | None = None
    parent_name: Text | None = None


class ExternalAlert(Part):
    """One alert as its product tells it."""

    vendor: Name
    product: Name
    sensor: Label = ""
    """Which of the product's sensors: each has a clock of its own."""
    alert_id: Text | None = None
    """The product's own id: what comes again under it is the same alert."""
    rule_id: Tag | None = None
    time: Recent
    last_time: Recent | None = None
    title: Title
    description: Long = ""
    recommended_action: Long | None = None
    threat_name: Label | None = None
    severity: Severity = "Medium"
    category: Category = "SuspiciousActivity"
    status: Status = "New"
    event_count: Count = 1
    techniques: Annotated[list[Technique], Field(max_length=ITEMS)] = []
    device: DeviceHint = DeviceHint()
    network: Network = Network()
    files: Annotated[list[FileHint], Field(max_length=ITEMS)] = []
    users: Annotated[list[UserHint], Field(max_length=ITEMS)] = []
    processes: Annotated[list[ProcessHint], Field(max_length=ITEMS)] = []

    @property
    def source(self) -> str:
        """Vendor and product, as people say it."""
        named = self.product.lower().startswith(self.vendor.lower())
        return self.product if named else f"{self.vendor} {self.product}"

    def body(self) -> dict[str, Any]:
        """As it is kept; ``read`` of it is the same alert."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def read(body: Any, *, kept: bool = False) -> ExternalAlert:
    """An alert in our schema; FieldError names the first field that is wrong.

    ``kept``: it was accepted before, so its age does not matter.
    """
    try:
        return ExternalAlert.model_validate(body, context={"kept": True} if kept else None)
    except PydanticError as error:
        raise error_of(error) from None


def error_of(error: PydanticError) -> FieldError:
    """The first thing that is wrong."""
    first = error.errors(include_url=False, include_input=False)[0]
    return FieldError(_path(first["loc"]), _message(first["type"], first["msg"]))


def _path(parts: tuple[int | str, ...]) -> str:
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _message(kind: str, text: str) -> str:
    if kind == "missing":
        return "is missing"
    return text.removeprefix("Value error, ") if kind == "value_error" else f"is not valid: {text}"
