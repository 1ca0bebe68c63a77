"""eBPF against real processes, connections and queries."""

import hashlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dns_peers
import pytest

from shieldwall_agent.sensors import ebpf
from shieldwall_agent.sensors.base import Surroundings, Unavailable
from shieldwall_agent.sensors.ebpf import Ebpf

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

STORM = 150


@pytest.fixture
def seen(kept: Any, nobody: Any) -> Iterator[Any]:
    mechanism = Ebpf(Surroundings(kept), nobody, {"processes", "network", "dns"})
    try:
        mechanism.start()
    except Unavailable as error:
        pytest.skip(str(error))
    yield kept
    mechanism.stop()
    assert mechanism.lost() == 0


def _one(seen: Any, marker: str) -> Any:
    found = seen.wait(lambda event: marker in event.get("ProcessCommandLine", ""))
    assert found, marker
    return found[0]


def test_tells_line_hashes_and_parent_of_an_execution(seen: Any) -> None:
    done = subprocess.Popen(["/bin/echo", "sw-known", "two words"], stdout=subprocess.DEVNULL)
    done.wait()
    event = _one(seen, "sw-known")
    assert event["ProcessCommandLine"] == "/bin/echo sw-known two words"
    assert event["SHA256"] == hashlib.sha256(Path("/bin/echo").read_bytes()).hexdigest()
    assert event["SHA1"] == hashlib.sha1(Path("/bin/echo").read_bytes()).hexdigest()
    assert event["FileName"] == "echo"
    assert (event["ProcessId"], event["InitiatingProcessId"]) == (done.pid, os.getpid())


def test_makes_a_relative_path_absolute(seen: Any, tmp_path: Path) -> None:
    shutil.copy("/bin/sleep", tmp_path / "mine")
    with subprocess.Popen(["./mine", "1.03125"], cwd=tmp_path) as child:
        event = _one(seen, "./mine 1.03125")
        child.kill()
    assert event["FolderPath"] == str(tmp_path / "mine")


def test_makes_up_no_folder_of_a_process_that_is_gone(seen: Any, tmp_path: Path) -> None:
    shutil.copy("/bin/echo", tmp_path / "mine")
    subprocess.run(["./mine", "sw-relative"], cwd=tmp_path, stdout=subprocess.DEVNULL, check=True)
    assert _one(seen, "sw-relative")["FolderPath"] in {str(tmp_path / "mine"), "./mine"}


def test_names_the_interpreter_of_a_script(seen: Any, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n:\n")
    script.chmod(0o755)
    subprocess.run([script, "sw-script"], check=True)
    event = _one(seen, "sw-script")
    assert event["FileName"] == os.path.basename(os.path.realpath("/bin/sh"))
    assert str(script) in event["ProcessCommandLine"]


def test_keeps_arguments_that_are_no_text(seen: Any) -> None:
    subprocess.run([b"/bin/true", b"sw-bytes", b"\xff\xfe"], check=True)
    assert os.fsencode(_one(seen, "sw-bytes")["ProcessCommandLine"]).endswith(b"sw-bytes \xff\xfe")


def test_misses_no_short_dynamic_process(seen: Any) -> None:
    _storm(seen, "/bin/true")


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_misses_no_short_static_process(seen: Any, tmp_path: Path) -> None:
    source = tmp_path / "tiny.c"
    source.write_text(
        'void _start(void) { __asm__ volatile("syscall" :: "a"(60), "D"(0)); __builtin_unreachable(); }\n'
    )
    tiny = tmp_path / "tiny"
    built = subprocess.run(["gcc", "-O1", "-static", "-nostdlib", "-o", tiny, source], check=False)
    if built.returncode:
        pytest.skip("gcc cannot build a static program for this machine")
    _storm(seen, str(tiny))


def _storm(seen: Any, program: str) -> None:
    children = [os.posix_spawn(program, [program, f"sw-storm-{n}"], {}) for n in range(STORM)]
    for child in children:
        os.waitpid(child, 0)
    found = seen.wait(lambda event: "sw-storm-" in event.get("ProcessCommandLine", ""), STORM)
    assert {event["ProcessId"] for event in found} == set(children)
    assert all(event["SHA256"] for event in found)


def test_tells_both_ends_of_a_connection(seen: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            server.accept()[0].close()
    found = {
        event["ActionType"]: event
        for event in seen.wait(
            lambda event: (
                event["Table"] == "DeviceNetworkEvents"
                and port in (event["LocalPort"], event.get("RemotePort"))
            ),
            3,
        )
    }
    assert set(found) == {"ListeningConnectionCreated", "ConnectionSuccess", "InboundConnectionAccepted"}
    assert found["ConnectionSuccess"]["RemotePort"] == port
    assert found["ConnectionSuccess"]["InitiatingProcessId"] == os.getpid()
    assert found["ListeningConnectionCreated"]["InitiatingProcessId"] == os.getpid()


def test_tells_a_failed_connection(seen: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with socket.socket() as client:
            assert client.connect_ex(("127.0.0.1", port))
    (event,) = seen.wait(lambda event: event.get("RemotePort") == port)
    assert (event["ActionType"], event["InitiatingProcessId"]) == ("ConnectionFailed", os.getpid())


def test_tells_a_query_that_nobody_answers(seen: Any) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(dns_peers.query("sw.example"), ("127.0.0.1", 53))
    (event,) = seen.wait(lambda event: event.get("RemoteUrl") == "sw.example")
    assert event["ActionType"] == "DnsQueryRequest"
    assert (event["RemoteIP"], event["InitiatingProcessId"]) == ("127.0.0.1", os.getpid())
    assert event["AdditionalFields"] == {
        "DnsQueryString": "sw.example",
        "DnsQueryType": "A",
        "Protocol": "Udp",
    }


@pytest.mark.parametrize(
    ("how", "server"),
    [
        ("udp", "127.0.0.1"),
        ("udp", "2001:db8::53"),
        ("tcp", "127.0.0.1"),
        ("tcp", "2001:db8::53"),
        ("split", "127.0.0.1"),
        ("bytes", "127.0.0.1"),
        ("pipelined", "127.0.0.1"),
    ],
)
def test_tells_each_lookup_once_with_its_process_and_answer(
    seen: Any, netns: Any, how: str, server: str
) -> None:
    netns.serve()
    names = [f"sw-{how}-{number}.example" for number in range(3)]
    pid = netns.ask(how, server, *names)
    seen.wait(lambda event: event.get("RemoteUrl") in names, 3)
    found = [event for event in seen.events if event.get("RemoteUrl") in names]
    assert sorted(event["RemoteUrl"] for event in found) == names
    for event in found:
        assert (event["ActionType"], event["RemoteIP"]) == ("DnsQueryResponse", server)
        assert event["InitiatingProcessId"] == pid
        assert "dns_peers.py ask" in event["InitiatingProcessCommandLine"]
        fields = event["AdditionalFields"]
        assert fields["DnsQueryResult"] == [f"alias.{event['RemoteUrl']}", dns_peers.ANSWER]
        assert fields["DnsResponseCode"] == "NOERROR"
        assert fields["Protocol"] == ("Udp" if how == "udp" else "Tcp")


def test_sees_the_rest_where_a_part_is_refused(kept: Any, nobody: Any, monkeypatch: Any) -> None:
    def nowhere() -> Path:
        raise FileNotFoundError("cgroup v2 is not mounted")

    monkeypatch.setattr(ebpf, "unified_hierarchy", nowhere)
    mechanism = Ebpf(Surroundings(kept), nobody, {"processes", "network", "dns"})
    try:
        mechanism.start()
    except Unavailable as error:
        pytest.skip(str(error))
    try:
        assert mechanism.refused["dns"] == "cgroup v2 is not mounted"
        subprocess.run(["/bin/echo", "sw-part"], stdout=subprocess.DEVNULL, check=True)
        _one(kept, "sw-part")
    finally:
        mechanism.stop()
