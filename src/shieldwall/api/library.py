"""The live response library: list, upload, delete."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Annotated

from fastapi import Depends, Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.responses import Response

from shieldwall.api import answers, sets, shapes
from shieldwall.api.access import requires, services_of
from shieldwall.api.odata.options import read_options
from shieldwall.api.odata.query import fetch
from shieldwall.api.routing import router as new_router
from shieldwall.errors import ApiError, bad_request, missing_parameter
from shieldwall.identity.principal import Principal
from shieldwall.response.library import FILE_BYTES

router = new_router("Library files")

Librarian = Annotated[Principal, Depends(requires("Library.Manage"))]

TEXT_LIMIT = 4000
_FORM_BYTES = FILE_BYTES + (64 << 10)
_BODY = {
    "type": "object",
    "required": ["file"],
    "properties": {
        "file": {"type": "string", "format": "binary"},
        "Description": {"type": "string", "maxLength": TEXT_LIMIT},
        "ParametersDescription": {"type": "string", "maxLength": TEXT_LIMIT},
        "HasParameters": {"type": "string"},
        "OverrideIfExists": {"type": "string"},
    },
}


class Form:
    """The parts of a multipart body by their names in lower case, the file's content within its bound."""

    def __init__(self, name: str, content: bytes, texts: dict[str, str]) -> None:
        self.name = name
        self.content = content
        self._texts = texts

    def text(self, name: str) -> str | None:
        value = self._texts.get(name.lower())
        if value is not None and len(value) > TEXT_LIMIT:
            raise bad_request(f"{name} is longer than {TEXT_LIMIT} characters.")
        if value is not None and "\x00" in value:
            raise bad_request(f"{name} contains a NUL character.")
        return value

    def flag(self, name: str) -> bool:
        value = (self._texts.get(name.lower()) or "").strip().lower()
        if value not in ("", "true", "false", "1", "0"):
            raise bad_request(f"{name} must be true or false.")
        return value in ("true", "1")


async def read_form(request: Request) -> Form:
    """ApiError 400 for what is no such form, 413 for too much."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise bad_request("The body must be multipart/form-data.")
    parser = MultiPartParser(
        request.headers, _bounded(request), max_files=1, max_fields=20, max_part_size=4 * TEXT_LIMIT
    )
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, UnicodeDecodeError, LookupError):
        raise bad_request("The body is not a form with one file.") from None
    parts = {name.lower(): value for name, value in form.multi_items()}
    file = parts.pop("file", None)
    if not isinstance(file, UploadFile):
        raise missing_parameter("file")
    try:
        content = await file.read(FILE_BYTES + 1)
    finally:
        await form.close()
    texts = {name: value for name, value in parts.items() if isinstance(value, str)}
    return Form(file.filename or "", content, texts)


async def _bounded(request: Request) -> AsyncGenerator[bytes, None]:
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > _FORM_BYTES:
            raise ApiError(413, "RequestEntityTooLarge", f"A library file has at most {FILE_BYTES} bytes.")
        yield part


@router.get("/api/libraryfiles", summary="List library files")
def list_files(request: Request, principal: Librarian) -> Response:
    """OData options apply."""
    options = read_options(request.url.query, sets.LIBRARY_FILES)
    with services_of(request).database.read(principal.tenant_id) as session:
        page = fetch(session, sets.LIBRARY_FILES, options)
        items = [shapes.library_file(row) for row in page.rows]
    return answers.collection(request, "LibraryFiles", items, page, options)


@router.post(
    "/api/libraryfiles",
    summary="Upload a library file",
    openapi_extra={"requestBody": {"content": {"multipart/form-data": {"schema": _BODY}}}},
)
def upload(request: Request, principal: Librarian, form: Annotated[Form, Depends(read_form)]) -> Response:
    """A file of at most 20 MB. One of the same name is replaced only with `OverrideIfExists`."""
    row = services_of(request).library.put(
        principal,
        form.name,
        form.content,
        description=form.text("Description"),
        parameters_description=form.text("ParametersDescription"),
        has_parameters=form.flag("HasParameters"),
        override=form.flag("OverrideIfExists"),
    )
    return answers.entity(request, "LibraryFiles", shapes.library_file(row))


@router.delete("/api/libraryfiles/{file_name}", summary="Delete a library file", status_code=204)
def delete(file_name: str, request: Request, principal: Librarian) -> Response:
    services_of(request).library.delete(principal, file_name)
    return answers.nothing()
