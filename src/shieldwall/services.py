"""The parts of one running server, built once and handed to every route."""

from __future__ import annotations

from dataclasses import dataclass

from shieldwall.alerts.remote_logons import RemoteLogons
from shieldwall.detection.external.intake import ExternalAlerts
from shieldwall.detection.external.late import LateTelemetry
from shieldwall.detection.external.offers import IndicatorOffers
from shieldwall.detection.indicators import IndicatorService
from shieldwall.detection.lookback import Lookback
from shieldwall.detection.matching import IndicatorMatcher
from shieldwall.detection.rules.running import RuleRunner
from shieldwall.detection.rules.service import RuleService
from shieldwall.detection.rules.work import RuleWork
from shieldwall.detection.streaming.continuous import ContinuousDetection
from shieldwall.exposure.links import ExportLinks
from shieldwall.exposure.scans import ScanSecrets
from shieldwall.exposure.summaries import Summaries
from shieldwall.identity.tokens import TokenService
from shieldwall.investigations.rule_responses import RuleResponses
from shieldwall.investigations.service import Investigations
from shieldwall.investigations.triggers import Triggers
from shieldwall.investigations.work import InvestigationWork
from shieldwall.response.actions import ActionService
from shieldwall.response.library import Library
from shieldwall.response.packages import PackageStore
from shieldwall.response.signing import CommandSigner
from shieldwall.settings import Settings
from shieldwall.sources.stage import Sources
from shieldwall.state.engine import Database
from shieldwall.telemetry.hunting import Hunting
from shieldwall.telemetry.ingest import Ingester
from shieldwall.telemetry.quota import HuntingQuota
from shieldwall.telemetry.store import TelemetryStore
from shieldwall.wakeups import Wakeups


@dataclass(frozen=True)
class Services:
    """What routes and background work share. ``close`` when the server stops."""

    settings: Settings
    database: Database
    telemetry: TelemetryStore
    wakeups: Wakeups
    tokens: TokenService
    indicators: IndicatorService
    indicator_offers: IndicatorOffers
    external_alerts: ExternalAlerts
    matcher: IndicatorMatcher
    continuous: ContinuousDetection
    lookback: Lookback
    remote_logons: RemoteLogons
    actions: ActionService
    packages: PackageStore
    export_links: ExportLinks
    scan_secrets: ScanSecrets
    summaries: Summaries
    library: Library
    investigations: Investigations
    investigation_triggers: Triggers
    investigation_work: InvestigationWork
    rules: RuleService
    rule_runner: RuleRunner
    rule_work: RuleWork
    rule_responses: RuleResponses
    signer: CommandSigner
    ingester: Ingester
    hunting: Hunting
    quota: HuntingQuota

    @classmethod
    def build(cls, settings: Settings) -> Services:
        """Open the stores under ``settings.data`` and bring their schemas up to date."""
        settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        settings.secrets.mkdir(mode=0o700, exist_ok=True)
        database = Database(settings.state_url)
        database.migrate()
        telemetry = TelemetryStore.open(settings)
        wakeups = Wakeups()
        matcher = IndicatorMatcher(telemetry, database, settings)
        indicators = IndicatorService(database, wakeups, settings)
        continuous = ContinuousDetection(telemetry, database, settings)
        indicators = IndicatorService(database, wakeups, settings)
        offers = IndicatorOffers(database, indicators)
        actions = ActionService(database, wakeups, settings)
        hunting = Hunting.build(telemetry, settings)
        rule_runner = RuleRunner(database, hunting, settings)
        investigations = Investigations(database, telemetry, actions, settings)
        return cls(
            settings=settings,
            database=database,
            telemetry=telemetry,
            wakeups=wakeups,
            tokens=TokenService(settings, database),
            indicators=indicators,
            indicator_offers=offers,
            external_alerts=ExternalAlerts(database, telemetry, offers, settings),
            matcher=matcher,
            continuous=continuous,
            lookback=Lookback(telemetry, database, settings),
            remote_logons=RemoteLogons(telemetry, database, settings.incident_window),
            actions=actions,
            packages=PackageStore(settings),
            export_links=ExportLinks(settings),
            scan_secrets=ScanSecrets(settings),
            summaries=Summaries(telemetry),
            library=Library(database, settings),
            investigations=investigations,
            investigation_triggers=Triggers(database, settings),
            investigation_work=InvestigationWork(investigations, settings),
            rules=RuleService(database),
            rule_runner=rule_runner,
            rule_work=RuleWork(rule_runner, database, telemetry, hunting),
            rule_responses=RuleResponses(database, actions, investigations, indicators),
            signer=CommandSigner(settings),
            ingester=Ingester(
                telemetry,
                database,
                observers=[continuous, matcher, LateTelemetry(telemetry)],
                sources=Sources(telemetry, database),
            ),
            hunting=hunting,
            quota=HuntingQuota(
                settings.hunting_calls_per_minute,
                settings.hunting_calls_per_hour,
                settings.hunting_seconds_per_hour,
                settings.hunting_seconds_per_day,
            ),
        )

    def close(self) -> None:
        self.telemetry.close()
        self.database.close()
