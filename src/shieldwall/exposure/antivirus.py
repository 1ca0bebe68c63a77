"""How the antivirus of each device is, from what devices gathered of themselves."""

from __future__ import annotations

from shieldwall.exposure.snapshots import UNTIL, newest

_GATHERED = newest("DeviceTvmInfoGathering", "AdditionalFields")


def _field(*names: str) -> str:
    """The value of the first of these keys that there is; their casing differs from device to device."""
    found = "JSONExtractRaw(g.AdditionalFields, '{}')"
    values = ", ".join(f"nullIf(trim(BOTH '\"' FROM {found.format(name)}), '')" for name in names)
    return f"ifNull(coalesce({values}), '')"


def _time(name: str) -> str:
    return f"parseDateTime64BestEffortOrNull({_field(name)}, 7, 'UTC')"


def _flag(*names: str) -> str:
    """True, False or Unknown; Unknown where nothing was told, or not for a week."""
    value = f"lower({_field(*names)})"
    silent = f"ifNull(g.LastSeenTime, g.Timestamp) < {UNTIL} - INTERVAL 7 DAY"
    return f"multiIf({silent}, 'Unknown', {value} = 'true', 'True', {value} = 'false', 'False', 'Unknown')"


def _scan(kind: str, name: str) -> str:
    results = "JSONExtractString(g.AdditionalFields, 'AvScanResults')"
    whole = f"if({results} != '', {results}, JSONExtractRaw(g.AdditionalFields, 'AvScanResults'))"
    return f"JSONExtractString({whole}, '{kind}', '{name}')"


def _scans(kind: str) -> str:
    word = kind.lower()
    return f"""
       {_scan(kind, "ScanStatus")} AS {word}ScanResult, {_scan(kind, "ErrorCode")} AS {word}ScanError,
       parseDateTime64BestEffortOrNull({_scan(kind, "Timestamp")}, 7, 'UTC') AS {word}ScanTime,"""


_NAMES = ("AvMode", "AvSignatureVersion", "AvEngineVersion", "AvPlatformVersion")

ANTIVIRUS = f"""
SELECT g.DeviceId AS id, g.DeviceId AS machineId,
       if(g.DeviceName != '', g.DeviceName, i.name) AS computerDnsName,
       multiIf(startsWith(lower(osPlatform), 'windows'), 'windows',
               startsWith(lower(osPlatform), 'mac'), 'mac', 'linux') AS osKind,
       if(g.OSPlatform != '', g.OSPlatform, i.platform) AS osPlatform, i.version AS osVersion,
       {", ".join(f"{_field(name)} AS {name[0].lower()}{name[1:]}" for name in _NAMES)},
       ifNull(g.LastSeenTime, g.Timestamp) AS lastSeenTime,{_scans("Quick")}{_scans("Full")}
       g.Timestamp AS dataRefreshTimestamp, {_time("AvEngineUpdateTime")} AS avEngineUpdateTime,
       {_time("AvSignatureUpdateTime")} AS avSignatureUpdateTime,
       {_time("AvPlatformUpdateTime")} AS avPlatformUpdateTime,
       {_flag("AvIsSignatureUptoDate", "AvIsSignatureUpToDate")} AS avIsSignatureUpToDate,
       {_flag("AvIsEngineUptodate", "AvIsEngineUpToDate")} AS avIsEngineUpToDate,
       {_flag("AvIsPlatformUptodate", "AvIsPlatformUpToDate")} AS avIsPlatformUpToDate,
       {_time("AvSignaturePublishTime")} AS avSignaturePublishTime,
       {_time("AvSignatureDataRefreshTime")} AS avSignatureDataRefreshTime,
       nullIf({_field("CloudProtectionState")}, '') AS cloudProtectionState,
       {_time("AvModeDataRefreshTime")} AS avModeDataRefreshTime,
       transform(i.group, {{groupNames:Array(String)}}, {{groupIds:Array(Int64)}}, 0) AS rbacGroupId,
       if(i.group = '', {{noGroup:String}}, i.group) AS rbacGroupName
FROM (SELECT * FROM {_GATHERED} ORDER BY Timestamp DESC LIMIT 1 BY DeviceId) AS g
LEFT JOIN (SELECT DeviceId, argMax(DeviceName, Timestamp) AS name, argMax(OSPlatform, Timestamp) AS platform,
                  argMax(OSVersion, Timestamp) AS version, argMax(MachineGroup, Timestamp) AS group
           FROM DeviceInfo WHERE IngestionTime <= {UNTIL} GROUP BY DeviceId) AS i
  ON g.DeviceId = i.DeviceId"""
"""One row for each device that told of its antivirus; its group is that of its newest report."""
