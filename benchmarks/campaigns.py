"""Made-up alerts of a tenant: campaigns of attackers hidden among the noise of a month.

Noise shares with itself and with the campaigns what alerts of real machines share: devices, users, the
administrators' accounts, tools that everybody runs, resolvers and content networks, a vulnerability scanner.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from shieldwall.alerts.drafts import AlertDraft, EvidenceDraft
from shieldwall.alerts.links import Link, logon_links, session_link
from shieldwall.devices.models import Device

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
DAYS = 30
STAGES = (
    ("InitialAccess", "Suspicious document started a program", "Medium"),
    ("Execution", "Encoded command line", "Medium"),
    ("Persistence", "Program set to start at logon", "Medium"),
    ("CredentialAccess", "Memory of the credential store was read", "High"),
    ("Discovery", "Account and group reconnaissance", "Low"),
    ("LateralMovement", "Remote service started by an account", "High"),
    ("CommandAndControl", "Beaconing to a rare address", "High"),
    ("Exfiltration", "Large upload to a rare address", "High"),
)
NOISE = tuple(
    (category, f"Noisy rule {number} of {category}", severity)
    for number in range(12)
    for category, severity in (
        ("SuspiciousActivity", "Low"),
        ("Execution", "Low"),
        ("Discovery", "Informational"),
        ("Persistence", "Low"),
        ("DefenseEvasion", "Medium"),
        ("CommandAndControl", "Low"),
    )
)


@dataclass(frozen=True)
class Labelled:
    """An alert and what it belongs to: a campaign by its number, or a piece of noise of its own."""

    draft: AlertDraft
    label: str


@dataclass(frozen=True)
class Fleet:
    devices: Sequence[Device]
    users: Sequence[str]
    """The usual user of each device."""


def fleet(tenant: str, count: int) -> Fleet:
    devices = [
        Device(
            tenant_id=tenant,
            id=f"{number:040x}",
            computer_dns_name=f"pc{number:05}.corp.example",
            first_seen=BEGIN,
            last_seen=BEGIN,
            last_contact=BEGIN,
            public_key="",
            last_ip_address=f"10.{number >> 8 & 255}.{number & 255}.10",
            ip_addresses=[],
            logged_on_users=[],
            group=None,
        )
        for number in range(count)
    ]
    return Fleet(devices, [f"user{number % (count * 4 // 5 + 1):05}" for number in range(count)])


def alerts(tenant: str, machines: Fleet, count: int, campaigns: int, seed: int = 7) -> list[Labelled]:
    """``count`` alerts in the order of their times, those of the campaigns among them."""
    chance = random.Random(seed)
    found = [
        each for number in range(campaigns) for each in _Campaign(tenant, machines, number, chance).alerts()
    ]
    noise = _Noise(tenant, machines, chance)
    while len(found) < count:
        found += noise.next()
    return sorted(found[:count], key=lambda each: each.draft.first_event_time)


class _Maker:
    label = "noise"

    def __init__(self, tenant: str, machines: Fleet, chance: random.Random) -> None:
        self.tenant, self.machines, self.chance = tenant, machines, chance
        self.made = 0

    def draft(
        self,
        device: Device | None,
        told: tuple[str, str, str],
        time: datetime,
        evidence: Sequence[EvidenceDraft],
        links: Sequence[Link] = (),
    ) -> AlertDraft:
        self.made += 1
        category, title, severity = told
        return AlertDraft(
            tenant_id=self.tenant,
            device_id=device.id if device else None,
            key=f"{self.label} {self.made}",
            title=title,
            description=title,
            severity=severity,
            category=category,
            detection_source="CustomDetection" if device else "ThirdPartySensors",
            first_event_time=time,
            last_event_time=time,
            evidence=tuple(evidence),
            links=frozenset(links),
        )

    def process(
        self,
        number: int,
        time: datetime,
        name: str,
        parent: EvidenceDraft | None = None,
        sha256: str | None = None,
    ) -> EvidenceDraft:
        return EvidenceDraft(
            "Process",
            file_name=name,
            file_path="C:\\Users\\Public" if sha256 else "C:\\Windows\\System32",
            sha256=sha256,
            process_id=number,
            process_creation_time=time,
            process_command_line=f"{name} /x {number}",
            parent_process_id=parent.process_id if parent else 700,
            parent_process_creation_time=parent.process_creation_time
            if parent
            else time - timedelta(hours=3),
            parent_process_file_name=parent.file_name if parent else "explorer.exe",
            detection_status="Detected",
        )

    def digest(self) -> str:
        return f"{self.chance.getrandbits(256):064x}"

    def public(self) -> str:
        parts = [(11, 99), (101, 200), (0, 255), (1, 254)]
        return ".".join(str(self.chance.randint(*each)) for each in parts)


class _Noise(_Maker):
    """What is raised every day and means nothing."""

    def __init__(self, tenant: str, machines: Fleet, chance: random.Random) -> None:
        super().__init__(tenant, machines, chance)
        self.tools = [self.digest() for _ in range(300)]
        self.libraries = [self.digest() for _ in range(20)]
        self.addresses = [self.public() for _ in range(60)]
        self.domains = [f"cdn{number}.content.example" for number in range(80)]
        self.admins = [f"admin{number:02}" for number in range(30)]

    def next(self) -> Iterator[Labelled]:
        """One piece of noise: mostly one alert, at times some of one process."""
        chance = self.chance
        # Some devices are noisier than others.
        number = int(len(self.machines.devices) * chance.random() ** 1.5)
        device = self.machines.devices[number]
        time = BEGIN + timedelta(seconds=chance.random() * DAYS * 86400)
        label = f"noise {self.made}"
        draft = self._one(device, number, time)
        yield Labelled(draft, label)
        if chance.random() < 0.08:
            process = next((each for each in draft.evidence if each.entity_type == "Process"), None)
            for _ in range(chance.randint(1, 3) if process else 0):
                later = time + timedelta(minutes=chance.random() * 120)
                yield Labelled(
                    self.draft(device, chance.choice(NOISE), later, [process] if process else []), label
                )

    def _one(self, device: Device, number: int, time: datetime) -> AlertDraft:
        chance = self.chance
        what = chance.random()
        if what < 0.05:
            scanner = EvidenceDraft("Ip", ip_address="10.250.0.9", detection_status="Detected")
            return self.draft(device, ("Discovery", "Port scan from the network", "Low"), time, [scanner])
        evidence: list[EvidenceDraft] = []
        links: list[Link] = []
        sha256 = chance.choice(self.tools) if chance.random() < 0.4 else None
        evidence.append(
            self.process(chance.randint(2000, 60000), time, "tool.exe" if sha256 else "cmd.exe", None, sha256)
        )
        who = (
            self.machines.users[number]
            if chance.random() < 0.6
            else chance.choice([*self.admins, "SYSTEM", "SYSTEM", "SYSTEM"] * 2)
        )
        evidence.append(EvidenceDraft("User", account_name=who, domain_name="corp"))
        if chance.random() < 0.5 and (
            session := session_link(device.id, 10_000 + (time - BEGIN) // timedelta(hours=8))
        ):
            links.append(session)
        if chance.random() < 0.15:
            evidence.append(
                EvidenceDraft(
                    "File",
                    sha256=chance.choice(self.libraries),
                    file_name="common.dll",
                    file_path="C:\\Common",
                    detection_status="Detected",
                )
            )
        if chance.random() < 0.25:
            evidence.append(
                EvidenceDraft(
                    "Ip",
                    ip_address=chance.choice([*self.addresses, "8.8.8.8", "10.0.0.53"]),
                    detection_status="Detected",
                )
            )
        if chance.random() < 0.2:
            evidence.append(
                EvidenceDraft(
                    "Url", url=f"https://{chance.choice(self.domains)}/x", detection_status="Detected"
                )
            )
        return self.draft(device, chance.choice(NOISE), time, evidence, links)


class _Campaign(_Maker):
    """One attacker: enters at one device, goes on to others by logons, files and mails, and calls home."""

    def __init__(self, tenant: str, machines: Fleet, number: int, chance: random.Random) -> None:
        super().__init__(tenant, machines, chance)
        self.label = f"campaign {number}"
        self.payloads = [self.digest() for _ in range(chance.randint(1, 3))]
        self.address = self.public()
        self.domain = f"c{number}-{chance.randint(100, 999)}.evil.example"
        self.begin = BEGIN + timedelta(days=2 + chance.random() * (DAYS - 5))

    def alerts(self) -> Iterator[Labelled]:
        chance = self.chance
        count = chance.choice([2, 3, 3, 4, 5, 6, 8, 12, 20])
        numbers = chance.sample(range(len(self.machines.devices)), count)
        time = self.begin
        for place, number in enumerate(numbers):
            source = self.machines.devices[chance.choice(numbers[:place])] if place else None
            yield from self._device(self.machines.devices[number], number, source, time)
            time += timedelta(minutes=chance.expovariate(1 / 45))

    def _device(
        self, device: Device, number: int, source: Device | None, time: datetime
    ) -> Iterator[Labelled]:
        chance = self.chance
        way = chance.choice(("logon", "file", "mail")) if source else "mail"
        who = EvidenceDraft("User", account_name=self.machines.users[number], domain_name="corp")
        session = session_link(device.id, 500_000 + chance.randint(1, 9999))
        payload = chance.choice(self.payloads)
        root = self.process(
            chance.randint(2000, 60000), time, "update.exe", None, payload if way == "file" else None
        )
        entry: list[EvidenceDraft] = [root, who]
        links = [session] if session else []
        first = [*links]
        if way == "logon" and source:
            first += logon_links(source.last_ip_address, source.computer_dns_name)
        if way == "mail":
            entry.append(EvidenceDraft("Url", url=f"http://{self.domain}/doc", detection_status="Detected"))
        yield Labelled(self.draft(device, STAGES[5 if way == "logon" else 0], time, entry, first), self.label)
        for _ in range(chance.randint(2, 9)):
            time += timedelta(minutes=chance.expovariate(1 / 12))
            told = chance.choice(STAGES[1:])
            evidence = [who]
            if chance.random() < 0.85:
                child = self.process(chance.randint(2000, 60000), time, "cmd.exe", root, None)
                evidence.append(child)
                if chance.random() < 0.4:
                    root = child
            if chance.random() < 0.35:
                evidence.append(EvidenceDraft("Ip", ip_address=self.address, detection_status="Detected"))
            if chance.random() < 0.3:
                evidence.append(
                    EvidenceDraft("Url", url=f"https://{self.domain}/c", detection_status="Detected")
                )
            if chance.random() < 0.3:
                evidence.append(
                    EvidenceDraft(
                        "File",
                        sha256=payload,
                        file_name="update.exe",
                        file_path="C:\\Users\\Public",
                        detection_status="Detected",
                    )
                )
            yield Labelled(self.draft(device, told, time, evidence, links), self.label)
        if chance.random() < 0.3:
            seen = [
                EvidenceDraft("Ip", ip_address=address, detection_status="Detected")
                for address in (self.address, device.last_ip_address)
            ]
            told = ("CommandAndControl", "Known command and control traffic", "High")
            yield Labelled(self.draft(None, told, time, seen), self.label)
