"""Five published hosts call a tool of a real server through `mcpool connect`, with a config that names a variable which the
host does not pass on. Each runs against a stand-in for the model on loopback, in a home of its own, one at a time.

    hosts.py --mcpool PATH --hosts FOLDER [--only NAME]     (FOLDER: what scripts/hosts installed)

Prints a line for each host, and `N passed, N failed`; exits with 1 on any failure.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from model import SAID, Model

ROOT = Path(__file__).resolve().parents[2]
PEERS = Path(os.environ.get("MCPOOL_PEERS") or ROOT / "target" / "peers")
SECRET = "a value that no host passes on"
PROMPT = "Call the echo tool."
SECONDS = 150


class Home:
    """A home of its own with mcpool's config in it, and the daemon that was started from the user's shell."""

    def __init__(self, place: Path, mcpool: str) -> None:
        self.place, self.mcpool = place, mcpool
        (place / "project").mkdir()
        config = place / ".config" / "mcpool"
        config.mkdir(parents=True, mode=0o700)
        everything = PEERS / "node_modules" / "@modelcontextprotocol" / "server-everything" / "dist" / "index.js"
        # The server is a shell that answers for its key first: without it there is no server.
        command = f'test "$KEY" = {json.dumps(SECRET)} && exec node {everything} stdio'
        (config / "mcpool.yaml").write_text(
            f"sockets: {{ dir: {place / 'run'} }}\ncatalogue: {{ dir: {place / 'catalogue'} }}\n"
            "servers:\n  everything:\n    command: sh\n"
            f"    args: [-c, {json.dumps(command)}]\n    env: {{ KEY: '${{env:HOST_TEST_KEY}}' }}\n"
        )
        self.daemon = subprocess.Popen(
            [mcpool, "serve"], env=self.env() | {"HOST_TEST_KEY": SECRET}, stdout=subprocess.PIPE,
            stderr=(place / "serve.log").open("w"), cwd=place,
        )
        assert self.daemon.stdout and self.daemon.stdout.readline() == b"ready\n", (place / "serve.log").read_text()

    def env(self) -> dict[str, str]:
        keep = {key: os.environ[key] for key in ("PATH", "LANG", "TERM", "SHELL", "USER") if key in os.environ}
        return keep | {"HOME": str(self.place), "CI": "1", "NO_COLOR": "1"}

    def instances(self) -> list[dict[str, object]]:
        command = [self.mcpool, "status", "--json"]
        told = json.loads(subprocess.run(command, env=self.env(), check=True, capture_output=True, timeout=20).stdout)
        return [instance for server in told["servers"] for instance in server["instances"]]

    def opened(self) -> None:
        """Returns once an instance is ready and has been asked everything that it was to be asked."""
        end = time.monotonic() + 30
        while time.monotonic() < end:
            if any(one["state"] == "ready" and one["in_flight"] == 0 for one in self.instances()):
                return
            time.sleep(0.05)

    def close(self) -> None:
        self.daemon.send_signal(signal.SIGTERM)
        self.daemon.wait(timeout=30)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def entry(home: Home) -> dict[str, object]:
    return {"command": home.mcpool, "args": ["connect", "everything"]}


def claude(home: Home, model: Model, bin: Path) -> tuple[list[str], dict[str, str]]:
    servers = json.dumps({"mcpServers": {"everything": entry(home)}})
    command = [str(bin / "claude"), "-p", PROMPT, "--strict-mcp-config", "--mcp-config", servers,
               "--allowedTools", "mcp__everything__echo"]
    return command, {"ANTHROPIC_BASE_URL": model.url, "ANTHROPIC_API_KEY": "x", "DISABLE_AUTOUPDATER": "1",
                     "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"}


def codex(home: Home, model: Model, bin: Path) -> tuple[list[str], dict[str, str]]:
    write(home.place / ".codex" / "config.toml", f"""
model = "fake"
model_provider = "fake"
[model_providers.fake]
name = "fake"
base_url = "{model.url}/v1"
wire_api = "responses"
[mcp_servers.everything]
command = {json.dumps(home.mcpool)}
args = ["connect", "everything"]
default_tools_approval_mode = "approve"
""")
    return [str(bin / "codex"), "exec", "--skip-git-repo-check", "--json", PROMPT], {"OPENAI_API_KEY": "x"}


def qwen(home: Home, model: Model, bin: Path) -> tuple[list[str], dict[str, str]]:
    write(home.place / ".qwen" / "settings.json", json.dumps({"mcpServers": {"everything": entry(home)}}))
    return [str(bin / "qwen"), "-p", PROMPT, "--auth-type", "openai", "--yolo"], {
        "OPENAI_BASE_URL": f"{model.url}/v1", "OPENAI_MODEL": "fake", "OPENAI_API_KEY": "x"}


def copilot(home: Home, model: Model, bin: Path) -> tuple[list[str], dict[str, str]]:
    servers = {"mcpServers": {"everything": entry(home) | {"type": "local", "tools": ["*"]}}}
    write(home.place / ".copilot" / "mcp-config.json", json.dumps(servers))
    return [str(bin / "copilot"), "-p", PROMPT, "--allow-all-tools"], {
        "COPILOT_OFFLINE": "true", "COPILOT_PROVIDER_BASE_URL": f"{model.url}/v1", "COPILOT_MODEL": "fake"}


def continued(home: Home, model: Model, bin: Path) -> tuple[list[str], dict[str, str]]:
    config = home.place / "config.yaml"
    write(config, f"""name: test
version: 1.0.0
schema: v1
models:
  - {{ name: fake, provider: openai, model: fake, apiBase: "{model.url}/v1", apiKey: x, roles: [chat], capabilities: [tool_use] }}
mcpServers:
  - {{ name: everything, command: {json.dumps(home.mcpool)}, args: [connect, everything] }}
""")
    return [str(bin / "cn"), "-p", PROMPT, "--auto", "--config", str(config)], {}


HOSTS: dict[str, Callable[[Home, Model, Path], tuple[list[str], dict[str, str]]]] = {
    "claude": claude, "codex": codex, "qwen": qwen, "copilot": copilot, "continue": continued,
}


def run(name: str, mcpool: str, hosts: Path) -> str | None:
    """What went wrong, if anything did."""
    place = Path(tempfile.mkdtemp(prefix=f"mcpool-host-{name}-"))
    home = Home(place, mcpool)
    model = Model(home.opened)
    try:
        command, env = HOSTS[name](home, model, hosts / "node_modules" / ".bin")
        started = time.monotonic()
        # In a group of its own, which is ended with it: some leave helpers behind.
        host = subprocess.Popen(
            command, env=home.env() | env, cwd=place / "project", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True,
        )
        try:
            said = host.communicate(timeout=SECONDS)[0].decode(errors="replace")
        except subprocess.TimeoutExpired:
            said = f"it did not end within {SECONDS} s"
        finally:
            try:
                os.killpg(host.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if not any(f"Echo: {SAID}" in result for result in model.results):
            return f"the model got no result of the tool; it was asked {model.seen}, got {model.results}; the host said: {said[-1500:]}"
        if not any(instance["calls"] for instance in home.instances()):
            return "the daemon served no call"
        print(f"{name}: called the tool, {time.monotonic() - started:.1f} s")
        return None
    finally:
        home.close()
        model.close()
        shutil.rmtree(place, ignore_errors=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mcpool", required=True, type=os.path.abspath)
    parser.add_argument("--hosts", required=True, type=Path)
    parser.add_argument("--only", choices=HOSTS)
    args = parser.parse_args()
    passed = failed = 0
    for name in [args.only] if args.only else HOSTS:
        fault = run(name, args.mcpool, args.hosts.resolve())
        passed, failed = passed + (fault is None), failed + (fault is not None)
        if fault:
            print(f"{name}: {fault}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
