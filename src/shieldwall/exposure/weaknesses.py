"""Software and vulnerabilities of a tenant's devices, as SQL over the newest snapshots.

The exposure of a device is the combined effect of its vulnerabilities: each has a chance of being the way in,
which grows with its score and with a known exploit; the device's score is the chance that one of them is, in
percent. The organisation's score is the plain average over its devices. So what a product or a fix would take
off the score is known exactly, and not guessed.
"""

from __future__ import annotations

from shieldwall.exposure.snapshots import newest, newest_facts

_SEVERITY_SCORES = (
    "transform(v.VulnerabilitySeverityLevel, ['Low', 'Medium', 'High', 'Critical'], [2.5, 5.5, 8., 9.5], 0.)"
)

INSTALLED = newest("DeviceTvmSoftwareInventory", "SoftwareName")
"""One row for each device and version."""

VULNERABILITY_FACTS = newest_facts("DeviceTvmSoftwareVulnerabilitiesKB", "CveId")

_AFFECTED = newest("DeviceTvmSoftwareVulnerabilities", "CveId")

AFFECTED = f"""(
SELECT v.*, k.CvssScore AS CvssScore, ifNull(k.IsExploitAvailable, false) AS Exploit,
       ifNull(toFloat64OrNull(k.CvssScore), {_SEVERITY_SCORES}) AS Score,
       pow(Score / 10, 3) * if(Exploit, 0.3, 0.1) AS Risk
FROM {_AFFECTED} AS v LEFT JOIN {VULNERABILITY_FACTS} AS k ON v.CveId = k.CveId)"""
"""One row for each device, version and vulnerability, with its chance of being the way in."""

ASSESSED = f"""(
SELECT DeviceId, SoftwareVendor, SoftwareName, ProductCodeCpe FROM {INSTALLED}
UNION ALL SELECT DeviceId, SoftwareVendor, SoftwareName, '' FROM {_AFFECTED})"""
"""Products of each device, whichever way they are known."""

_PARTS = f"""(
SELECT DeviceId, SoftwareVendor, SoftwareName, sum(part) AS Part,
       sum(Part) OVER (PARTITION BY DeviceId) AS Total
FROM (SELECT DeviceId, SoftwareVendor, SoftwareName, CveId, log(1 - max(Risk)) AS part FROM {AFFECTED}
      GROUP BY DeviceId, SoftwareVendor, SoftwareName, CveId)
GROUP BY DeviceId, SoftwareVendor, SoftwareName)"""

_DEVICES = f"greatest((SELECT uniqExact(DeviceId) FROM {ASSESSED}), 1)"

SOFTWARE = f"""
SELECT concat(p.SoftwareVendor, '-_-', p.SoftwareName) AS id, p.SoftwareName AS name,
       p.SoftwareVendor AS vendor, w.weaknesses AS weaknesses, w.publicExploit AS publicExploit,
       false AS activeAlert, w.exposedMachines AS exposedMachines, p.installedMachines AS installedMachines,
       i.impact / {_DEVICES} AS impactScore, p.isNormalized AS isNormalized
FROM (SELECT SoftwareVendor, SoftwareName, uniqExact(DeviceId) AS installedMachines,
             CAST(max(ProductCodeCpe != '') AS Bool) AS isNormalized
      FROM {ASSESSED} GROUP BY SoftwareVendor, SoftwareName) AS p
LEFT JOIN (SELECT SoftwareVendor, SoftwareName, uniqExact(CveId) AS weaknesses,
                  max(Exploit) AS publicExploit, uniqExact(DeviceId) AS exposedMachines
           FROM {AFFECTED} GROUP BY SoftwareVendor, SoftwareName) AS w
  ON p.SoftwareVendor = w.SoftwareVendor AND p.SoftwareName = w.SoftwareName
LEFT JOIN (SELECT SoftwareVendor, SoftwareName, 100 * sum(exp(Total - Part) - exp(Total)) AS impact
           FROM {_PARTS} GROUP BY SoftwareVendor, SoftwareName) AS i
  ON p.SoftwareVendor = i.SoftwareVendor AND p.SoftwareName = i.SoftwareName"""

DEVICE_SCORES = f"""
SELECT d.DeviceId AS device, 100 * (1 - exp(ifNull(s.total, 0))) AS score
FROM (SELECT DISTINCT DeviceId FROM {ASSESSED}) AS d
LEFT JOIN (SELECT DeviceId, sum(Part) AS total FROM {_PARTS} GROUP BY DeviceId) AS s
  ON d.DeviceId = s.DeviceId"""

VULNERABILITIES = f"""
SELECT id, id AS name, k.VulnerabilityDescription AS description,
       if(k.VulnerabilitySeverityLevel != '', k.VulnerabilitySeverityLevel, a.severity) AS severity,
       ifNull(toFloat64OrNull(k.CvssScore), 0) AS cvssV3, a.exposedMachines AS exposedMachines,
       k.PublishedDate AS publishedOn, ifNull(k.LastModifiedTime, k.PublishedDate) AS updatedOn,
       if(a.exposedMachines > 0, f.time, NULL) AS firstDetected,
       ifNull(k.IsExploitAvailable, false) AS publicExploit, a.tags AS tags
FROM (SELECT CveId AS id FROM {VULNERABILITY_FACTS} UNION DISTINCT SELECT CveId FROM {_AFFECTED}) AS c
LEFT JOIN {VULNERABILITY_FACTS} AS k ON c.id = k.CveId
LEFT JOIN (SELECT CveId, any(VulnerabilitySeverityLevel) AS severity, uniqExact(DeviceId) AS exposedMachines,
                  groupUniqArrayArray(JSONExtract(CveTags, 'Array(String)')) AS tags
           FROM {_AFFECTED} GROUP BY CveId) AS a ON c.id = a.CveId
LEFT JOIN (SELECT CveId, CAST(min(IngestionTime) AS Nullable(DateTime64(3, 'UTC'))) AS time
           FROM DeviceTvmSoftwareVulnerabilities WHERE CveId != '' GROUP BY CveId) AS f ON c.id = f.CveId"""

_KB = "replaceRegexpOne(RecommendedSecurityUpdateId, '^(?i:KB)', '')"
_IS_KB = "match(RecommendedSecurityUpdateId, '^(?i:KB)?[0-9]+$')"

LINKS = f"""
SELECT concat(DeviceId, '-_-', CveId, '-_-', SoftwareVendor, '-_-', SoftwareName, '-_-', SoftwareVersion,
              '-_-', ifNull(fixingKbId, '')) AS id,
       CveId AS cveId, DeviceId AS machineId, if({_IS_KB}, {_KB}, NULL) AS fixingKbId,
       SoftwareName AS productName, SoftwareVendor AS productVendor, SoftwareVersion AS productVersion,
       VulnerabilitySeverityLevel AS severity FROM {_AFFECTED}"""

PRODUCT = "concat(SoftwareVendor, '-_-', SoftwareName) = {product:String}"
"""A condition on rows of software, for the parameter ``product``."""

DEVICE = "DeviceId = {device:String}"
CVE = "CveId = {cve:String}"

DISTRIBUTIONS = f"""
SELECT i.SoftwareVersion AS version, i.installations AS installations, v.vulnerabilities AS vulnerabilities
FROM (SELECT SoftwareVersion, uniqExact(DeviceId) AS installations FROM
      (SELECT DeviceId, SoftwareVersion FROM {INSTALLED} WHERE {PRODUCT}
       UNION ALL SELECT DeviceId, SoftwareVersion FROM {_AFFECTED} WHERE {PRODUCT})
      GROUP BY SoftwareVersion) AS i
LEFT JOIN (SELECT SoftwareVersion, uniqExact(CveId) AS vulnerabilities FROM {_AFFECTED} WHERE {PRODUCT}
           GROUP BY SoftwareVersion) AS v ON i.SoftwareVersion = v.SoftwareVersion"""


def catalogue(update: str) -> str:
    """SQL of the address under which an update can be had; null where its id is not that of an article."""
    number = f"replaceRegexpOne({update}, '^(?i:KB)', '')"
    address = "https://catalog.update.microsoft.com/v7/site/Search.aspx?q=KB"
    return f"if(match({update}, '^(?i:KB)?[0-9]+$'), concat('{address}', {number}), NULL)"


def missing_updates(where: str) -> str:
    """SQL of the updates that devices lack, of the affected rows under ``where``."""
    return f"""
SELECT {_KB} AS id,
       any(RecommendedSecurityUpdate) AS name, arraySort(groupUniqArray(SoftwareName)) AS productsNames,
       uniqExact(DeviceId) AS machineMissedOn, uniqExact(CveId) AS cveAddressed
FROM {_AFFECTED} WHERE {_IS_KB} AND {where} GROUP BY id"""


def vulnerabilities_of(where: str) -> str:
    """SQL of the vulnerabilities, as the tenant has them, of the affected rows under ``where``."""
    return f"SELECT * FROM ({VULNERABILITIES}) WHERE id IN (SELECT CveId FROM {_AFFECTED} WHERE {where})"


def software_of_device() -> str:
    """SQL of the software, as the tenant has it, of the device in the parameter ``device``."""
    named = f"SELECT concat(SoftwareVendor, '-_-', SoftwareName) FROM {ASSESSED}"
    return f"SELECT * FROM ({SOFTWARE}) WHERE id IN ({named} WHERE {DEVICE})"


def devices_with_product() -> str:
    return f"SELECT DISTINCT DeviceId AS id FROM {ASSESSED} WHERE {PRODUCT}"


def devices_affected(where: str) -> str:
    return f"SELECT DISTINCT DeviceId AS id FROM {_AFFECTED} WHERE {where}"
