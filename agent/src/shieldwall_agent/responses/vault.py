"""The quarantine vault: files encrypted with all that is needed to put them back, in the agent's state
folder.

Each file is an item of its own random id: `<id>.json` (what it was) and `<id>.bin` (chunks of
AES-256-GCM). A chunk's nonce is its number and its associated data says item, number and whether it is the
last, so chunks can be neither exchanged nor cut off. The key is made once and only root reads it: it keeps
the content inert, not secret from root.
"""

import base64
import ctypes
import errno
import hashlib
import json
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shieldwall_agent.events import timestamp
from shieldwall_agent.spool_format import sync_folder, write_atomically

CHUNK = 1024 * 1024  # bytes of plaintext
LARGEST = 16 * 1024**3  # bytes
_TAG = 16
_RENAME_NOREPLACE = 1
_libc = ctypes.CDLL(None, use_errno=True)
_ID = re.compile("[0-9a-f]{32}")


class VaultError(RuntimeError):
    """The file was not taken, or not put back; the text says why. Nothing was lost."""


@dataclass(frozen=True)
class Item:
    id: str
    path: str
    size: int
    sha256: str
    sha1: str
    md5: str
    mode: int  # with the setuid bits
    uid: int
    gid: int
    atime_ns: int
    mtime_ns: int
    xattrs: dict[str, str]  # base64
    links: int  # more than 1: the content lived on under other names
    quarantined: str
    reason: str


class Vault:
    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._key = _key(folder / "vault.key")

    def items(self) -> list[Item]:
        """What is quarantined, oldest first."""
        found = [self._read(path.stem) for path in self._folder.glob("*.json")]
        return sorted(found, key=lambda item: item.quarantined)

    def take(
        self,
        path: str,
        reason: str = "",
        expected_digest: str | None = None,
    ) -> Item:
        """Move a regular file into the vault. Raises VaultError when it is not the expected file (any more).

        The name is removed only if it still leads to the very inode that was stored, in the very directory
        opened at first: a symbolic link swapped in for any part of the path makes it fail, never reach
        another file.
        """
        # Links above the file are resolved once; from here on none is followed.
        path = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
        with _parent(path) as (parent, name):
            fd = _open_regular(parent, name)
            try:
                status = os.fstat(fd)
                item = self._store(fd, status, path, reason)
                if expected_digest not in (None, item.sha256, item.sha1, item.md5):
                    self._drop(item.id)
                    raise VaultError(f"{path} has other contents by now")
                try:
                    moved = _remove(parent, name, status)
                except BaseException:
                    self._drop(item.id)
                    raise
                if moved is not None:
                    self._drop(item.id)
                    self._keep_displaced(parent, moved, path)
                    raise VaultError("the file was exchanged meanwhile")
                return item
            finally:
                os.close(fd)

    def restore(self, item_id: str) -> str:
        """Put a file back where it was, as it was; its path. Never replaces a file that is there now."""
        item = self._read(item_id)
        with _parent(item.path) as (parent, name):
            scratch = f".{secrets.token_hex(8)}.restoring"
            fd = os.open(
                scratch,
                os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC,
                0o600,
                dir_fd=parent,
            )
            try:
                digest = hashlib.sha256()
                for chunk in self._plaintext(item):
                    digest.update(chunk)
                    _write(fd, chunk)
                if digest.hexdigest() != item.sha256:
                    raise VaultError("the stored content is not what was quarantined")
                os.fchown(fd, item.uid, item.gid)
                os.fchmod(fd, item.mode)
                for attribute, value in item.xattrs.items():
                    os.setxattr(fd, attribute, base64.b64decode(value))
                os.utime(fd, ns=(item.atime_ns, item.mtime_ns))
                os.fsync(fd)
                try:
                    os.link(scratch, name, src_dir_fd=parent, dst_dir_fd=parent, follow_symlinks=False)
                except FileExistsError:
                    raise VaultError(f"there is a file at {item.path}") from None
                os.fsync(parent)
            finally:
                os.close(fd)
                os.unlink(scratch, dir_fd=parent)
        self._drop(item.id)
        return item.path

    def _keep_displaced(self, parent: int, scratch: str, path: str) -> None:
        """What was moved out of the way for nothing, while something else took its name.

        Who took the name has replaced it, as without us. Its content must not be lost by our doing, though:
        where no other name leads to it, it is kept here.
        """
        status = os.stat(scratch, dir_fd=parent, follow_symlinks=False)
        if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
            fd = _open_regular(parent, scratch)
            try:
                self._store(fd, os.fstat(fd), path, "it was exchanged while another was quarantined")
            finally:
                os.close(fd)
        os.unlink(scratch, dir_fd=parent)

    def _store(self, fd: int, status: os.stat_result, path: str, reason: str) -> Item:
        if status.st_size > LARGEST:
            raise VaultError(f"{path} is larger than {LARGEST} bytes")
        item_id = secrets.token_hex(16)
        hashers = [hashlib.new(name, usedforsecurity=False) for name in ("sha256", "sha1", "md5")]
        offset = 0
        target = os.open(self._blob(item_id), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            cipher = AESGCM(self._item_key(item_id))
            number = 0
            while True:
                chunk = _read_chunk(fd, offset)
                offset += len(chunk)
                for hasher in hashers:
                    hasher.update(chunk)
                last = len(chunk) < CHUNK
                _write(target, cipher.encrypt(_nonce(number), chunk, _associated(item_id, number, last)))
                number += 1
                if last:
                    break
                if offset > LARGEST:
                    raise VaultError(f"{path} grows while it is read")
            os.fsync(target)
            sha256, sha1, md5 = (hasher.hexdigest() for hasher in hashers)
            item = Item(
                item_id, path, offset, sha256, sha1, md5, stat.S_IMODE(status.st_mode), status.st_uid,
                status.st_gid, status.st_atime_ns, status.st_mtime_ns, _xattrs(fd), status.st_nlink,
                timestamp(), reason,
            )  # fmt: skip
            write_atomically(self._folder / f"{item_id}.json", json.dumps(asdict(item)).encode())
            sync_folder(self._folder)
            return item
        except OSError as error:
            self._drop(item_id)
            raise VaultError(f"{path} cannot be stored: {error}") from error
        except BaseException:
            self._drop(item_id)
            raise
        finally:
            os.close(target)

    def _plaintext(self, item: Item) -> Iterator[bytes]:
        cipher = AESGCM(self._item_key(item.id))
        count = item.size // CHUNK + 1
        try:
            with self._blob(item.id).open("rb") as blob:
                for number in range(count):
                    data = blob.read(CHUNK + _TAG)
                    yield cipher.decrypt(
                        _nonce(number), data, _associated(item.id, number, number == count - 1)
                    )
        except (InvalidTag, ValueError, OSError) as error:
            raise VaultError("the stored content is damaged") from error

    def _item_key(self, item_id: str) -> bytes:
        # A key for each item, so that counting nonces never repeat under one key.
        return hashlib.blake2b(
            item_id.encode(), key=self._key, digest_size=32, person=b"shieldwall-vault"
        ).digest()

    def _read(self, item_id: str) -> Item:
        if not _ID.fullmatch(item_id):
            raise VaultError("not the id of a quarantined file")
        try:
            return Item(**json.loads((self._folder / f"{item_id}.json").read_bytes()))
        except FileNotFoundError:
            raise VaultError("there is no such quarantined file") from None
        except (ValueError, TypeError) as error:
            raise VaultError("the record of this quarantined file is damaged") from error

    def _drop(self, item_id: str) -> None:
        (self._folder / f"{item_id}.json").unlink(missing_ok=True)
        self._blob(item_id).unlink(missing_ok=True)

    def _blob(self, item_id: str) -> Path:
        return self._folder / f"{item_id}.bin"


@contextmanager
def _parent(path: str) -> Iterator[tuple[int, str]]:
    """The open directory of a path and the last name. No part of the path may be a symbolic link."""
    parts = [part for part in path.split("/") if part]
    if not path.startswith("/") or not parts or any(part in (".", "..") for part in parts):
        raise VaultError(f"not a plain absolute path: {path!r}")
    flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts[:-1]:
            below = os.open(part, flags, dir_fd=fd)
            os.close(fd)
            fd = below
        directory = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
        os.close(fd)
        fd = directory
        yield fd, parts[-1]
    except OSError as error:
        raise VaultError(f"{path}: {error.strerror}") from error
    finally:
        os.close(fd)


def _open_regular(parent: int, name: str) -> int:
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise VaultError("not a regular file")
    return fd


def _remove(parent: int, name: str, status: os.stat_result) -> str | None:
    """Unlink a name that still leads to this inode. First moved to a name that nobody knows, so that what is
    checked is what is removed. Another file goes back; the name it has where its own is taken by now."""
    scratch = f".{secrets.token_hex(8)}.quarantined"
    os.rename(name, scratch, src_dir_fd=parent, dst_dir_fd=parent)
    now = os.stat(scratch, dir_fd=parent, follow_symlinks=False)
    if (now.st_dev, now.st_ino) != (status.st_dev, status.st_ino):
        if not _rename_to_free(parent, scratch, name):
            return scratch
        raise VaultError("the file was exchanged meanwhile")
    os.unlink(scratch, dir_fd=parent)
    os.fsync(parent)
    return None


def _rename_to_free(parent: int, old: str, new: str) -> bool:
    """Rename, of whatever kind the file is, unless the new name is taken; whether it was free."""
    arguments = (parent, os.fsencode(old), parent, os.fsencode(new), _RENAME_NOREPLACE)
    if _libc.renameat2(*arguments) == 0:
        return True
    error = ctypes.get_errno()
    if error == errno.EEXIST:
        return False
    if error not in (errno.EINVAL, errno.ENOSYS):
        raise OSError(error, os.strerror(error))
    try:  # a file system that cannot
        os.link(old, new, src_dir_fd=parent, dst_dir_fd=parent, follow_symlinks=False)
    except FileExistsError:
        return False
    os.unlink(old, dir_fd=parent)
    return True


def _xattrs(fd: int) -> dict[str, str]:
    try:
        return {name: base64.b64encode(os.getxattr(fd, name)).decode() for name in os.listxattr(fd)}
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return {}
        raise


def _read_chunk(fd: int, offset: int) -> bytes:
    """CHUNK bytes, less only at the end of the file."""
    parts, length = [], 0
    while length < CHUNK and (data := os.pread(fd, CHUNK - length, offset + length)):
        parts.append(data)
        length += len(data)
    return b"".join(parts)


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "big")


def _associated(item_id: str, number: int, last: bool) -> bytes:
    return f"{item_id}:{number}:{int(last)}".encode()


def _key(path: Path) -> bytes:
    try:
        key = path.read_bytes()
    except FileNotFoundError:
        key = secrets.token_bytes(32)
        write_atomically(path, key)
    if len(key) != 32:
        raise VaultError(f"{path} is no key")
    path.chmod(0o600)
    return key
