"""What a call may fail with."""

from __future__ import annotations


class ClientError(Exception):
    """Any failure of a call."""


class SignInFailed(ClientError):
    """The token endpoint refused; the text is its own."""


class RequestFailed(ClientError):
    """The server refused a call: its status, documented code and message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
