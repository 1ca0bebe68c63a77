"""Sensors on the network: Zeek and Suricata. Their records are of the machine with the local address."""

from __future__ import annotations

from shieldwall.sources.forms.form import Form, first, seconds, texts, time_of

_PRIVATE = ("10.%", "192.168.%", "172.1_.%", "172.2_.%", "172.3_.%", "fe80:%", "fd%:%", "169.254.%")


def _is_private(address: str) -> str:
    return "(" + " OR ".join(f"{address} LIKE '{pattern}'" for pattern in _PRIVATE) + ")"


def _inbound(caller: str, called: str, told: str = "''") -> str:
    """Whether the machine that was called is the one of ours: as the sensor says, or by the addresses."""
    return (
        f"multiIf({told} IN ('true', 'T'), false, {told} IN ('false', 'F'), true, "
        f"NOT {_is_private(caller)} AND {_is_private(called)})"
    )


_ZEEK_CALLER, _ZEEK_CALLED = first("h.`id.orig_h`", "h.tx_hosts"), first("h.`id.resp_h`", "h.rx_hosts")

ZEEK = Form(
    head=texts("ts", "_path", "id.orig_h", "id.resp_h", "local_orig", "tx_hosts", "rx_hosts"),
    time=f"coalesce({seconds('h.ts')}, {time_of('h.ts')})",
    host="''",
    channel="h._path",
    data="line",
    address=f"if(inbound, {_ZEEK_CALLED}, {_ZEEK_CALLER})",
    inbound=_inbound(_ZEEK_CALLER, _ZEEK_CALLED, "h.local_orig"),
    envelope=("ts", "_path", "_system_name", "_write_ts"),
)
SURICATA = Form(
    head=texts("timestamp", "event_type", "src_ip", "dest_ip", "host"),
    time=time_of("h.timestamp"),
    # What the sensor calls itself, not the machine that the traffic is of.
    host="''",
    channel="h.event_type",
    data="line",
    address="if(inbound, h.dest_ip, h.src_ip)",
    inbound=_inbound("h.src_ip", "h.dest_ip"),
    envelope=("timestamp", "event_type"),
)
