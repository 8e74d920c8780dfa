"""The Dockerfile: what it names exists, what it starts and asks is what the studio understands."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from camlens.studio.app import PAGE
from camlens.studio.settings import StudioSettings
from tests.studio.conftest import listening

ROOT = Path(__file__).parents[1]
FILE = ROOT / "Dockerfile"
pytestmark = pytest.mark.skipif(not FILE.is_file(), reason="an sdist has no Dockerfile")
KNOWN = {"FROM", "WORKDIR", "COPY", "RUN", "ARG", "ENV", "USER", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD"}


def instructions() -> list[tuple[str, str]]:
    """Each instruction with its arguments, continued lines joined, comments left out."""
    lines = [line for line in FILE.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    pairs = [line.partition(" ")[::2] for line in joined.splitlines() if line.strip()]
    return [(name, words.strip()) for name, words in pairs]


def of(name: str) -> list[str]:
    return [words for found, words in instructions() if found == name]


def test_it_holds_instructions_that_exist_and_begins_with_a_base() -> None:
    names = [name for name, _ in instructions()]
    assert set(names) <= KNOWN
    assert names[0] == "FROM"
    stages = [match[1] for words in of("FROM") if (match := re.search(r" AS (\w+)$", words))]
    copied = [match[1] for words in of("COPY") if (match := re.match(r"--from=(\w+)", words))]
    assert set(copied) == set(stages) == {"page"}


def test_every_file_it_copies_or_reads_exists() -> None:
    for words in of("COPY"):
        if words.startswith("--from="):
            _, source, target = words.split()
            assert source == f"/src/{target}"
            assert (ROOT / target).parent.is_dir()
        else:
            assert (ROOT / words.split()[0]).exists()
    build, install = of("RUN")
    assert (ROOT / re.findall(r"cd (\S+)", build)[0] / "package-lock.json").is_file()
    assert "build" in json.loads((ROOT / "studio-ui" / "package.json").read_text())["scripts"]
    assert (ROOT / re.findall(r"--constraint (\S+)", install)[0]).is_file()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert re.findall(r"'\.\[(\w+)\]'", install)[0] in project["optional-dependencies"]


def test_where_the_page_is_built_to_is_where_it_is_copied_from() -> None:
    written = [
        re.findall(r'outDir: "\.\./([^"]+)"', (ROOT / "studio-ui" / name).read_text())[0]
        for name in ("vite.config.ts", "vite.overlay.config.ts")
    ]
    assert written == [words.split()[-1] for words in of("COPY") if words.startswith("--from=")]


def test_it_runs_as_a_user_that_was_made_and_is_not_root() -> None:
    (user,) = of("USER")
    assert user != "root"
    assert re.search(rf"useradd .*\b{user}\b", of("RUN")[-1])
    names = [name for name, _ in instructions()]
    assert names.index("USER") < names.index("ENTRYPOINT")


def test_what_it_starts_is_a_command_of_ours_with_options_that_exist() -> None:
    (words,) = of("ENTRYPOINT")
    command, *arguments = json.loads(words)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert command in project["scripts"]
    code = "import sys; sys.argv[0] = 'camlens'; from camlens.cli.main import run; run()"
    answer = subprocess.run([sys.executable, "-c", code, *arguments, "--help"], capture_output=True, text=True)
    assert answer.returncode == 0
    assert f"camlens {arguments[0]}" in answer.stdout
    (port,) = of("EXPOSE")
    assert StudioSettings().port == int(port)


@pytest.mark.skipif(not PAGE.is_dir(), reason="the page is not built: make studio-ui")
def test_the_health_check_is_well_with_a_studio_and_not_without() -> None:
    (words,) = of("HEALTHCHECK")
    check = json.loads(words[words.index("CMD") + 4 :])
    assert check[0] == "python"
    with listening(StudioSettings(token="a secret")) as address:
        here = [sys.executable, "-c", check[2].replace("http://127.0.0.1:8765", address)]
        assert subprocess.run(here, capture_output=True).returncode == 0
        wrong = [sys.executable, "-c", check[2].replace("http://127.0.0.1:8765/api/health", f"{address}/api/status")]
        assert subprocess.run(wrong, capture_output=True).returncode != 0


def test_what_is_large_or_private_stays_out_of_the_image() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert {".git", ".venv", "**/node_modules", "dist", "site"} <= set(ignored)
    assert not {"studio-ui", "src", "constraints.txt", "README.md"} & set(ignored)
