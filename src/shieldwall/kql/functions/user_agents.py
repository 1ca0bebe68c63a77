"""What a user agent says of the browser, the operating system and the device.

The patterns are our own and of what is widespread; what they do not know has the family ``Other``.
"""

from __future__ import annotations

import re
from typing import Any

from shieldwall.kql.functions.registry import local

_V = r"[/ ](\d+)(?:[._](\d+))?(?:[._](\w+))?"
_BOTS = "Googlebot|bingbot|YandexBot|DuckDuckBot|Baiduspider|AhrefsBot|SemrushBot"
_TOOLS = (
    "curl|Wget|python-requests|Python-urllib|aiohttp|okhttp|axios|Go-http-client|libwww-perl|Java|"
    "WindowsPowerShell|PowerShell|PostmanRuntime|Apache-HttpClient|Microsoft BITS|CertUtil"
)
_BROWSERS = [
    (rf"\b(AdobeAIR){_V}", "AdobeAIR"),
    (rf"\bEdgA{_V}", "Edge Mobile"),
    (rf"\bEdgiOS{_V}", "Edge Mobile"),
    (rf"\bEdge?{_V}", "Edge"),
    (rf"\bOPR{_V}", "Opera"),
    (rf"\bOPiOS{_V}", "Opera Mini"),
    (rf"\bOpera Mini{_V}", "Opera Mini"),
    (rf"\bOpera.*Version{_V}", "Opera"),
    (rf"\bOpera{_V}", "Opera"),
    (rf"\bVivaldi{_V}", "Vivaldi"),
    (rf"\bYaBrowser{_V}", "Yandex Browser"),
    (rf"\bSamsungBrowser{_V}", "Samsung Internet"),
    (rf"\bUCBrowser{_V}", "UC Browser"),
    (rf"\bBrave{_V}", "Brave"),
    (rf"\b({_BOTS}|facebookexternalhit){_V}", ""),
    (rf"\bFxiOS{_V}", "Firefox iOS"),
    (rf"\bSeaMonkey{_V}", "SeaMonkey"),
    (rf"\bThunderbird{_V}", "Thunderbird"),
    (rf"\bMobile;.*Firefox{_V}", "Firefox Mobile"),
    (rf"\bAndroid.*Firefox{_V}", "Firefox Mobile"),
    (rf"\bFirefox{_V}", "Firefox"),
    (rf"\bCriOS{_V}", "Chrome Mobile iOS"),
    (rf"\bHeadlessChrome{_V}", "HeadlessChrome"),
    (rf"\bAndroid.*; wv\).*Chrome{_V}", "Chrome Mobile WebView"),
    (rf"\bChrome{_V}.*\bMobile\b", "Chrome Mobile"),
    (rf"\bChrome{_V}", "Chrome"),
    (rf"\bChromium{_V}", "Chromium"),
    (r"\bMSIE (\d+)\.(\d+)(\w*)", "IE"),
    (r"\bTrident/.*rv:(\d+)\.(\d+)()", "IE"),
    (r"\bSeries60/(\d+)\.(\d+)().*Safari", "Nokia OSS Browser"),
    (rf"\b(?:iPhone|iPad|iPod).*Version{_V}.*Safari", "Mobile Safari"),
    (r"\b(?:iPhone|iPad|iPod)\b.*AppleWebKit()()()", "Mobile Safari UI/WKWebView"),
    (rf"\bAndroid.*Version{_V}.*Safari", "Android"),
    (rf"\bVersion{_V}.*Safari", "Safari"),
    (rf"^(?:Microsoft )?(Outlook|Excel|Word|PowerPoint|OneNote|Teams){_V}", ""),
    (rf"\b({_TOOLS}){_V}", ""),
]  # fmt: skip
_WINDOWS = {
    "10.0": "10", "6.3": "8.1", "6.2": "8", "6.1": "7", "6.0": "Vista", "5.2": "XP", "5.1": "XP",
    "5.0": "2000", "4.0": "NT",
}  # fmt: skip
_SYSTEMS = [
    (r"Windows Phone(?: OS)? (\d+)(?:\.(\d+))?()()", "Windows Phone"),
    (r"Windows NT (\d+\.\d+)()()()", "Windows"),
    (r"Windows (XP|Vista|7|8|10|11|95|98|ME|2000)\b()()()", "Windows"),
    (r"Windows()()()()", "Windows"),
    (r"\b(?:iPhone|iPad|iPod).*? OS (\d+)(?:_(\d+))?(?:_(\d+))?()", "iOS"),
    (r"\b(?:iPhone|iPad|iPod)()()()()", "iOS"),
    (r"Mac OS X (\d+)(?:[._](\d+))?(?:[._](\d+))?()", "Mac OS X"),
    (r"Macintosh()()()()", "Mac OS X"),
    (r"Android[ -]?(\d+)?(?:\.(\d+))?(?:\.(\d+))?()", "Android"),
    (r"CrOS \w+ (\d+)(?:\.(\d+))?(?:\.(\d+))?()", "Chrome OS"),
    (r"SymbianOS/(\d+)(?:\.(\d+))?()()", "Symbian OS"),
    (r"Tizen[ /](\d+)(?:\.(\d+))?()()", "Tizen"),
    (r"\b(?:Ubuntu)(?:/(\d+)(?:\.(\d+))?)?()()", "Ubuntu"),
    (r"\b(?:Fedora)(?:/(\d+)(?:\.(\d+))?)?()()", "Fedora"),
    (r"\bFreeBSD()()()()", "FreeBSD"),
    (r"\bLinux()()()()", "Linux"),
]  # fmt: skip
_DEVICES = [
    (r"(iPhone|iPad|iPod)(?:(\d+,\d+))?", "Apple"),
    (r"(Mac)(?:intosh)", "Apple"),
    (r"\b(?:SAMSUNG[ -])?((?:SM|GT)-\w+)", "Samsung"),
    (r"\b(Pixel(?: [\w ]+?)?)(?: Build|[;)])", "Google"),
    (r"\b(Nexus \w+)", "Google"),
    (r"\bNokia ?([A-Za-z]?\w+(?:-\d)?)", "Nokia"),
    (r"\b(Redmi[\w ]*?|Mi [\w ]+?|POCO[\w ]*?)(?: Build|[;)])", "XiaoMi"),
    (r"\b((?:HUAWEI|HONOR)[\w -]*?)(?: Build|[;)])", "Huawei"),
    (r"\b(?:Lumia) (\w+)", "Microsoft"),
    (rf"({_BOTS})", "Spider"),
]  # fmt: skip

_compiled: dict[str, list[tuple[re.Pattern[str], str]]] = {}


def _patterns(name: str, table: list[tuple[str, str]]) -> list[tuple[re.Pattern[str], str]]:
    """The patterns of a table, made when they are first wanted."""
    if name not in _compiled:
        _compiled[name] = [(re.compile(pattern, re.IGNORECASE), family) for pattern, family in table]
    return _compiled[name]


@local("parse_user_agent(string, any = 0) -> dynamic")
def parse_user_agent(text: str | None, wanted: Any = None) -> Any:
    """A bag with the parts that are looked for: ``browser``, ``os``, ``device`` or an array of them."""
    names = (
        wanted
        if isinstance(wanted, list)
        else [wanted]
        if isinstance(wanted, str)
        else ["browser", "os", "device"]
    )
    lowered = {name.lower() for name in names if isinstance(name, str)}
    agent = (text or "")[:2000]
    found: dict[str, Any] = {}
    if "browser" in lowered:
        found["Browser"] = _browser(agent)
    if "os" in lowered:
        found["OperatingSystem"] = _system(agent)
    if "device" in lowered:
        found["Device"] = _device(agent)
    return found or None


def _browser(agent: str) -> dict[str, str]:
    family, numbers = "Other", ["", "", ""]
    for pattern, name in _patterns("browser", _BROWSERS):
        if match := pattern.search(agent):
            groups = [group or "" for group in match.groups()]
            family, numbers = name or groups[0], groups[-3:]
            break
    return {"Family": family, "MajorVersion": numbers[0], "MinorVersion": numbers[1], "Patch": numbers[2]}


def _system(agent: str) -> dict[str, str]:
    family, numbers = "Other", ["", "", "", ""]
    for pattern, name in _patterns("os", _SYSTEMS):
        if match := pattern.search(agent):
            family, numbers = name, [group or "" for group in match.groups()]
            if name == "Windows":
                numbers[0] = _WINDOWS.get(numbers[0], numbers[0])
            break
    keys = ("MajorVersion", "MinorVersion", "Patch", "PatchMinor")
    return {"Family": family, **dict(zip(keys, numbers, strict=True))}


def _device(agent: str) -> dict[str, str]:
    for pattern, brand in _patterns("device", _DEVICES):
        if match := pattern.search(agent):
            model = match[1]
            if brand == "Nokia":
                return {"Family": f"Nokia {model.split('-')[0]}", "Brand": brand, "Model": model}
            family = f"Samsung {model}" if brand == "Samsung" else model
            return {"Family": "Spider" if brand == "Spider" else family, "Brand": brand, "Model": model}
    return {"Family": "Other", "Brand": "", "Model": ""}
