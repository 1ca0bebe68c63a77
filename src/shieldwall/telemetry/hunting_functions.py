"""What hunting has beside tables: FileProfile and its like, and retired tables made of today's, all in KQL."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from shieldwall.kql.errors import KqlError
from shieldwall.kql.expressions import Binder
from shieldwall.kql.parser import parse
from shieldwall.kql.relation import Relation
from shieldwall.kql.scope import Binding, Environment, unknown
from shieldwall.kql.syntax import Call, Expr, Literal, Name, Named
from shieldwall.kql.values import Value, constant

if TYPE_CHECKING:
    from shieldwall.kql.compiler import Compiler

VIEWS = {
    "DeviceAlertEvents": """
AlertInfo
| join kind=inner (AlertEvidence | where EntityType == "Machine" or isnotempty(DeviceId)) on AlertId
| project AlertId, Timestamp, DeviceId, DeviceName, Severity, Category, Title, FileName, SHA1, RemoteUrl, RemoteIP,
    AttackTechniques, ReportId = "", Table = ""
""",
    "DeviceTvmSoftwareInventoryVulnerabilities": """
DeviceTvmSoftwareInventory
| join kind=leftouter DeviceTvmSoftwareVulnerabilities on DeviceId, SoftwareVendor, SoftwareName, SoftwareVersion
| project DeviceId, DeviceName, OSPlatform, OSVersion, OSArchitecture, SoftwareVendor, SoftwareName, SoftwareVersion,
    CveId, VulnerabilitySeverityLevel
""",
}
"""Tables that are no longer there, as queries over those that replaced them."""

_SEEN = """
let executed = DeviceProcessEvents | where {where}
    | project Timestamp, DeviceId, SHA1, SHA256, MD5, FileSize, Product = ProcessVersionInfoProductName, Executable = true;
let written = DeviceFileEvents | where {where}
    | project Timestamp, DeviceId, SHA1, SHA256, MD5, FileSize, Product = "", Executable = false;
let loaded = DeviceImageLoadEvents | where {where}
    | project Timestamp, DeviceId, SHA1, SHA256, MD5, FileSize, Product = "", Executable = true;
let initiating = DeviceProcessEvents | where {initiating}
    | project Timestamp, DeviceId, SHA1 = InitiatingProcessSHA1, SHA256 = InitiatingProcessSHA256,
        MD5 = InitiatingProcessMD5, FileSize = InitiatingProcessFileSize,
        Product = InitiatingProcessVersionInfoProductName, Executable = true;
let seen = union executed, written, loaded, initiating
    | summarize SHA1 = max(SHA1), SHA256 = max(SHA256), MD5 = max(MD5), FileSize = max(FileSize), Product = max(Product),
        Executable = max(toint(Executable)), Prevalence = dcount(DeviceId), First = min(Timestamp), Last = max(Timestamp)
        by Key = tolower({hash});
let signed = DeviceFileCertificateInfo
    | summarize arg_max(Timestamp, IsSigned, IsTrusted, Signer, Issuer, SignerHash, IsRootSignerMicrosoft) by SHA1;
let threats = DeviceEvents | where ActionType == "AntivirusDetection" and isnotempty(SHA1)
    | summarize Threat = take_any(tostring(parse_json(AdditionalFields).ThreatName)) by SHA1;
"""

_FILE_PROFILE = """
let wanted = T | where isnotempty({column}) | distinct Key = tolower(tostring({column})) | take {rows};
{seen}
T
| extend ProfileKey__ = tolower(tostring({column}))
| join kind=leftouter (
    wanted
    | join kind=leftouter seen on Key
    | extend Join1 = tolower(SHA1)
    | join kind=leftouter (signed | extend Join1 = tolower(SHA1)) on Join1
    | join kind=leftouter (threats | extend Join1 = tolower(SHA1)) on Join1
    | project ProfileKey__ = Key, P_SHA1 = SHA1, P_SHA256 = SHA256, P_MD5 = MD5, P_FileSize = FileSize,
        P_Prevalence = Prevalence, P_First = First, P_Last = Last, P_Signer = Signer, P_Issuer = Issuer,
        P_SignerHash = SignerHash, P_IsSigned = IsSigned, P_IsTrusted = IsTrusted, P_Root = IsRootSignerMicrosoft,
        P_Executable = Executable, P_Threat = Threat, P_Product = Product
  ) on ProfileKey__
| extend SHA1 = {sha1}, SHA256 = {sha256}, MD5 = {md5}, FileSize = {size},
    GlobalPrevalence = toint(P_Prevalence), GlobalFirstSeen = P_First, GlobalLastSeen = P_Last,
    Signer = P_Signer, Issuer = P_Issuer, SignerHash = P_SignerHash,
    IsCertificateValid = P_IsTrusted, IsRootSignerMicrosoft = P_Root,
    SignatureState = case(P_IsSigned == true and P_IsTrusted == true, "SignedValid",
        P_IsSigned == true, "SignedInvalid", P_IsSigned == false, "Unsigned", "Unknown"),
    IsExecutable = P_Executable == 1, ThreatName = P_Threat, Publisher = P_Signer, SoftwareName = P_Product,
    ProfileAvailability = case(isempty(P_SHA1) and isempty(ProfileKey__1), "", isnotnull(P_Prevalence), "Available",
        "Missing")
| project-away ProfileKey__, ProfileKey__1, P_*
"""

PROFILE_ROWS = 100
MOST_PROFILE_ROWS = 1000
_HASHES = {"sha1": 40, "sha256": 64}


def file_profile(compiler: Compiler, piped: Relation | None, node: Call, env: Environment) -> Relation:
    """``T | invoke FileProfile(column, rows)``: what this tenant's fleet knows of files, beside each row."""
    if piped is None:
        raise KqlError("FileProfile() stands behind invoke.", node.at)
    column = _column(node, 0, "SHA1")
    names = {item.name for item in piped.columns}
    if column not in names:
        raise unknown("column", column, names, node.at)
    rows = PROFILE_ROWS
    if len(node.args) > 1:
        rows = Binder(compiler, env).constant(_plain(node.args[1]), "long")
    hashed = "SHA256" if column.upper().endswith("SHA256") else "SHA1"

    def kept(name: str, found: str) -> str:
        """The row's own value where it has the column, unless that is what is looked up."""
        return f"iff(isnotempty({name}), {name}, {found})" if name in names else found

    seen = _SEEN.format(
        hash=hashed,
        where=f"isnotempty({hashed}) and tolower({hashed}) in (wanted)",
        initiating=f"isnotempty(InitiatingProcess{hashed}) and tolower(InitiatingProcess{hashed}) in (wanted)",
    )
    own_size = "FileSize" in names
    text = _FILE_PROFILE.format(
        column=f"['{column}']",
        rows=max(1, min(rows, MOST_PROFILE_ROWS)),
        seen=seen,
        sha1=kept("SHA1", "P_SHA1"),
        sha256=kept("SHA256", "P_SHA256"),
        md5=kept("MD5", "P_MD5"),
        size="coalesce(FileSize, P_FileSize)" if own_size else "toint(P_FileSize)",
    )
    return _run(compiler, text, {"T": compiler.share(piped)}, node)


_ASSIGNED = """
DeviceNetworkInfo
| where (DeviceId =~ device or DeviceName =~ device) and Timestamp <= moment
| summarize arg_max(Timestamp, IPAddresses, ConnectedNetworks, NetworkAdapterType) by MacAddress
| mv-expand Address = parse_json(IPAddresses)
| project Timestamp, IPAddress = tostring(Address.IPAddress), IPType = tostring(Address.AddressType),
    NetworkAdapterType = toint(NetworkAdapterType), ConnectedNetworks = toint(array_length(parse_json(ConnectedNetworks)))
"""


def assigned_addresses(compiler: Compiler, piped: Relation | None, node: Call, env: Environment) -> Relation:
    """``AssignedIPAddresses(device, moment)``: the newest addresses of a device before a moment."""
    binder = Binder(compiler, env)
    names: dict[str, Binding | Value | Relation] = {"device": _argument(binder, node, 0, "")}
    names["moment"] = binder.bind(_plain(node.args[1])) if len(node.args) > 1 else _now(binder, node)
    return _run(compiler, _ASSIGNED, names, node)


_DEVICE_FROM_ADDRESS = """
let wanted = T | where isnotempty(IP) | distinct IP;
DeviceNetworkInfo
| where Timestamp <= moment
| mv-expand Address = parse_json(IPAddresses)
| extend IP = tostring(Address.IPAddress)
| where IP in (wanted)
| summarize arg_max(Timestamp, DeviceId) by IP
| project IP, DeviceId
"""


def device_from_address(compiler: Compiler, piped: Relation | None, node: Call, env: Environment) -> Relation:
    """``T | invoke DeviceFromIP(moment)``: the device that last had each address in the column IP."""
    if piped is None or not any(column.name == "IP" for column in piped.columns):
        raise KqlError("DeviceFromIP() needs a table with a column named IP.", node.at)
    binder = Binder(compiler, env)
    moment = binder.bind(_plain(node.args[0])) if node.args else _now(binder, node)
    return _run(compiler, _DEVICE_FROM_ADDRESS, {"T": piped, "moment": moment}, node)


_SEEN_BY = """
let wanted = T | distinct DeviceId | take 1000;
DeviceInfo
| where DeviceId in (wanted)
| extend Seen = parse_json(AdditionalFields).SeenBy
| mv-expand Seen
| where isnotempty(Seen)
| distinct DeviceId = tostring(Seen)
"""


def seen_by(compiler: Compiler, piped: Relation | None, node: Call, env: Environment) -> Relation:
    """``T | invoke SeenBy()``: the onboarded devices that saw the devices of T."""
    if piped is None or not any(column.name == "DeviceId" for column in piped.columns):
        raise KqlError("SeenBy() needs a table with a column named DeviceId.", node.at)
    return _run(compiler, _SEEN_BY, {"T": piped}, node)


def _run(compiler: Compiler, text: str, names: dict[str, Binding | Value | Relation], node: Call) -> Relation:
    """The relation of one of our own texts."""
    compiler.mentions.update(("wanted", "wanted"))
    try:
        relation = compiler.statements(parse(text), Environment(None, names), {})
    except KqlError as error:
        raise KqlError(f"{node.name}(): {error.message}", node.at, error.code) from None
    assert relation is not None
    return relation


def _plain(node: Expr) -> Expr:
    return node.value if isinstance(node, Named) else node


def _column(node: Call, place: int, default: str) -> str:
    """A column's name, given bare or as text."""
    if len(node.args) <= place:
        return default
    given = _plain(node.args[place])
    if isinstance(given, Name):
        return given.name
    if isinstance(given, Literal) and isinstance(given.value, str) and "'" not in given.value:
        return given.value
    raise KqlError(f"{node.name}(): a column's name is expected here.", given.at)


def _argument(binder: Binder, node: Call, place: int, default: str) -> Value:
    return binder.bind(_plain(node.args[place])) if len(node.args) > place else constant("string", default)


def _now(binder: Binder, node: Call) -> Value:
    return binder.bind(Call(node.at, "now", []))


Function = Callable[..., Relation]

FUNCTIONS: dict[str, Function] = {
    "FileProfile": file_profile,
    "AssignedIPAddresses": assigned_addresses,
    "AssignedIPAddress": assigned_addresses,
    "DeviceFromIP": device_from_address,
    "SeenBy": seen_by,
}
