"""One mechanism in a process of its own, its events as lines: `watch.py KIND`, until standard input ends."""

import json
import sys
from typing import Any

from shieldwall_agent.events import Event
from shieldwall_agent.processes import Process
from shieldwall_agent.sensors.base import Surroundings
from shieldwall_agent.sensors.own import Own
from shieldwall_agent.sensors.packets import DnsPackets


class _Printed:
    def emit(self, event: Event) -> None:
        print(json.dumps(event), flush=True)


class _Nobody(Own):
    def is_own(self, process: Process) -> bool:
        return False


def main(kind: str) -> None:
    kinds: dict[str, Any] = {"packets": lambda around: DnsPackets(around, _Nobody(), {"dns"})}
    mechanism = kinds[kind](Surroundings(_Printed()))
    mechanism.start()
    print("ready", flush=True)
    sys.stdin.read()
    mechanism.stop()
    print(json.dumps({"lost": mechanism.lost(), "alive": mechanism.alive()}), flush=True)


main(*sys.argv[1:])
