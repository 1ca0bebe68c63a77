"""The committed BPF objects are what their sources build."""

import shutil
import subprocess
from pathlib import Path

import pytest

from shieldwall_agent.bpf.loader import FOLDER

SCRIPT = Path(__file__).parents[3] / "scripts/build_bpf.sh"
TOOLS = ("clang", "llvm-strip", "llvm-objdump")


def _instructions(path: Path) -> list[str]:
    listing = subprocess.run(
        ["llvm-objdump", "-d", "--no-show-raw-insn", path], capture_output=True, text=True, check=True
    ).stdout
    return [line for line in listing.splitlines() if "file format" not in line]


def test_objects_are_built_from_their_sources(tmp_path: Path) -> None:
    if missing := [tool for tool in TOOLS if not shutil.which(tool)]:
        pytest.skip(f"not installed: {missing}")
    built = subprocess.run([SCRIPT, tmp_path], capture_output=True, text=True, check=False)
    if built.returncode and not Path("/sys/kernel/btf/vmlinux").exists():
        pytest.skip("the kernel has no BTF")
    assert built.returncode == 0, built.stderr
    objects = sorted(tmp_path.glob("*.bpf.o"))
    assert len(objects) == len(list(FOLDER.glob("*.bpf.c")))
    differ = [path for path in objects if path.read_bytes() != (FOLDER / path.name).read_bytes()]
    version = subprocess.run(["clang", "--version"], capture_output=True, text=True, check=True).stdout
    if differ and "clang version 14." not in version:
        pytest.skip("another clang than the one that built the objects writes other instructions")
    # Another kernel's BTF alters type records but, by the same compiler, no instruction.
    for path in differ:
        assert _instructions(path) == _instructions(FOLDER / path.name), f"{path.name}: run {SCRIPT.name}"
