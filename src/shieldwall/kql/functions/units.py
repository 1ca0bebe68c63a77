"""convert_length and its like: values from one unit to another."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from shieldwall.kql import sql
from shieldwall.kql.functions.arguments import bound
from shieldwall.kql.functions.registry import coded, coerce
from shieldwall.kql.local import LocalFunction
from shieldwall.kql.syntax import Call
from shieldwall.kql.values import Value, constant, made

if TYPE_CHECKING:
    from shieldwall.kql.expressions import Binder

_PREFIXES = {
    "Nano": 1e-9, "Micro": 1e-6, "Milli": 1e-3, "Centi": 1e-2, "Deci": 1e-1, "Deca": 1e1, "Hecto": 1e2,
    "Kilo": 1e3, "Mega": 1e6, "Giga": 1e9, "Tera": 1e12,
}  # fmt: skip


def _units(factors: dict[str, float], **prefixed: str) -> dict[str, float]:
    """Units by their size; for each of ``prefixed``, those with its prefixes too."""
    found = dict(factors)
    for unit, prefixes in prefixed.items():
        for prefix in prefixes.split():
            found[prefix + unit[0].lower() + unit[1:]] = factors[unit] * _PREFIXES[prefix]
    return found


def _speeds() -> dict[str, float]:
    spans = {"Hour": 3600.0, "Minute": 60.0, "Second": 1.0}
    return {"Knot": 1852 / 3600} | {
        f"{length}Per{span}": _LENGTHS[length] / seconds
        for length in (
            "Centimeter", "Decimeter", "Foot", "Inch", "Kilometer", "Meter", "Micrometer", "Mile",
            "Millimeter", "Nanometer", "UsSurveyFoot", "Yard",
        )
        for span, seconds in spans.items()
    }  # fmt: skip


_RADIAN = 180 / math.pi
_ANGLES = _units(
    {
        "Degree": 1, "Radian": _RADIAN, "Arcminute": 1 / 60, "Arcsecond": 1 / 3600, "Gradian": 0.9,
        "NatoMil": 0.05625, "Revolution": 360,
    },
    Radian="Centi Deci Micro Milli Nano",
    Degree="Micro Milli Nano",
)  # fmt: skip
_ENERGIES = _units(
    {
        "Joule": 1, "BritishThermalUnit": 1055.05585262, "Calorie": 4.184, "ElectronVolt": 1.602176634e-19,
        "Erg": 1e-7, "FootPound": 1.3558179483314004, "HorsepowerHour": 2684519.537696173, "WattHour": 3600,
        "WattDay": 86400, "ThermEc": 105505585.262, "ThermUs": 105480400, "ThermImperial": 105505585.257348,
    },
    BritishThermalUnit="Giga Kilo Mega",
    Calorie="Kilo Mega",
    ElectronVolt="Giga Kilo Mega Tera",
    Joule="Giga Kilo Mega Milli",
    WattHour="Giga Kilo Mega Tera",
    WattDay="Giga Kilo Mega Tera",
    ThermEc="Deca",
    ThermUs="Deca",
    ThermImperial="Deca",
)  # fmt: skip
_POUND_FORCE = 4.4482216152605
_FORCES = _units(
    {
        "Newton": 1, "Dyn": 1e-5, "KilogramForce": 9.80665, "KiloPond": 9.80665, "PoundForce": _POUND_FORCE,
        "OunceForce": _POUND_FORCE / 16, "Poundal": 0.138254954376, "ShortTonForce": _POUND_FORCE * 2000,
        "TonneForce": 9806.65,
    },
    Newton="Deca Kilo Mega Micro Milli",
    PoundForce="Kilo",
)  # fmt: skip
_LENGTHS = _units(
    {
        "Meter": 1, "Angstrom": 1e-10, "AstronomicalUnit": 149597870700, "Chain": 20.1168, "DataMile": 1828.8,
        "DtpPica": 0.0254 / 6, "DtpPoint": 0.0254 / 72, "Fathom": 1.8288, "Foot": 0.3048, "Hand": 0.1016,
        "Inch": 0.0254, "LightYear": 9.46073047258e15, "Parsec": 3.08567758128e16, "Mil": 2.54e-5,
        "Mile": 1609.344, "NauticalMile": 1852, "PrinterPica": 1 / 237.106301584,
        "PrinterPoint": 0.0254 / 72.27, "Shackle": 27.432, "SolarRadius": 6.9551e8, "Twip": 0.0254 / 1440,
        "UsSurveyFoot": 1200 / 3937,
        "Yard": 0.9144,
    },
    Meter="Centi Deca Deci Hecto Kilo Micro Milli Nano",
    LightYear="Kilo Mega",
    Parsec="Kilo Mega",
    Inch="Micro",
)  # fmt: skip
_POUND = 453.59237
_MASSES = _units(
    {
        "Gram": 1, "EarthMass": 5.9722e27, "Grain": _POUND / 7000, "LongHundredweight": _POUND * 112,
        "LongTon": _POUND * 2240, "Ounce": _POUND / 16, "Pound": _POUND, "ShortHundredweight": _POUND * 100,
        "ShortTon": _POUND * 2000, "Slug": 14593.902937206364, "SolarMass": 1.98947e33, "Stone": _POUND * 14,
        "Tonne": 1e6,
    },
    Gram="Centi Deca Deci Hecto Kilo Micro Milli Nano",
    Pound="Kilo Mega",
    Tonne="Kilo Mega",
)  # fmt: skip
_US_GALLON = 0.003785411784
_IMPERIAL_GALLON = 0.00454609
_VOLUMES = _units(
    {
        "CubicMeter": 1, "AcreFoot": 1233.48183754752, "AuTablespoon": 2e-5, "BoardFoot": 0.028316846592 / 12,
        "CubicCentimeter": 1e-6, "CubicDecimeter": 1e-3, "CubicFoot": 0.028316846592, "CubicHectometer": 1e6,
        "CubicInch": 1.6387064e-5, "CubicKilometer": 1e9, "CubicMicrometer": 1e-18, "CubicMillimeter": 1e-9,
        "CubicMile": 4168181825.440579584, "CubicYard": 0.764554857984, "ImperialBeerBarrel": 0.16365924,
        "ImperialGallon": _IMPERIAL_GALLON, "ImperialOunce": _IMPERIAL_GALLON / 160,
        "ImperialPint": _IMPERIAL_GALLON / 8, "Liter": 1e-3, "MetricCup": 2.5e-4, "MetricTeaspoon": 5e-6,
        "OilBarrel": 0.158987294928, "UkTablespoon": 1.5e-5, "UsBeerBarrel": 0.117347765304,
        "UsCustomaryCup": _US_GALLON / 16, "UsGallon": _US_GALLON, "UsLegalCup": 2.4e-4,
        "UsOunce": _US_GALLON / 128, "UsPint": _US_GALLON / 8, "UsQuart": _US_GALLON / 4,
        "UsTablespoon": _US_GALLON / 256, "UsTeaspoon": _US_GALLON / 768,
    },
    Liter="Centi Deca Deci Hecto Kilo Mega Micro Milli",
    UsGallon="Deca Deci Hecto Kilo Mega",
    CubicFoot="Hecto Kilo Mega",
    CubicMeter="Hecto Kilo",
    ImperialGallon="Kilo Mega",
)  # fmt: skip
_VOLUMES["DecausGallon"], _VOLUMES["DeciusGallon"] = _US_GALLON * 10, _US_GALLON / 10

_KINDS = {
    "convert_angle": _ANGLES,
    "convert_energy": _ENERGIES,
    "convert_force": _FORCES,
    "convert_length": _LENGTHS,
    "convert_mass": _MASSES,
    "convert_speed": _speeds(),
    "convert_volume": _VOLUMES,
}

_TEMPERATURES = {
    "Kelvin": (1.0, 0.0),
    "DegreeCelsius": (1.0, 273.15),
    "MillidegreeCelsius": (1e-3, 273.15),
    "DegreeFahrenheit": (5 / 9, 459.67 * 5 / 9),
    "DegreeRankine": (5 / 9, 0.0),
    "DegreeDelisle": (-2 / 3, 373.15),
    "DegreeNewton": (100 / 33, 273.15),
    "DegreeReaumur": (1.25, 273.15),
    "DegreeRoemer": (40 / 21, 273.15 - 7.5 * 40 / 21),
    "SolarTemperature": (5778.0, 0.0),
}
"""What a degree is in kelvin, and where their zero lies."""


def converted(name: str, value: float | None, unit: str, to: str) -> float | None:
    """A value of one unit in another one; null for a unit that is not known."""
    if value is None:
        return None
    if name == "convert_temperature":
        if unit not in _TEMPERATURES or to not in _TEMPERATURES:
            return None
        (size, zero), (size_to, zero_to) = _TEMPERATURES[unit], _TEMPERATURES[to]
        return (value * size + zero - zero_to) / size_to
    units = _KINDS[name]
    if name == "convert_angle" and unit == "Tilt":
        value, unit = (math.degrees(math.asin(value)) if abs(value) <= 1 else math.nan), "Degree"
    if name == "convert_angle" and to == "Tilt" and unit in units:
        return math.sin(math.radians(value * units[unit])) if math.isfinite(value) else math.nan
    if unit not in units or to not in units:
        return None
    return value * (units[unit] / units[to])


@coded(*_KINDS, "convert_temperature")
def convert_unit(binder: Binder, call: Call, args: list[Value]) -> Value:
    values = bound(binder, call, 3)
    values = [
        coerce(value, kind, call, n)
        for n, (value, kind) in enumerate(zip(values, ("real", "string", "string"), strict=True))
    ]
    value, unit, to = values
    name = call.name
    factors = _KINDS.get(name, {})
    if isinstance(unit.constant, str) and isinstance(to.constant, str) and not value.is_constant:
        if unit.constant in factors and to.constant in factors:
            ratio = sql.literal("real", factors[unit.constant] / factors[to.constant])
            return made("real", f"({value.sql} * {ratio})", value)
        if unit.constant in _TEMPERATURES and to.constant in _TEMPERATURES and not factors:
            size, zero = (sql.literal("real", part) for part in _TEMPERATURES[unit.constant])
            size_to, zero_to = (sql.literal("real", part) for part in _TEMPERATURES[to.constant])
            return made("real", f"(({value.sql} * {size} + {zero} - {zero_to}) / {size_to})", value)
        if unit.constant != "Tilt" and to.constant != "Tilt":
            return constant("real", None)
    function = LocalFunction(name, "real", lambda *given: converted(name, *given))
    return binder.local.call(function, values)
