"""The agent's state folder: what lies where, and what enrolment left in it."""

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from shieldwall_agent.spool_format import write_atomically

DEFAULT_STATE = Path("/var/lib/shieldwall-agent")


FORGOTTEN = ("identity.json", "device.key", "device.crt", "server-ca.pem", "spool", "commands.sqlite",
             "indicators.sqlite", "isolation.json", "restriction.json", "packages", "results",
             "live_response", "files.json", "offboarded")  # fmt: skip


class NotEnrolled(Exception):
    """The state folder holds no enrolment."""


@dataclass(frozen=True)
class Enrolment:
    """Kept in `identity.json`. Nothing in it is secret."""

    server: str  # https://host:port
    device_id: str  # 40 hex digits
    command_key: str  # base64 of the 32 bytes of the server's Ed25519 public key
    proxy: str = ""  # host:port of an HTTP proxy; the environment's proxies are never used

    @property
    def address(self) -> tuple[str, int]:
        return server_address(self.server)


@dataclass(frozen=True)
class State:
    folder: Path
    isolate_netns: str | None = None  # isolate this network namespace instead of the whole machine
    only_under: Path | None = None  # scan, and restrict executions in, this folder only

    @property
    def identity(self) -> Path:
        return self.folder / "identity.json"

    @property
    def key(self) -> Path:
        """The device's Ed25519 private key, PKCS #8 PEM, 0600."""
        return self.folder / "device.key"

    @property
    def certificate(self) -> Path:
        return self.folder / "device.crt"

    @property
    def authority(self) -> Path:
        """The pinned CA: nothing else is trusted to be the server."""
        return self.folder / "server-ca.pem"

    @property
    def spool(self) -> Path:
        return self.folder / "spool"

    @property
    def journal(self) -> Path:
        return self.folder / "commands.sqlite"

    @property
    def offboarded(self) -> Path:
        """Is there once the server knows that this device has left it; then all else here is removed."""
        return self.folder / "offboarded"

    @property
    def packages(self) -> Path:
        return self.folder / "packages"

    def forget(self) -> None:
        """Remove keys, enrolment and all that was the server's. What is quarantined stays, with its key."""
        for name in FORGOTTEN:
            path = self.folder / name
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            for left in self.folder.glob(f"{name}*"):
                if not left.is_dir():
                    left.unlink(missing_ok=True)

    def create(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.folder.stat().st_uid != os.geteuid():
            raise PermissionError(f"{self.folder} belongs to another user")
        self.folder.chmod(0o700)

    def load(self) -> Enrolment:
        """Raises NotEnrolled."""
        try:
            return Enrolment(**json.loads(self.identity.read_bytes()))
        except FileNotFoundError:
            raise NotEnrolled(
                f"{self.folder} holds no enrolment; run `shieldwall-agent enrol` first"
            ) from None
        except (ValueError, TypeError) as error:
            raise NotEnrolled(f"{self.identity} is damaged ({error}); enrol again") from None

    def save(self, enrolment: Enrolment) -> None:
        write_atomically(self.identity, json.dumps(asdict(enrolment), indent=1).encode())


def server_address(url: str) -> tuple[str, int]:
    """Host and port of an https URL with nothing behind them; raises ValueError."""
    parts = urlsplit(url)
    if (
        parts.scheme != "https"
        or not parts.hostname
        or parts.path not in ("", "/")
        or parts.query
        or parts.username
    ):
        raise ValueError(f"{url!r} is not of the form https://host[:port]")
    return parts.hostname, parts.port or 443
