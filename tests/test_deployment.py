"""The files that put the gateway into service say what they are meant to, and fit each other."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import yaml
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from lmgateway.commands.cli import main
from lmgateway.config.listen import socket_name
from lmgateway.config.load import load
from lmgateway.config.schema import Config
from tests.harness import GatewayCase
from tests.processes import Telling, ended, listening, spawn

ETC = Path(__file__).parent.parent / "etc"
KEYS = {"OPENAI_API_KEY": "a-provider-key-of-some-length", "LMG_CLIENT_KEY": "a-key-of-our-own"}
LEEWAY = 5
"""Seconds that whoever ends the process has to allow beyond what the config says."""


def seconds_to_end(config: Config) -> float:
    """Give the time that the process may take to end."""
    return (config.gateway.drain_delay_ms + config.gateway.drain_timeout_ms) / 1000 + LEEWAY


def unit(name: str) -> dict[str, list[str]]:
    """Read a unit: every value of every key, in order."""
    found: dict[str, list[str]] = defaultdict(list)
    for line in (ETC / "systemd" / name).read_text().splitlines():
        if re.match(r"\w+=", line):
            key, _, value = line.partition("=")
            found[key].append(value)
    return found


def understood(command: list[str]) -> bool:
    """Tell whether our command line takes what follows ``-m lmgateway`` in *command*."""
    name, *arguments = command[command.index("lmgateway") + 1 :]
    try:
        main.commands[name].make_context(name, arguments)
    except click.UsageError:
        return False
    return True


class SystemdTests(SynchronousTestCase):
    """``etc/systemd``."""

    def setUp(self) -> None:
        """Read the units and their example."""
        self.service = unit("lmgateway.service")
        self.config = load(ETC / "examples" / "systemd.toml", KEYS)

    def test_G11_exposure(self) -> None:
        """``systemd-analyze security`` finds little that could be closed yet: 1.5 at most."""
        if shutil.which("systemd-analyze") is None:
            raise SkipTest("systemd-analyze is not installed (Debian: systemd)")
        options = ["--offline=true", "--no-pager", "--threshold=15"]
        done = subprocess.run(
            ["systemd-analyze", "security", *options, ETC / "systemd" / "lmgateway.service"],
            capture_output=True,
            text=True,
            env={**os.environ, "SYSTEMD_COLORS": "0"},
        )
        if "unrecognized option" in done.stderr:
            raise SkipTest("systemd-analyze is older than 250")
        self.assertEqual(done.returncode, 0, done.stdout[-200:] + done.stderr)
        self.assertRegex(done.stdout, r"Overall exposure level for lmgateway\.service: [01]\.\d")

    def test_TLS_can_make_its_callbacks(self) -> None:
        """``MemoryDenyWriteExecute`` would fail every handshake while the port listens."""
        self.assertNotIn("MemoryDenyWriteExecute", self.service)

    def test_the_service_is_told_of_and_started_again(self) -> None:
        """It notifies, is watched, is always started again, and has the time to drain."""
        self.assertEqual(self.service["Type"], ["notify"])
        self.assertEqual(self.service["Restart"], ["always"])
        self.assertGreaterEqual(int(self.service["WatchdogSec"][0]), 10)
        self.assertGreaterEqual(int(self.service["TimeoutStopSec"][0]), seconds_to_end(self.config))

    def test_its_command_is_one_of_ours(self) -> None:
        """Isolated from the environment, and writing nothing."""
        command = self.service["ExecStart"][0].split()
        self.assertEqual(command[1:4], ["-I", "-B", "-m"])
        self.assertTrue(understood(command))

    def test_the_sockets_are_those_of_the_example(self) -> None:
        """Each port has a unit that gives the name which the example config asks for."""
        units = {"lmgateway.socket": "client", "lmgateway-admin.socket": "admin"}
        self.assertEqual({*self.service["Requires"][0].split()}, {*units})
        gateway = self.config.gateway
        for file, port in units.items():
            socket = unit(file)
            self.assertEqual(socket["Service"], ["lmgateway.service"])
            named = socket_name(getattr(gateway, f"{port}_listen") or "")
            self.assertEqual(socket["FileDescriptorName"], [named.name])
            number = getattr(gateway, f"{port}_port")
            self.assertEqual(socket["ListenStream"], [f"127.0.0.1:{number}"])

    def test_the_example_serves_on_such_sockets(self) -> None:
        """Started as systemd starts it, the example says that it is ready."""
        telling = Telling(f"@lmgateway-deployment-{os.getpid()}")
        self.addCleanup(telling.close)
        with listening() as client, listening() as admin:
            process = spawn(
                ["lmgateway", "serve", "--config", str(ETC / "examples" / "systemd.toml")],
                [(client, "client"), (admin, "admin")],
                {"NOTIFY_SOCKET": telling.address, **KEYS},
            )
            with ended(process):
                status = telling.wait_for("READY")["STATUS"]
            for listener in (client, admin):
                self.assertIn(f"127.0.0.1:{listener.getsockname()[1]}", status)


class ImageTests(SynchronousTestCase):
    """``etc/docker``."""

    def setUp(self) -> None:
        """Split the Dockerfile into stages of instructions."""
        text = (ETC / "docker" / "Dockerfile").read_text()
        text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
        lines = [line.split(None, 1) for line in text.splitlines() if line.strip()]
        self.stages: list[list[tuple[str, str]]] = [[]]
        for word, rest in lines:
            if word == "FROM":
                self.stages.append([])
            self.stages[-1].append((word, rest))

    def said(self, word: str) -> list[str]:
        """Give what an instruction of the last stage says."""
        return [rest for name, rest in self.stages[-1] if name == word]

    def test_it_is_nobody_s_and_ends_as_it_should(self) -> None:
        """A number that is not root's, SIGTERM, our own health check."""
        self.assertRegex(self.said("USER")[-1], r"^[1-9]\d{3,}:[1-9]\d{3,}$")
        self.assertEqual(self.said("STOPSIGNAL"), ["SIGTERM"])
        self.assertTrue(understood(json.loads(self.said("HEALTHCHECK")[0].split("CMD", 1)[1])))
        command = json.loads(self.said("ENTRYPOINT")[0]) + json.loads(self.said("CMD")[0])
        self.assertTrue(understood(command))
        self.assertIn("-I", command)

    def test_nothing_is_installed_without_its_hash(self) -> None:
        """But for the wheel that is built from the checkout."""
        runs = " && ".join(rest for stage in self.stages for word, rest in stage if word == "RUN")
        installs = [step for step in runs.split("&&") if " install " in step]
        self.assertEqual(len(installs), 3)
        for step in installs:
            local = "--no-index" in step
            self.assertTrue(local or "--require-hashes --" in re.sub(r"\s+", " ", step), step)
        self.assertEqual(self.said("RUN"), [])

    def test_what_is_copied_is_there(self) -> None:
        """In the checkout, and not left out of what Docker is sent."""
        ignored = (ETC / "docker" / "Dockerfile.dockerignore").read_text().splitlines()
        self.assertIn("*", ignored)
        for word, rest in (line for stage in self.stages for line in stage):
            if word != "COPY" or rest.startswith("--from"):
                continue
            for source in rest.split()[:-1]:
                self.assertTrue((ETC.parent / source).exists(), source)
                top = source if source.startswith("etc/") else source.split("/")[0]
                self.assertIn(f"!{top}", ignored)

    def test_its_config_is_healthy_by_itself(self) -> None:
        """What is in the image needs no key and no network."""
        source, place = self.said("COPY")[-1].split()
        self.assertEqual(self.said("ENV"), [f"LMG_CONFIG={place}"])
        load(ETC.parent / source, {})

    def test_compose_gives_it_nothing_that_it_does_not_need(self) -> None:
        """No capability, no privilege, nothing to write on, and time to drain."""
        compose = yaml.safe_load((ETC / "docker" / "compose.yaml").read_text())
        gateway = compose["services"]["gateway"]
        self.assertEqual(gateway["user"], self.said("USER")[-1])
        self.assertIs(gateway["read_only"], True)
        self.assertEqual(gateway["cap_drop"], ["ALL"])
        self.assertEqual(gateway["security_opt"], ["no-new-privileges:true"])
        self.assertTrue(understood(gateway["healthcheck"]["test"]))
        self.assertEqual({*gateway["secrets"]}, {*compose["secrets"]})
        with TemporaryDirectory() as folder:
            environ = {}
            for name, path in gateway["environment"].items():
                self.assertIn(Path(path).name, gateway["secrets"])
                file = Path(folder) / Path(path).name
                file.write_text(KEYS[name.removesuffix("_FILE")])
                environ[name] = str(file)
            config = load(ETC / "docker" / "config.toml", environ)
        grace = int(gateway["stop_grace_period"].removesuffix("s"))
        self.assertGreaterEqual(grace, seconds_to_end(config))
        self.assertTrue(gateway["ports"][0].endswith(f":{config.gateway.client_port}"))


class KubernetesTests(GatewayCase):
    """``etc/kubernetes``."""

    def setUp(self) -> None:
        """Read all manifests."""
        super().setUp()
        folder = ETC / "kubernetes"
        listed = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
        self.assertEqual(
            {*listed}, {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml"}
        )
        self.kinds = {}
        for name in listed:
            document = yaml.safe_load((folder / name).read_text())
            self.kinds[document["kind"]] = document
        self.pod: dict[str, Any] = self.kinds["Deployment"]["spec"]["template"]["spec"]
        (self.container,) = self.pod["containers"]

    def config(self) -> Config:
        """Load the config of the ConfigMap, with the Secret where the pod has it."""
        folder = Path(self.mktemp())
        folder.mkdir()
        for name, value in KEYS.items():
            (folder / name).write_text(value)
            (folder / name).chmod(0o600)
        file = folder / "config.toml"
        file.write_text(self.kinds["ConfigMap"]["data"]["config.toml"])
        names = [variable["name"] for variable in self.container["env"]]
        self.assertEqual(names, ["CREDENTIALS_DIRECTORY"])
        return load(file, {"CREDENTIALS_DIRECTORY": str(folder)})

    def test_the_config_is_the_pod_s(self) -> None:
        """It loads without a warning, on the port that is declared, and has the time to drain."""
        config = self.config()
        self.assertEqual(config.warnings, ())
        (port,) = self.container["ports"]
        self.assertEqual(config.gateway.client_port, port["containerPort"])
        self.assertGreaterEqual(self.pod["terminationGracePeriodSeconds"], seconds_to_end(config))
        self.assertTrue(understood(["lmgateway", *self.container["args"]]))
        mounts = {mount["name"]: mount["mountPath"] for mount in self.container["volumeMounts"]}
        self.assertEqual(mounts["config"] + "/config.toml", self.container["args"][-1])
        self.assertEqual(mounts["secrets"], self.container["env"][0]["value"])
        self.assertEqual({*mounts}, {volume["name"] for volume in self.pod["volumes"]})

    def test_it_may_do_nothing_that_it_does_not_need(self) -> None:
        """Not root, nothing to write on, no capability, no token of the cluster."""
        pod, container = self.pod["securityContext"], self.container["securityContext"]
        self.assertIs(pod["runAsNonRoot"], True)
        self.assertEqual(pod["seccompProfile"], {"type": "RuntimeDefault"})
        self.assertIs(container["readOnlyRootFilesystem"], True)
        self.assertIs(container["allowPrivilegeEscalation"], False)
        self.assertEqual(container["capabilities"], {"drop": ["ALL"]})
        self.assertIs(self.pod["automountServiceAccountToken"], False)

    def test_the_service_finds_the_pods(self) -> None:
        """By label, and by the name of the port."""
        service = self.kinds["Service"]["spec"]
        labels = self.kinds["Deployment"]["spec"]["template"]["metadata"]["labels"]
        self.assertLessEqual(service["selector"].items(), labels.items())
        names = {port["name"] for port in self.container["ports"]}
        self.assertLessEqual({port["targetPort"] for port in service["ports"]}, names)

    async def test_probes_ask_what_is_there(self) -> None:
        """Each path answers; readiness, and only that, is another one while it drains."""
        service = self.start()
        paths = {}
        for name in ("startupProbe", "livenessProbe", "readinessProbe"):
            paths[name] = self.container[name]["httpGet"]["path"]
            self.assertEqual((await self.ask("GET", paths[name])).code, 200)
        service.resources.leaving = True
        answers = {name: (await self.ask("GET", path)).code for name, path in paths.items()}
        self.assertEqual(
            answers, {"startupProbe": 200, "livenessProbe": 200, "readinessProbe": 503}
        )
