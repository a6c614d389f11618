"""From what was seen to what to change: findings, in the order of what they would gain.

    Profile --each fault's function--> Finding or None --sorted--> Diagnosis

A fault's function reads a profile and says what it found, with the evidence, or None. They stand in
`faults_speed`, `faults_data` and `faults_limits`; adding one is writing it and naming it in FAULTS.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dlkit.diagnose.profiled import Profile

ENOUGH = 0.1  # a gain worth a change: 10 %


@dataclass(frozen=True)
class Finding:
    """One thing that could be better.

    Attributes:
        name: of the fault, such as `"too_few_workers"`.
        what: the finding in one sentence.
        evidence: the figures that it follows from.
        change: what to do.
        code: what does it: Python, or a command.
        gain: by how much throughput is predicted to rise, 0.5 for half as much again.
        memory: bytes that the change is predicted to save.
        risk: whether the run may end because of it.
    """

    name: str
    what: str
    evidence: str
    change: str
    code: str
    gain: float = 0.0
    memory: float = 0.0
    risk: bool = False

    @property
    def promise(self) -> str:
        """The predicted gain in words."""
        if self.risk:
            return "keeps the run alive"
        words = []
        if self.gain >= 0.01:
            words.append(
                f"{1 + self.gain:.1f} times the throughput"
                if self.gain >= 1
                else f"+{self.gain:.0%} throughput"
            )
        if self.memory >= 1e6:
            words.append(f"{self.memory / 1e6:,.0f} MB less memory")
        return ", ".join(words) or "nothing to gain in the loader"


@dataclass(frozen=True)
class Diagnosis:
    """What was found in a profile, the greatest gain first; risks to the run before all.

    Attributes:
        findings: what could be better.
        verdict: what limits the throughput, in one sentence.
    """

    findings: tuple[Finding, ...]
    verdict: str

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __len__(self) -> int:
        return len(self.findings)

    def __getitem__(self, place: int) -> Finding:
        return self.findings[place]

    @property
    def names(self) -> list[str]:
        """The names of what was found, in order."""
        return [finding.name for finding in self.findings]

    def __str__(self) -> str:
        lines = [self.verdict]
        for number, finding in enumerate(self.findings, 1):
            lines += [
                "",
                f"{number}. {finding.name}: {finding.what}",
                f"   seen:   {finding.evidence}",
                f"   change: {finding.change}",
                f"   gain:   {finding.promise}",
                *(f"       {line}" for line in finding.code.splitlines()),
            ]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        from dlkit.diagnose.report import findings_html

        return findings_html(self)


Fault = Callable[[Profile], Finding | None]


def diagnose(profile: Profile) -> Diagnosis:
    """Return what could be better, in the order of what it would gain.

    Args:
        profile: what `dlkit.profile` saw.

    Example:
        >>> import time
        >>> from dlkit import DataLoader, TransformDataset, profile
        >>> slow = TransformDataset(range(40), lambda index: time.sleep(0.002) or index)
        >>> seen = profile(DataLoader(slow, batch_size=4), step=lambda batch: time.sleep(0.008))
        >>> seen.diagnose()[0].name
        'no_workers'
    """
    from dlkit.diagnose import faults_data, faults_limits, faults_speed

    faults = [*faults_limits.FAULTS, *faults_speed.FAULTS, *faults_data.FAULTS]
    found = [finding for fault in faults if (finding := fault(profile)) is not None]
    found.sort(key=lambda finding: (finding.risk, finding.gain, finding.memory), reverse=True)
    return Diagnosis(tuple(found), verdict(profile))


def verdict(profile: Profile) -> str:
    """Say in one sentence what limits the throughput."""
    rate = f"{profile.samples_per_second:,.0f} samples/s"
    if not profile.has_step:
        return f"The loader delivers {rate}; no training step was given, so nothing waits for it."
    share = profile.wait_share
    if share < 0.1:
        return f"Compute-bound at {rate}: training waits {share:.0%} of its time for batches."
    if share > 0.3:
        return f"Input-bound at {rate}: training waits {share:.0%} of its time for batches."
    return f"{rate}; training waits {share:.0%} of its time for batches."
