"""Request bodies as data: what a route reads, checked once and shown in the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from fastapi import Request

from shieldwall.errors import ApiError, missing_parameter

BODY_LIMIT = 4 << 20
"""Most bytes of a body, enough for an import of 500 indicators with long texts."""
TEXT_LIMIT = 4000

Body = dict[str, Any]


@dataclass(frozen=True)
class Parameter:
    """One property of a body. ``choices`` holds each accepted spelling with the one that is kept."""

    name: str
    required: bool = False
    limit: int = TEXT_LIMIT
    choices: Mapping[str, str] | None = None
    nullable: bool = False
    """Null counts as given, though there is no value."""
    many: bool = False
    """A list of texts, of at most ``limit`` characters each."""

    def read(self, value: Any) -> Any:
        if self.many:
            if not isinstance(value, list):
                raise invalid_body(f"{self.name} must be a list of strings.")
            return [self._text(item) for item in value]
        text = self._text(value)
        if self.choices is None:
            return text
        found = self.choices.get(text.strip().lower())
        if found is None:
            allowed = ", ".join(dict.fromkeys(self.choices.values()))
            raise invalid_body(f"{self.name} must be one of {allowed}.")
        return found

    def _text(self, value: Any) -> str:
        if not isinstance(value, str):
            raise invalid_body(f"{self.name} must be a string.")
        if len(value) > self.limit:
            raise invalid_body(f"{self.name} is longer than {self.limit} characters.")
        return value

    def schema(self) -> dict[str, Any]:
        text: dict[str, Any] = {"type": "string"}
        if self.choices is not None:
            text["enum"] = list(dict.fromkeys(self.choices.values()))
        else:
            text["maxLength"] = self.limit
        return {"type": "array", "items": text} if self.many else text


def choices(*names: str, **also: str) -> dict[str, str]:
    """Spellings in lower case with what they mean: the names themselves, and ``also`` other words for one."""
    return {name.lower(): name for name in names} | {word.lower(): name for word, name in also.items()}


class Shape:
    """The body of one operation. Keys come in any case; properties it does not name are nobody's business."""

    def __init__(self, *parameters: Parameter) -> None:
        self.parameters = parameters

    async def __call__(self, request: Request) -> Body:
        return self.read(await read_object(request))

    def read(self, body: Mapping[str, Any]) -> Body:
        """Values by the names of the parameters; those absent or null are left out."""
        given = {key.lower(): value for key, value in body.items()}
        found: Body = {}
        for parameter in self.parameters:
            value = given.get(parameter.name.lower())
            if value is not None:
                found[parameter.name] = parameter.read(value)
            elif parameter.required and not (parameter.nullable and parameter.name.lower() in given):
                raise missing_parameter(parameter.name)
        return found

    def openapi(self) -> dict[str, Any]:
        schema: dict[str, Any] = {
            "type": "object",
            "properties": {parameter.name: parameter.schema() for parameter in self.parameters},
        }
        if needed := [parameter.name for parameter in self.parameters if parameter.required]:
            schema["required"] = needed
        return {"requestBody": {"content": {"application/json": {"schema": schema}}}}


class Passed(Shape):
    """A body whose values another part checks: they come as they are, under the names of the parameters."""

    def read(self, body: Mapping[str, Any]) -> Body:
        given = {key.lower(): value for key, value in body.items()}
        names = [parameter.name for parameter in self.parameters]
        return {name: given[name.lower()] for name in names if name.lower() in given}


async def read_content(request: Request) -> bytearray:
    """The bytes of a body; ApiError 413 for too many."""
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > BODY_LIMIT:
            raise ApiError(413, "RequestEntityTooLarge", f"The body is larger than {BODY_LIMIT} bytes.")
    return content


async def read_object(request: Request) -> Body:
    """The JSON object of a body, whatever its Content-Type; an empty body is an object without properties."""
    content = await read_content(request)
    if not content.strip():
        return {}
    try:
        body = orjson.loads(content.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError:
        raise invalid_body() from None
    if not isinstance(body, dict):
        raise invalid_body("The request body must be a JSON object.")
    if b"\\u0000" in content and _has_nul(body):
        raise invalid_body("The request body contains a NUL character.")
    return body


def invalid_body(message: str = "Request body is incorrect") -> ApiError:
    return ApiError(400, "InvalidRequestBody", message)


def _has_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\x00" in value
    if isinstance(value, dict):
        return any("\x00" in key or _has_nul(item) for key, item in value.items())
    return isinstance(value, list) and any(map(_has_nul, value))
