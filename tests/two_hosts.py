"""Two hosts on one machine: network namespaces joined by a cable, with a name and an address each.

    host-a 10.77.0.1 --veth-- 10.77.0.2 host-b

What runs in one sees the other only through the cable, and `cut` pulls it. Needs Linux, root and
iproute2:

    python tests/two_hosts.py COMMAND ...

runs a command on both hosts at once, with HOST_ADDRESS and HOST_NUMBER in its environment.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

ADDRESSES = ("10.77.0.1", "10.77.0.2")
HOSTS = "127.0.0.1 localhost\n" + "".join(
    f"{address} host-{letter}\n" for letter, address in zip("ab", ADDRESSES, strict=True)
)
OWN_FILES = Path("/etc/netns")  # `ip netns exec` lets a namespace see those of its name in /etc


def reason_against() -> str:
    """Why two hosts cannot be made here; empty if they can."""
    if sys.platform != "linux":
        return "needs Linux: hosts are network namespaces"
    if os.geteuid() != 0:
        return "needs root, to make network namespaces"
    if shutil.which("ip") is None:
        return "needs iproute2: there is no `ip`"
    name = f"dlkit-try-{os.getpid()}"
    tried = _ip("netns", "add", name, check=False)
    if tried.returncode:
        return f"this machine does not let root make network namespaces: {tried.stderr.strip()}"
    _ip("netns", "del", name, check=False)
    return ""


class TwoHosts:
    """Two network namespaces joined by a pair of virtual Ethernet devices.

    Example:
        with TwoHosts() as hosts:
            process = hosts.start(1, ["hostname"], stdout=subprocess.PIPE)
    """

    def __init__(self) -> None:
        self.names = [f"dlkit-{letter}-{os.getpid()}" for letter in "ab"]
        self.cables = [f"dl{letter}{os.getpid() % 100_000}" for letter in "ab"]
        self._running: list[subprocess.Popen[Any]] = []

    def __enter__(self) -> "TwoHosts":
        try:
            for name in self.names:
                _ip("netns", "add", name)
                (OWN_FILES / name).mkdir(parents=True)
                (OWN_FILES / name / "hosts").write_text(HOSTS)
            one, other = self.cables
            _ip("link", "add", one, "type", "veth", "peer", "name", other)
            for name, cable, address in zip(self.names, self.cables, ADDRESSES, strict=True):
                _ip("link", "set", cable, "netns", name)
                _ip("-n", name, "addr", "add", f"{address}/24", "dev", cable)
                _ip("-n", name, "link", "set", cable, "up")
                _ip("-n", name, "link", "set", "lo", "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._running:
            if process.poll() is None:
                os.killpg(process.pid, 9)
            process.wait()
        for name in self.names:
            for pid in _ip("netns", "pids", name, check=False).stdout.split():
                os.kill(int(pid), 9)  # what has left its process group
            _ip("netns", "del", name, check=False)  # its end of the cable goes with it
            shutil.rmtree(OWN_FILES / name, ignore_errors=True)

    def start(
        self,
        host: int,
        command: Sequence[str | Path],
        *,
        environ: dict[str, str] | None = None,
        stdout: int | IO[Any] | None = None,
    ) -> subprocess.Popen[Any]:
        """Start a command on a host, leading a process group; errors go to `stdout` too."""
        name = f"host-{'ab'[host]}"
        script = f'hostname {name} && exec "$@"'
        process = subprocess.Popen(
            ["ip", "netns", "exec", self.names[host], "unshare", "--uts", "sh", "-c", script, "sh",
             *map(str, command)],
            env={
                **os.environ,
                "HOST_ADDRESS": ADDRESSES[host],
                "HOST_NUMBER": str(host),
                "GLOO_SOCKET_IFNAME": self.cables[host],
                **(environ or {}),
            },
            stdout=stdout,
            stderr=subprocess.STDOUT if stdout is not None else None,
            text=True,
            start_new_session=True,
        )  # fmt: skip
        self._running.append(process)
        return process

    def cut(self) -> None:
        """Pull the cable: packets are lost, and nobody is told."""
        _ip("-n", self.names[1], "link", "set", self.cables[1], "down")


def _ip(*arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done


def main() -> int:
    """Run a command on both hosts and return the larger exit status."""
    against = reason_against()
    if against:
        print(f"two_hosts: {against}", file=sys.stderr)
        return 1
    with TwoHosts() as hosts:
        running = [hosts.start(host, sys.argv[1:]) for host in (0, 1)]
        return max(process.wait() for process in running)


if __name__ == "__main__":
    raise SystemExit(main())
