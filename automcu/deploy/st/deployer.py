"""Deploying by ST's own route: the bundle holds C code for ST's runtime instead of AutoMCU's firmware."""

import numpy as np

from automcu.board import Board, Budget
from automcu.deploy.boards.serial import find_port
from automcu.deploy.bundle import is_name
from automcu.deploy.choice import ProverSettings
from automcu.deploy.deployer import Deployed, Deployer
from automcu.deploy.evidence import StCode
from automcu.deploy.st.profile import StProfile
from automcu.deploy.st.route import StRoute
from automcu.errors import CandidateFailure, InfraFailure

FOLDER = "st"
"""Of ST's code in a bundle."""


class StDeployer(Deployer):
    """Deploys to one board with ST's runtime. ST's tool compares no outputs byte for byte, so that its bundles are
    unverified, even where the network has run on the board."""

    def __init__(self, board: Board, route: StRoute, settings: ProverSettings) -> None:
        """A board is asked where `settings` says that one is wired up (link serial): at its `port`, else at the one
        that is found."""
        wired = settings.link == "serial"
        super().__init__(board, None, "" if wired else "ST's runtime runs on a real board only; wire one up")
        self._route = route
        self._settings = settings

    def run(self, tflite: bytes, inputs: np.ndarray, labels: np.ndarray | None, budget: Budget) -> Deployed:
        """ST's code for the network in `tflite`, with its latency on the board where there is one; `inputs` go into the
        bundle, and not to the board. Raises `CandidateFailure` when ST's tool does not take the network."""
        samples = self._samples(tflite, inputs, labels)
        try:
            project = self._route.generate(tflite)
            if odd := [name for name in project.files if not is_name(name)]:
                raise InfraFailure(f"ST Edge AI wrote a file named {odd[0]!r:.120}; report it, with the tool's version")
        except InfraFailure as error:  # nothing is lost: the model can be compiled later
            return Deployed(samples, None, None, str(error))
        profile, unverified = self._measure(tflite)
        files = {f"{FOLDER}/{name}": content for name, content in project.files.items()}
        return Deployed(samples, None, None, unverified, StCode(project.version, profile), files)

    def _measure(self, tflite: bytes) -> tuple[StProfile | None, str]:
        """How fast the network is on the board, None where it could not be asked; and why the bundle is unverified."""
        if self.unverified:
            return None, self.unverified
        try:
            port = find_port(self._settings.port, self._settings.probe)
            profile = self._route.measure(tflite, port.device)
        except (InfraFailure, CandidateFailure) as error:  # the tool has compiled this network: it is not at fault
            return None, str(error)
        return profile, (
            f"ST's tool measured {profile.latency_ms:,.2f} ms an inference on the board, and compared no outputs byte "
            "for byte; run the bundle's samples in your application"
        )
