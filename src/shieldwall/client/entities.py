"""The main entities as they come, for type checkers; what the server adds later stays reachable by name."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict


class Comment(TypedDict):
    comment: str
    createdBy: str
    createdTime: str


class Alert(TypedDict):
    id: str
    incidentId: int | None
    severity: str
    status: str
    classification: str | None
    determination: str | None
    assignedTo: str | None
    detectionSource: str
    category: str | None
    title: str
    description: str
    alertCreationTime: str
    firstEventTime: str | None
    lastEventTime: str | None
    lastUpdateTime: str
    resolvedTime: str | None
    machineId: str | None
    computerDnsName: str | None
    mitreTechniques: list[str]
    comments: list[Comment]
    evidence: list[dict[str, Any]]


class Machine(TypedDict):
    id: str
    computerDnsName: str | None
    firstSeen: str
    lastSeen: str
    osPlatform: str
    lastIpAddress: str | None
    lastExternalIpAddress: str | None
    agentVersion: str | None
    healthStatus: str
    onboardingStatus: str
    riskScore: str | None
    exposureLevel: str
    deviceValue: str
    rbacGroupId: int
    rbacGroupName: str | None
    machineTags: list[str]
    aadDeviceId: str | None


class MachineAction(TypedDict):
    id: str
    type: str
    status: str
    machineId: str
    computerDnsName: str | None
    requestor: str
    requestorComment: str | None
    creationDateTimeUtc: str
    lastUpdateDateTimeUtc: str
    commands: list[dict[str, Any]] | None


class Indicator(TypedDict):
    id: str
    indicatorValue: str
    indicatorType: str
    action: str
    title: str
    description: str
    severity: str | None
    expirationTime: str | None
    generateAlert: bool
    rbacGroupNames: list[str]


class ImportResult(TypedDict):
    id: str | None
    indicator: str
    isFailed: bool
    failureReason: str | None


class Incident(TypedDict):
    incidentId: int
    redirectIncidentId: int | None
    incidentName: str
    createdTime: str
    lastUpdateTime: str
    severity: str
    status: str
    assignedTo: str | None
    classification: str
    determination: str
    tags: list[str]
    comments: list[Comment]
    alerts: list[dict[str, Any]]


class Column(TypedDict):
    Name: str
    Type: str


class HuntingResult(TypedDict):
    Schema: list[Column]
    Results: list[dict[str, Any]]
    Stats: NotRequired[dict[str, Any]]


class Link(TypedDict):
    value: str


class ExternalAlertResult(TypedDict):
    item: str
    result: str
    format: str
    alertId: str | None
    incidentId: int | None
    machineId: str | None
    externalId: str | None
    confidence: int
    error: dict[str, str] | None


class IndicatorOffer(TypedDict):
    id: int
    alertId: str
    indicatorType: str
    indicatorValue: str
    action: str
    severity: str
    title: str
    source: str
    days: int
    state: str
    createdTime: str
    decidedBy: str | None
    decidedTime: str | None
    reason: str | None
    indicatorId: str | None
