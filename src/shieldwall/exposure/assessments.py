"""What each assessment export holds, as SQL whose columns bear the properties' names.

Every row has a ``rowKey`` that is its own and the ``deviceId``; what the state knows of the device (its
group, and its name where the rows have none) is added where they are answered.
"""

from __future__ import annotations

from shieldwall.exposure.configurations import CHECKED
from shieldwall.exposure.snapshots import newest, newest_facts
from shieldwall.exposure.weaknesses import AFFECTED, INSTALLED, VULNERABILITY_FACTS, catalogue

_SAME = " AND ".join(
    f"a.{name} = b.{name}" for name in ("DeviceId", "SoftwareVendor", "SoftwareName", "SoftwareVersion")
)
_VERSION = "DeviceId, SoftwareVendor, SoftwareName, SoftwareVersion"
_EVIDENCE = newest("DeviceTvmSoftwareEvidenceBeta", "SoftwareName")
_FIRST_SEEN = (
    f"(SELECT {_VERSION}, min(IngestionTime) AS time FROM DeviceTvmSoftwareInventory GROUP BY {_VERSION})"
)
_SUPPORT = "if(a.EndOfSupportStatus = '', 'None', a.EndOfSupportStatus)"


def _text(time: str) -> str:
    """A time as rows of exports write it: a blank in the middle, no zone."""
    return f"formatDateTime({time}, '%Y-%m-%d %H:%i:%S')"


def _date(time: str) -> str:
    return f"formatDateTime({time}, '%Y-%m-%dT%H:%i:%S+00:00')"


def _texts(column: str) -> str:
    """A list of texts from the JSON of a dynamic column, or from its one plain text."""
    return (
        f"if(isValidJSON({column}) AND JSONType({column}) = 'Array', JSONExtract({column}, 'Array(String)'), "
        f"arrayFilter(x -> x != '', [{column}]))"
    )


CONFIGURATIONS = f"""
SELECT concat(DeviceId, '_', ConfigurationId) AS rowKey, DeviceId AS deviceId, DeviceName AS deviceName,
       OSPlatform AS osPlatform, '' AS osVersion, {_text("Timestamp")} AS timestamp,
       ConfigurationId AS configurationId, ConfigurationCategory AS configurationCategory,
       ConfigurationSubcategory AS configurationSubcategory, Impact AS configurationImpact,
       ifNull(IsCompliant, false) AS isCompliant, ifNull(IsApplicable, false) AS isApplicable,
       ifNull(IsExpectedUserImpact, false) AS isExpectedUserImpact, ConfigurationName AS configurationName,
       concat('sca-_-', ConfigurationId) AS recommendationReference
FROM {CHECKED}"""

SOFTWARE = f"""
SELECT concat(a.DeviceId, '_', a.SoftwareVendor, '_', a.SoftwareName, '_', a.SoftwareVersion) AS rowKey,
       a.DeviceId AS deviceId, a.DeviceName AS deviceName, a.OSPlatform AS osPlatform,
       a.SoftwareVendor AS softwareVendor, a.SoftwareName AS softwareName,
       a.SoftwareVersion AS softwareVersion, w.weaknesses AS numberOfWeaknesses,
       {_texts("e.DiskPaths")} AS diskPaths, {_texts("e.RegistryPaths")} AS registryPaths,
       {_text("f.time")} AS softwareFirstSeenTimestamp, {_SUPPORT} AS endOfSupportStatus,
       {_date("a.EndOfSupportDate")} AS endOfSupportDate, CAST([] AS Array(String)) AS softwareTags,
       CAST(NULL AS Nullable(String)) AS productCategory
FROM {INSTALLED} AS a
LEFT JOIN (SELECT {_VERSION}, uniqExact(CveId) AS weaknesses FROM {AFFECTED} GROUP BY {_VERSION}) AS w
  ON {_SAME.replace("b.", "w.")}
LEFT ANY JOIN {_EVIDENCE} AS e ON {_SAME.replace("b.", "e.")}
LEFT JOIN {_FIRST_SEEN} AS f ON {_SAME.replace("b.", "f.")}
WHERE a.ProductCodeCpe != ''"""

OTHER_SOFTWARE = f"""
SELECT concat(a.DeviceId, '_', a.SoftwareVendor, '_', a.SoftwareName, '_', a.SoftwareVersion) AS rowKey,
       a.DeviceId AS deviceId, a.DeviceName AS deviceName, a.OSPlatform AS osPlatform,
       a.SoftwareVendor AS softwareVendor, a.SoftwareName AS softwareName,
       a.SoftwareVersion AS softwareVersion, {_text("a.IngestionTime")} AS softwareLastSeenTimestamp,
       CAST(NULL AS Nullable(String)) AS registryPath
FROM {INSTALLED} AS a WHERE a.ProductCodeCpe = ''"""

_WEAK = f"""
SELECT {_VERSION}, DeviceName, OSPlatform, OSVersion, OSArchitecture, CveId, VulnerabilitySeverityLevel,
       RecommendedSecurityUpdate, RecommendedSecurityUpdateId,
       CAST(toFloat64OrNull(CvssScore) AS Nullable(Float64)) AS Cvss, Exploit, IngestionTime
FROM {AFFECTED}
UNION ALL
SELECT {_VERSION}, DeviceName, OSPlatform, OSVersion, OSArchitecture, '', '', '', '', NULL, false,
       IngestionTime
FROM {INSTALLED} WHERE ProductCodeCpe != '' AND ({_VERSION}) NOT IN (SELECT {_VERSION} FROM {AFFECTED})"""

_FOUND = f"""(
SELECT {_VERSION}, CveId, min(IngestionTime) AS first, max(IngestionTime) AS last
FROM DeviceTvmSoftwareVulnerabilities GROUP BY {_VERSION}, CveId)"""

_REFERENCE = "concat('va-_-', a.SoftwareVendor, '-_-', a.SoftwareName)"
_ROW_ID = (
    "concat(a.DeviceId, '_', a.SoftwareVendor, '_', a.SoftwareName, '_', a.SoftwareVersion, '_', a.CveId)"
)


def _weakness(first: str, last: str) -> str:
    """The columns that both exports of vulnerabilities have, of a row ``a``, with an evidence ``e``."""
    update = "a.RecommendedSecurityUpdateId"
    return f"""
       a.DeviceId AS deviceId, a.DeviceName AS deviceName, a.OSPlatform AS osPlatform,
       a.OSVersion AS osVersion, a.OSArchitecture AS osArchitecture, a.SoftwareVendor AS softwareVendor,
       a.SoftwareName AS softwareName, a.SoftwareVersion AS softwareVersion, nullIf(a.CveId, '') AS cveId,
       a.Cvss AS cvssScore, nullIf(a.VulnerabilitySeverityLevel, '') AS vulnerabilitySeverityLevel,
       nullIf(a.RecommendedSecurityUpdate, '') AS recommendedSecurityUpdate,
       nullIf({update}, '') AS recommendedSecurityUpdateId,
       {catalogue(update)} AS recommendedSecurityUpdateUrl,
       {_texts("e.DiskPaths")} AS diskPaths, {_texts("e.RegistryPaths")} AS registryPaths,
       {_text(last)} AS lastSeenTimestamp, {_text(first)} AS firstSeenTimestamp,
       if(a.Exploit, 'ExploitIsPublic', 'NoExploit') AS exploitabilityLevel,
       {_REFERENCE} AS recommendationReference,
       a.RecommendedSecurityUpdate != '' OR {update} != '' AS updatable,
       CAST(updatable AS Bool) AS securityUpdateAvailable,
       CAST(NULL AS Nullable(String)) AS cveMitigationStatus,
       CAST(NULL AS Nullable(String)) AS productCategory,
       if(i.EndOfSupportStatus = '', 'None', i.EndOfSupportStatus) AS endOfSupportStatus,
       {_date("i.EndOfSupportDate")} AS endOfSupportDate"""


_BESIDE = f"""
LEFT ANY JOIN {_EVIDENCE} AS e ON {_SAME.replace("b.", "e.")}
LEFT ANY JOIN {INSTALLED} AS i ON {_SAME.replace("b.", "i.")}"""

VULNERABILITIES = f"""
SELECT {_ROW_ID} AS rowKey, rowKey AS id,
       {_weakness("if(f.CveId = '', a.IngestionTime, f.first)", "a.IngestionTime")}
FROM ({_WEAK}) AS a {_BESIDE}
LEFT JOIN {_FOUND} AS f ON {_SAME.replace("b.", "f.")} AND a.CveId = f.CveId"""

_PERIOD = "toStartOfInterval({since:DateTime64(6, 'UTC')}, INTERVAL 6 HOUR)"
_STATE = "(v.VulnerabilitySeverityLevel, v.RecommendedSecurityUpdate, v.RecommendedSecurityUpdateId)"

CHANGES = f"""
SELECT concat(id, '_', toString(a.number)) AS rowKey, {_ROW_ID} AS id,
       {_weakness("a.first", "a.last")}, a.status AS status, a.time AS eventTimestamp,
       CAST(true AS Nullable(Bool)) AS isOnboarded
FROM (
SELECT c.*, toFloat64OrNull(k.CvssScore) AS Cvss, ifNull(k.IsExploitAvailable, false) AS Exploit
FROM (
SELECT {_VERSION}, CveId, DeviceName, OSPlatform, OSVersion, OSArchitecture, VulnerabilitySeverityLevel,
       RecommendedSecurityUpdate, RecommendedSecurityUpdateId, first, last, number,
       times[number] AS time, state[number] AS now, if(number = 1, 0, state[number - 1]) AS before,
       multiIf(before = 0, 'New', now = 0, 'Fixed', 'Updated') AS status
FROM (
SELECT {_VERSION}, CveId, any(v.DeviceName) AS DeviceName, any(v.OSPlatform) AS OSPlatform,
       any(v.OSVersion) AS OSVersion, any(v.OSArchitecture) AS OSArchitecture,
       argMax(v.VulnerabilitySeverityLevel, v.IngestionTime) AS VulnerabilitySeverityLevel,
       argMax(v.RecommendedSecurityUpdate, v.IngestionTime) AS RecommendedSecurityUpdate,
       argMax(v.RecommendedSecurityUpdateId, v.IngestionTime) AS RecommendedSecurityUpdateId,
       min(v.IngestionTime) AS first, max(v.IngestionTime) AS last,
       groupArray(v.IngestionTime) AS seen, groupArray(sipHash64({_STATE})) AS states, any(t.times) AS times,
       arrayMap(x -> states[indexOf(seen, x)], times) AS state
FROM DeviceTvmSoftwareVulnerabilities AS v
INNER JOIN (SELECT DeviceId, arraySort(groupUniqArray(IngestionTime)) AS times
            FROM DeviceTvmSoftwareVulnerabilities WHERE IngestionTime <= {{until:DateTime64(6, 'UTC')}}
            GROUP BY DeviceId) AS t ON v.DeviceId = t.DeviceId
WHERE CveId != '' AND IngestionTime <= {{until:DateTime64(6, 'UTC')}}
GROUP BY {_VERSION}, CveId)
ARRAY JOIN arrayEnumerate(times) AS number
WHERE now != before AND time >= {_PERIOD}) AS c
LEFT JOIN {VULNERABILITY_FACTS} AS k ON c.CveId = k.CveId) AS a {_BESIDE}"""
"""Every change from one snapshot of a device to its next, from the six hours on that hold ``since``."""

_PERMISSIONS = newest_facts("DeviceTvmBrowserExtensionsKB", "BrowserName", "ExtensionId", "PermissionId")

EXTENSIONS = f"""
SELECT concat(x.DeviceId, '_', x.BrowserName, '_', x.ExtensionId, '_', x.ExtensionVersion) AS rowKey,
       x.DeviceId AS deviceId, x.InstallationTime AS installationTime, x.BrowserName AS browserName,
       x.ExtensionId AS extensionId, x.ExtensionName AS extensionName,
       x.ExtensionDescription AS extensionDescription, x.ExtensionVersion AS extensionVersion,
       x.ExtensionRisk AS extensionRisk, x.ExtensionVendor AS extensionVendor,
       CAST(lower(x.IsActivated) IN ('true', '1') AS Bool) AS isActivated, p.permissions AS permissions
FROM {newest("DeviceTvmBrowserExtensions", "ExtensionId")} AS x
LEFT JOIN (SELECT BrowserName, ExtensionId,
                  arraySort(groupArray((PermissionId, IsPermissionRequired, PermissionRisk))) AS permissions
           FROM {_PERMISSIONS} WHERE PermissionId != '' GROUP BY BrowserName, ExtensionId) AS p
  ON x.BrowserName = p.BrowserName AND x.ExtensionId = p.ExtensionId"""

PERMISSIONS = f"""
SELECT PermissionId AS key, any(PermissionName) AS permissionName, any(PermissionDescription) AS description
FROM {_PERMISSIONS} WHERE PermissionId != '' GROUP BY PermissionId"""

_GATHERED = newest("DeviceTvmInfoGathering", "AdditionalFields")

GATHERED = f"""
SELECT DeviceId AS rowKey, DeviceId AS deviceId, DeviceName AS deviceName, OSPlatform AS osPlatform,
       '' AS osVersion, {_text("Timestamp")} AS timestamp, {_text("LastSeenTime")} AS lastSeenTime,
       AdditionalFields AS deviceGatheredInfo
FROM (SELECT * FROM {_GATHERED} ORDER BY Timestamp DESC LIMIT 1 BY DeviceId)"""

CERTIFICATES = f"""
SELECT concat(DeviceId, '_', Thumbprint, '_', Path) AS rowKey, DeviceId AS deviceId,
       upper(Thumbprint) AS thumbprint, Path AS path, SignatureAlgorithm AS signatureAlgorithm,
       toInt32OrZero(KeySize) AS keyLength, keyLength AS keySize,
       parseDateTime64BestEffortOrNull(ExpirationDate, 7, 'UTC') AS notAfter,
       parseDateTime64BestEffortOrNull(IssueDate, 7, 'UTC') AS notBefore, SubjectType AS subjectType,
       SerialNumber AS serialNumber, IssuedTo AS issuedTo, IssuedBy AS issuedBy,
       CAST(IssuedTo != '' AND IssuedTo = IssuedBy AS Bool) AS isSelfSigned,
       {_texts("KeyUsage")} AS keyUsageArray, {_texts("ExtendedKeyUsage")} AS extendedKeyUsageArray
FROM {newest("DeviceTvmCertificateInfo", "Thumbprint")}"""

_HARDWARE = newest("DeviceTvmHardwareFirmware", "ComponentType")

HARDWARE = f"""
SELECT concat(DeviceId, '_', ComponentType, '_', ComponentName, '_', ComponentVersion) AS rowKey,
       DeviceId AS deviceId, DeviceName AS deviceName, ComponentType AS componentType,
       Manufacturer AS manufacturer, ComponentName AS componentName, ComponentVersion AS componentVersion,
       AdditionalFields AS additionalFields
FROM {_HARDWARE}"""


def firmware(where: str = "true") -> str:
    """SQL of the kinds of components, of the rows under ``where``."""
    return f"""
SELECT ComponentName AS name, ComponentType AS type, Manufacturer AS vendor, ComponentFamily AS family,
       ComponentVersion AS version, any(AdditionalFields) AS additionalFields,
       concat(name, '_', type, '_', vendor, '_', family, '_', version) AS rowKey
FROM {_HARDWARE} WHERE {where} GROUP BY name, type, vendor, family, version"""


_COMPLIANCE = newest("DeviceBaselineComplianceAssessment", "ConfigurationId")

_EXEMPT = """(ifNull(IsExempt, false) OR arrayExists(
         e -> has(e.1, ConfigurationId) AND (empty(e.2) OR has(e.2, DeviceId)),
         {exemptions:Array(Tuple(Array(String), Array(String)))}))"""
"""Whether a device need not keep to a configuration: its own row says so, or an exception in force."""

BASELINES = f"""
SELECT concat(DeviceId, '_', ProfileId, '_', ConfigurationId) AS rowKey, rowKey AS id,
       ConfigurationId AS configurationId, ProfileId AS profileId, DeviceId AS deviceId,
       DeviceName AS deviceName, OSPlatform AS osPlatform, OSVersion AS osVersion,
       ifNull(IsApplicable, false) AS isApplicable, IsCompliant AS isCompliant,
       {_date("IngestionTime")} AS dataCollectionTimeOffset,
       dataCollectionTimeOffset AS complianceCalculationTimeOffset,
       {_texts("RecommendedValue")} AS recommendedValue, {_texts("CurrentValue")} AS currentValue,
       currentValue AS rawValue, {_texts("Source")} AS source, CAST({_EXEMPT} AS Bool) AS isExempt,
       CAST(NULL AS Nullable(String)) AS complianceEvaluationDetails
FROM {_COMPLIANCE}"""

PROFILES = f"""
SELECT p.ProfileId AS id, p.ProfileName AS name, p.ProfileDescription AS description,
       p.BaseBenchmark AS benchmark, p.BenchmarkVersion AS version,
       arrayStringConcat({_texts("p.OSPlatform")}, ', ') AS operatingSystem,
       p.OSVersion AS operatingSystemVersion, ifNull(p.Status, false) AS status,
       p.BenchmarkProfileLevel AS complianceLevel, s.settings AS settingsNumber, p.CreatedBy AS createdBy,
       nullIf(p.LastUpdatedBy, '') AS lastUpdatedBy, p.CreatedOn AS createdOnTimeOffset,
       p.LastUpdatedOn AS lastUpdateTimeOffset, d.passed AS passedDevices, d.devices AS totalDevices
FROM {newest_facts("DeviceBaselineComplianceProfiles", "ProfileId")} AS p
LEFT JOIN (SELECT ProfileId, uniqExact(ConfigurationId) AS settings FROM {_COMPLIANCE}
           GROUP BY ProfileId) AS s
  ON p.ProfileId = s.ProfileId
LEFT JOIN (SELECT ProfileId, count() AS devices, countIf(failed = 0) AS passed FROM
           (SELECT ProfileId, DeviceId,
                   countIf(ifNull(IsApplicable, false) AND NOT ifNull(IsCompliant, false)
                           AND NOT {_EXEMPT}) AS failed
            FROM {_COMPLIANCE} GROUP BY ProfileId, DeviceId) GROUP BY ProfileId) AS d
  ON p.ProfileId = d.ProfileId"""

BASELINE_CONFIGURATIONS = f"""
SELECT concat(ConfigurationBenchmark, '_', ConfigurationId) AS uniqueId, ConfigurationId AS id,
       splitByRegexp('[ _]', ConfigurationBenchmark)[1] AS benchmarkName,
       trim(LEADING '_' FROM trim(substring(ConfigurationBenchmark, length(benchmarkName) + 1)))
         AS benchmarkVersion,
       ConfigurationName AS name, ConfigurationDescription AS description,
       ConfigurationCategory AS category, {_texts("BenchmarkProfileLevels")} AS complianceLevels,
       CCEReference AS cce, nullIf(ConfigurationRationale, '') AS rationale,
       RemediationOptions AS remediation, {_texts("RecommendedValue")} AS recommendedValue,
       {_texts("Source")} AS source
FROM {newest_facts("DeviceBaselineComplianceAssessmentKB", "ConfigurationId", "ConfigurationBenchmark")}"""
