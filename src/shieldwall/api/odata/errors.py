"""What a query option that cannot be understood gets: the documented ``ODataError``."""

from __future__ import annotations

from shieldwall.errors import ApiError


def odata_error(message: str) -> ApiError:
    """400 with a message that may quote the caller's own words, cut to a readable length."""
    return ApiError(400, "ODataError", message[:300])
