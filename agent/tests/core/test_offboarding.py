"""What is left of an agent whose device has left the server."""

from pathlib import Path

from shieldwall_agent import agent
from shieldwall_agent.config import State
from shieldwall_agent.enforcement.policy import PolicyStore
from shieldwall_agent.responses.vault import Vault


def filled(folder: Path) -> State:
    state = State(folder)
    state.create()
    for name in (
        "identity.json",
        "device.key",
        "device.crt",
        "server-ca.pem",
        "isolation.json",
        "files.json",
    ):
        (folder / name).write_text("secret")
    (folder / "spool").mkdir()
    (folder / "spool" / "1.seg").write_text("events")
    PolicyStore(folder).close()
    Vault(folder / "vault")
    return state


def test_an_agent_that_died_on_its_way_out_ends_at_its_next_start(tmp_path: Path) -> None:
    state = filled(tmp_path / "state")
    state.offboarded.touch()
    assert agent.run(state, ephemeral=False, log_level="ERROR") == agent.OFFBOARDED
    assert {path.name for path in state.folder.iterdir()} == {"vault"}, "what is quarantined stays"
    assert (state.folder / "vault" / "vault.key").exists()


def test_the_service_is_not_started_again_after_it() -> None:
    unit = Path(agent.__file__).parent / "systemd" / "shieldwall-agent.service"
    assert f"RestartPreventExitStatus={agent.OFFBOARDED}\n" in unit.read_text()
