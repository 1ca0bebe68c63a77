"""Series functions that Python computes: fits, filters, periods, decomposition, outliers.

The modules that compute are loaded when a query first calls one of their functions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from shieldwall.kql.frame import dynamic_text
from shieldwall.kql.functions.arguments import bound
from shieldwall.kql.functions.registry import (
    NAMED_AFTER_ARGUMENT,
    Signature,
    coded,
    declare,
    fitted,
    local,
)
from shieldwall.kql.syntax import Call
from shieldwall.kql.values import Value, constant, made

if TYPE_CHECKING:
    from shieldwall.kql.expressions import Binder

_SINGLE = """
series_fill_linear(dynamic) -> dynamic | filling.linear
series_fill_linear(dynamic, real, bool = 1, real = 0.0) -> dynamic | filling.linear
series_fir(dynamic, dynamic) -> dynamic | filters.fir
series_fir(dynamic, dynamic, bool, bool = 0) -> dynamic | filters.fir
series_iir(dynamic, dynamic, dynamic) -> dynamic | filters.iir
series_fit_line_dynamic(dynamic) -> dynamic | fits.line_bag
series_fit_2lines_dynamic(dynamic) -> dynamic | fits.two_lines_bag
series_outliers(dynamic, string = 'ctukey') -> dynamic | outliers.outliers
series_outliers(dynamic, string, real, real = 10.0, real = 90.0, long = 0) -> dynamic | outliers.outliers
series_seasonal(dynamic, long = -1, long = 0) -> dynamic | decomposition.seasonal_part
series_decompose_forecast(dynamic, long, long = -1, string = 'linefit', real = 0.6) -> dynamic
    | decomposition.forecast
"""
"""Signatures, and the functions of the package `series` that do the work."""

_SEVERAL = """
series_fit_line(dynamic) -> real | fits.line
    | real rsquare, real slope, real variance, real rvariance, real interception, dynamic line_fit
series_fit_2lines(dynamic) -> real | fits.two_lines
    | real rsquare, long split_idx, real variance, real rvariance, dynamic line_fit, real right_rsquare,
    real right_slope, real right_interception, real right_variance, real right_rvariance,
    real left_rsquare, real left_slope, real left_interception, real left_variance, real left_rvariance
series_fit_poly(dynamic) -> real | fits.polynomial
    | real rsquare, dynamic coefficients, real variance, real rvariance, dynamic poly_fit
series_fit_poly(dynamic, dynamic, long = 1) -> real | fits.polynomial
    | real rsquare, dynamic coefficients, real variance, real rvariance, dynamic poly_fit
series_fft(dynamic) -> dynamic | filters.fft | dynamic real, dynamic imag
series_fft(dynamic, dynamic) -> dynamic | filters.fft | dynamic real, dynamic imag
series_ifft(dynamic) -> dynamic | filters.ifft | dynamic real, dynamic imag
series_ifft(dynamic, dynamic) -> dynamic | filters.ifft | dynamic real, dynamic imag
series_periods_detect(dynamic, real, real, long) -> dynamic | periods.detect | dynamic periods, dynamic scores
series_periods_validate(dynamic, real, real...) -> dynamic | periods.validate
    | dynamic periods, dynamic scores
series_decompose(dynamic, long = -1, string = 'avg', long = 0, real = 0.6) -> dynamic
    | decomposition.decompose | dynamic baseline, dynamic seasonal, dynamic trend, dynamic residual
series_decompose_anomalies(dynamic, real = 1.5, long = -1, string = 'avg', long = 0, string = 'ctukey',
    real = 0.6) -> dynamic
    | decomposition.anomalies | dynamic ad_flag, dynamic ad_score, dynamic baseline
"""
"""The same of functions that give several columns, with the types and names of these."""


@dataclass(slots=True)
class _Several:
    signatures: list[Signature]
    work: Callable[..., Any]
    parts: list[tuple[str, str]]
    """Types and names."""


_PARTED: dict[str, _Several] = {}


def _lines(table: str) -> list[list[str]]:
    """The lines of a table, cut at bars; one that begins with blanks goes on with the one before."""
    whole = table.strip().replace("\n    ", " ")
    return [[piece.strip() for piece in line.split("|")] for line in whole.splitlines()]


def _later(name: str) -> Callable[..., Any]:
    """A function of the package `series`, loaded when it is first called."""
    module, _, attribute = name.partition(".")
    loaded: list[Callable[..., Any]] = []

    def work(*args: Any) -> Any:
        if not loaded:
            loaded.append(getattr(import_module(f"shieldwall.kql.series.{module}"), attribute))
        import numpy

        try:
            # What overflows becomes infinite, and what makes no sense NaN.
            with numpy.errstate(all="ignore"):
                return loaded[0](*args)
        except (ArithmeticError, ValueError):
            return None

    return work


for _signature, _name in _lines(_SINGLE):
    local(_signature)(_later(_name))


def _packed(work: Callable[..., Any], kinds: list[str]) -> Callable[..., Any]:
    """The same giving texts in an array, which keep reals apart from whole numbers on their way."""

    def packed(*args: Any) -> Any:
        found = work(*args)
        if found is None:
            return None
        return [
            None if item is None else dynamic_text(item) if kind == "dynamic" else str(item)
            for kind, item in zip(kinds, found, strict=True)
        ]

    return packed


def _part(packed: Value, place: int, kind: str) -> Value:
    if packed.is_constant:
        import json

        texts = json.loads(packed.constant) if packed.constant else None
        text = texts[place] if texts else None
        if text is None or kind == "dynamic":
            return constant(kind, text)
        return constant(kind, int(text) if kind == "long" else float(text))
    text = f"JSONExtractString({packed.sql}, {place + 1})"
    if kind == "dynamic":
        return made(kind, text, packed)
    return made(kind, f"to{'Int64' if kind == 'long' else 'Float64'}OrNull({text})", packed)


def columns_of(binder: Binder, call: Call, _: list[Value]) -> Value:
    """The columns that a function gives, named after it, its argument and what each of them is."""
    args = bound(binder, call, 0, 64)
    found = _PARTED[call.name]
    _signature, values = fitted(found.signatures, call, args)
    packed = binder.in_python(call.name, values, "dynamic", found.work)
    parts: list[Value] = []
    for place, (kind, name) in enumerate(found.parts):
        part = _part(packed, place, kind)
        part.name = f"{call.name}_{args[0].name}_{name}"
        parts.append(part)
    return replace(parts[0], parts=tuple(parts))


def _declare_several() -> None:
    for signature, work, columns in _lines(_SEVERAL):
        into: dict[str, list[Signature]] = {}
        declare(f"{signature} | -", into)
        for name, signatures in into.items():
            if name in _PARTED:
                _PARTED[name].signatures += signatures
                continue
            parts = [(kind, column) for kind, column in (part.split() for part in columns.split(","))]
            packed = _packed(_later(work), [kind for kind, _ in parts])
            _PARTED[name] = _Several(signatures, packed, parts)
            coded(name)(columns_of)


_declare_several()
NAMED_AFTER_ARGUMENT.update(("series_fill_linear", "series_fir", "series_iir", "series_outliers"))
