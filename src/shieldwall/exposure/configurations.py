"""Secure configurations: which device keeps to which, what that scores, and what to change."""

from __future__ import annotations

from shieldwall.exposure.snapshots import newest, newest_facts
from shieldwall.exposure.weaknesses import AFFECTED, SOFTWARE

_CHECKED = newest("DeviceTvmSecureConfigurationAssessment", "ConfigurationId")

CONFIGURATION_FACTS = newest_facts("DeviceTvmSecureConfigurationAssessmentKB", "ConfigurationId")

CHECKED = f"""(
SELECT c.*, k.ConfigurationName AS ConfigurationName,
       ifNull(c.ConfigurationImpact, ifNull(k.ConfigurationImpact, 0)) AS Impact
FROM {_CHECKED} AS c LEFT JOIN {CONFIGURATION_FACTS} AS k ON c.ConfigurationId = k.ConfigurationId)"""
"""One row for each device and configuration."""

FAILED = "ifNull(IsApplicable, false) AND NOT ifNull(IsCompliant, false)"

_KEPT = "uniqExactIf(DeviceId, IsApplicable AND IsCompliant) / uniqExactIf(DeviceId, IsApplicable)"

POINTS = f"""
SELECT sum(points) AS score FROM
(SELECT max(Impact) * {_KEPT} AS points FROM {CHECKED} WHERE ifNull(IsApplicable, false)
 GROUP BY ConfigurationId)"""
"""Each configuration gives its impact as points, by the part of the devices that keep to it."""

_TITLE = "initcap(replaceAll(s.name, '_', ' '))"

RECOMMENDATIONS = f"""
SELECT concat('va-_-', s.id) AS id, s.name AS productName, concat('Update ', {_TITLE}) AS recommendationName,
       s.weaknesses AS weaknesses, s.vendor AS vendor, '' AS recommendedVersion, '' AS recommendedVendor,
       '' AS recommendedProgram, 'Application' AS recommendationCategory, '' AS subCategory,
       toFloat64(0) AS severityScore, s.publicExploit AS publicExploit, s.activeAlert AS activeAlert,
       'Update' AS remediationType, 'Active' AS status, toFloat64(0) AS configScoreImpact,
       s.impactScore AS exposureImpact, s.installedMachines AS totalMachineCount,
       s.exposedMachines AS exposedMachinesCount, toUInt64(0) AS nonProductivityImpactedAssets,
       {_TITLE} AS relatedComponent, CAST(u.unpatchable > 0 AS Bool) AS hasUnpatchableCve
FROM ({SOFTWARE}) AS s INNER JOIN
(SELECT concat(SoftwareVendor, '-_-', SoftwareName) AS id,
        countIf(RecommendedSecurityUpdate = '' AND RecommendedSecurityUpdateId = '') AS unpatchable
 FROM {AFFECTED} GROUP BY id HAVING count() > unpatchable) AS u ON s.id = u.id
UNION ALL
SELECT concat('sca-_-', ConfigurationId), '', any(ConfigurationName), toUInt64(0), '', '', '', '',
       replaceAll(any(ConfigurationCategory), 'Security controls', 'SecurityControls'),
       any(ConfigurationSubcategory), max(Impact), false, false, 'ConfigurationChange', 'Active',
       max(Impact) * uniqExactIf(DeviceId, {FAILED}) / uniqExactIf(DeviceId, IsApplicable), toFloat64(0),
       uniqExactIf(DeviceId, IsApplicable), uniqExactIf(DeviceId, {FAILED}),
       uniqExactIf(DeviceId, {FAILED} AND ifNull(IsExpectedUserImpact, true) = false),
       any(ConfigurationSubcategory), false
FROM {CHECKED} GROUP BY ConfigurationId HAVING countIf({FAILED}) > 0"""
"""What to update and what to configure otherwise; only software with an available update is named."""


def recommendations_of_device() -> str:
    """SQL of the recommendations, as the tenant has them, that are for the device ``device``."""
    products = f"SELECT concat('va-_-', SoftwareVendor, '-_-', SoftwareName) FROM {AFFECTED}"
    failed = f"SELECT concat('sca-_-', ConfigurationId) FROM {CHECKED}"
    return (
        f"SELECT * FROM ({RECOMMENDATIONS}) WHERE id IN ({products} WHERE DeviceId = {{device:String}} "
        f"UNION ALL {failed} WHERE DeviceId = {{device:String}} AND {FAILED})"
    )


def devices_failing() -> str:
    """SQL of the devices that do not keep to the configuration ``configuration``."""
    return (
        f"SELECT DISTINCT DeviceId AS id FROM {_CHECKED} "
        f"WHERE ConfigurationId = {{configuration:String}} AND {FAILED}"
    )
