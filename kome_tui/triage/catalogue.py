"""Every finding code: how bad it is, what it explains, and what to tell an operator.

The order of ENTRIES is the order of findings: causes stand before what they cause. A code needs a
case that fires it and one that stays quiet in tests/cases/triage/, or the tests refuse it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from kome_tui.triage.model import Severity


@dataclass(frozen=True, slots=True)
class Entry:
    """What is fixed about a code. Texts have named fields that the rule fills in."""

    code: str
    severity: Severity
    title: str
    guidance: tuple[str, ...]
    """In order. A line that comes out empty is left out."""
    actions: tuple[tuple[str, str], ...] = ()
    """Name and command; one whose command comes out empty is left out."""
    explains: frozenset[str] = frozenset()
    """Codes that are no fault of their own where this one is found."""
    per_node: bool = False
    """The subject is a node, and it explains findings about that node only."""
    adds_nothing: bool = False
    """Where something explains it, it is evidence of that and no finding of its own."""


PAGE_AND_API = frozenset({"page-failing", "api-failing"})
STREAMS = frozenset({"stream-broken", "stream-slow"})
OPEN_OKOME = ("Open OKOME directly", "{open_okome}")
REDEPLOY = ("Redeploy {who}", "kome-tui deploy {names}")
PUSH = ("Push to {who}", "kome-tui deploy {names}")
TRIAGE_AGAIN = ("Look again", "kome-tui triage")

_ENTRIES = (
    Entry(
        "operator-offline",
        "critical",
        "This laptop reaches nothing of the fleet",
        (
            "Nothing answers this laptop: no node and not OKOME. The fault is most likely here, or"
            " in the switch between, and not in the fleet.",
            "Check this laptop's cable or Wi-Fi, that no VPN is on, and that its address is in"
            " {lan}.",
            "Ask somebody else on the LAN to open {page_url}. If it opens, people are not affected"
            " and only this laptop is.",
            "If nobody gets anywhere, look at the power of the switch first.",
        ),
        (TRIAGE_AGAIN,),
    ),
    Entry(
        "frontend-unreachable",
        "critical",
        "{who} is off the network, and people come in through it",
        (
            "{way_around}",
            "Other machines answer, so this laptop and the network are fine: go to {who} ({host})"
            " and look at its power, its network cable and the light of its switch port.",
            "Once it is back it serves what it served before, without a push. Look again then.",
            "If the machine is lost, another one can take its address and be set up anew.",
        ),
        (OPEN_OKOME, TRIAGE_AGAIN),
        PAGE_AND_API | STREAMS,
        per_node=True,
    ),
    Entry(
        "nginx-down",
        "critical",
        "nginx is not running on {who}",
        (
            "{way_around}",
            "Redeploy {who}: the push tests the configuration and starts nginx on it.",
            "If that is refused, log in on {who} and read why: sudo tail -n 20 {log}/error.log",
            "Then start it there: {start_nginx}",
        ),
        (REDEPLOY, OPEN_OKOME),
        PAGE_AND_API | STREAMS,
        per_node=True,
    ),
    Entry(
        "okome-down",
        "critical",
        "OKOME is down: nothing answers at {okome_at}",
        (
            "The edge is not at fault, and a redeploy does not help: OKOME itself does not answer.",
            "{way_around}",
            "Go to the OKOME machine ({okome_host}). If it is off or off the network, bring that"
            " back first; if it runs, start OKOME the way it is always started and read its log"
            " for why it ended.",
            "Until then the edge shows pages that it still has in its cache; requests to the API"
            " fail.",
        ),
        (TRIAGE_AGAIN, OPEN_OKOME),
        PAGE_AND_API | STREAMS | {"okome-erroring"},
    ),
    Entry(
        "okome-hung",
        "critical",
        "OKOME hangs: {okome_at} takes connections and does not answer",
        (
            "The edge is not at fault, and a redeploy does not help: OKOME is running but stuck.",
            "{way_around}",
            "On the OKOME machine ({okome_host}) look at memory and load, then restart OKOME. A"
            " restart cuts the answers that are being written.",
        ),
        (TRIAGE_AGAIN, OPEN_OKOME),
        PAGE_AND_API | STREAMS | {"okome-erroring"},
    ),
    Entry(
        "partition-frontend-okome",
        "critical",
        "{who} cannot reach OKOME, although OKOME is up",
        (
            "{way_around}",
            "Look at what lies between {who} and {okome_host}: cable and switch port of {who}, a"
            " firewall rule on either machine, an address that has changed.",
            "On {who}, this tells whether the way is open: bash -c 'echo"
            " >/dev/tcp/{okome_from_node} && echo open'",
            "A redeploy does not help: nginx does what it should.",
        ),
        (OPEN_OKOME, TRIAGE_AGAIN),
        PAGE_AND_API | STREAMS,
        per_node=True,
    ),
    Entry(
        "vllm-down",
        "critical",
        "vLLM is down, so no answers can be generated",
        (
            "OKOME and the edge are not at fault: the page opens, but requests to the model fail.",
            "On the GPU machine ({vllm_host}) see whether vLLM runs and read the end of its log."
            " The GPU being out of memory is the usual reason: nvidia-smi shows who holds it.",
            "Start vLLM the way it is always started. It answers {vllm_url}/health once the model"
            " is loaded, which can take some minutes.",
        ),
        (TRIAGE_AGAIN,),
        frozenset({"okome-erroring", "api-failing"}) | STREAMS,
    ),
    Entry(
        "redis-down",
        "warning",
        "Redis is down, so OKOME works without its cache",
        (
            "People can go on: answers take longer, and nothing is lost, since Redis holds no live"
            " tokens.",
            "On the Redis machine ({redis_host}) start it: sudo systemctl start redis-server",
            "Then `redis-cli ping` there must say PONG. If it runs already, a full disk, maxmemory"
            " or a firewall rule is the next thing to look at.",
        ),
        (TRIAGE_AGAIN,),
        frozenset({"okome-erroring", "api-failing"}),
    ),
    Entry(
        "okome-erroring",
        "critical",
        "OKOME answers with errors",
        (
            "The edge is not at fault: OKOME gives the same errors to this laptop directly.",
            "Read OKOME's log on {okome_host} for the first error, and restart OKOME if it names"
            " nothing else to cure.",
        ),
        (TRIAGE_AGAIN,),
        PAGE_AND_API | {"stream-broken"},
        adds_nothing=True,
    ),
    Entry(
        "config-drift",
        "warning",
        "{who} was changed by hand since the last push",
        (
            "See what is different before anything else: kome-tui plan {names}",
            "If the change is wanted, put it into topology.yaml or the templates first: a redeploy"
            " removes it.",
            "Then redeploy {who}. What is there now is kept on the node, and a rollback brings it"
            " back.",
        ),
        (
            ("Show the difference", "kome-tui plan {names}"),
            ("Redeploy {who}", "kome-tui deploy {names} --accept-drift"),
        ),
        frozenset({"stream-buffered", "stream-slow", "stream-broken"}) | PAGE_AND_API,
        per_node=True,
    ),
    Entry(
        "not-deployed",
        "info",
        "{who} {serves_serve} a configuration that is not ours",
        (
            "See what a push would change: kome-tui plan {names}",
            "Push once. What is there now is kept on the node as the release `original`, and a"
            " rollback to it brings it back.",
        ),
        (("Show the difference", "kome-tui plan {names}"), PUSH),
        PAGE_AND_API | STREAMS | {"stream-buffered"},
        per_node=True,
    ),
    Entry(
        "stream-buffered",
        "warning",
        "{hop} holds tokens back and passes them on in clumps",
        (
            "{way_around}",
            "{cure}",
            "Probe again: the burst of {hop} must be back near 1.",
        ),
        (("{redeploy}", "{redeploy_command}"), ("Probe again", "kome-tui probe"), OPEN_OKOME),
        frozenset({"stream-slow"}),
        per_node=True,
    ),
    Entry(
        "edge-unreachable",
        "warning",
        "{who} {is_are} off the network",
        (
            "People are not affected while the other nodes of the role serve.",
            "Look at power, network cable and switch port of {who} ({host}).",
            "Once back, a node serves what it served before, without a push. Look again then.",
        ),
        (TRIAGE_AGAIN,),
        per_node=True,
    ),
    Entry(
        "host-key-changed",
        "critical",
        "{who} shows another SSH host key than the one on record",
        (
            "Do not log in and do not push: this is a machine that was set up anew, or somebody in"
            " between.",
            "At the machine itself, read its key: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub,"
            " and compare it with what was shown here.",
            "Only if they are the same, and you know why the key changed, remove the old line from"
            " known_hosts and record the new key: kome-tui trust {names}",
        ),
        per_node=True,
    ),
    Entry(
        "ssh-auth-failed",
        "warning",
        "{who} {does_do} not accept our SSH key",
        (
            "See which keys are offered: ssh-add -l. If the right one is missing, add it: ssh-add"
            " FILE",
            "If it is there, the public key is missing on {who} for the user {ssh_user}, or more"
            " keys are offered than the node tries (IdentityFile and IdentitiesOnly name one).",
            "Pages and API are served all the same; only pushes and readings are missing.",
        ),
        (TRIAGE_AGAIN,),
        per_node=True,
    ),
    Entry(
        "host-key-unknown",
        "warning",
        "The SSH host key of {who} is not on record",
        (
            "Compare the key with the one the machine has, and record it: kome-tui trust {names}",
            "Until then nothing is pushed to {who} or read from there.",
        ),
        (("Record the host key", "kome-tui trust {names}"),),
        per_node=True,
    ),
    Entry(
        "ssh-unreachable",
        "warning",
        "No SSH to {who}, although its nginx answers",
        (
            "People are not affected: nginx on {who} answers.",
            "At the machine, look at sshd: sudo systemctl status ssh. A firewall rule for port"
            " {ssh_port}, or an SSH port that differs from the one asked for, looks the same.",
            "Pushes to {who} are skipped, and its readings missing, until SSH is back.",
        ),
        (TRIAGE_AGAIN,),
        per_node=True,
    ),
    Entry(
        "not-set-up",
        "warning",
        "{who} {is_are} not set up for pushes yet",
        ("Set it up once, as a user with sudo there: kome-tui rebuild {names}",),
        (("Set up {who}", "kome-tui rebuild {names}"),),
        per_node=True,
    ),
    Entry(
        "stream-broken",
        "warning",
        "A stream through {hop} broke off",
        (
            "{way_around}",
            "The hop before {hop} delivered the same stream whole, so the fault is at {hop} or"
            " right before it.",
            "Probe again; if it stays, read the error log of {hop}.",
        ),
        (("Probe again", "kome-tui probe"), OPEN_OKOME),
        per_node=True,
        adds_nothing=True,
    ),
    Entry(
        "stream-slow",
        "warning",
        "{hop} makes streams slower",
        (
            "The hop before {hop} delivers the same stream faster. Look at its load and network.",
            "Probe again in a minute: one slow probe proves little.",
        ),
        (("Probe again", "kome-tui probe"),),
        per_node=True,
        adds_nothing=True,
    ),
    Entry(
        "page-failing",
        "critical",
        "The web page fails through {who}",
        (
            "{way_around}",
            "{clue}",
            "Read the end of the error log on {who}: sudo tail -n 20 {log}/error.log",
        ),
        (OPEN_OKOME, TRIAGE_AGAIN),
        per_node=True,
        adds_nothing=True,
    ),
    Entry(
        "api-failing",
        "critical",
        "The API fails through {who}",
        (
            "{way_around}",
            "{clue}",
            "Read the end of the error log on {who}: sudo tail -n 20 {log}/error.log",
        ),
        (OPEN_OKOME, TRIAGE_AGAIN),
        per_node=True,
        adds_nothing=True,
    ),
    Entry(
        "release-pending",
        "info",
        "{who} {serves_serve} another release than the topology asks for",
        (
            "See what a push would change: kome-tui plan {names}",
            "Push when you are ready; nothing is broken.",
        ),
        (("Show the difference", "kome-tui plan {names}"), PUSH),
        per_node=True,
    ),
)

CATALOGUE: Mapping[str, Entry] = {entry.code: entry for entry in _ENTRIES}
RANK: Mapping[str, int] = {entry.code: rank for rank, entry in enumerate(_ENTRIES)}
EVERYTHING = frozenset(CATALOGUE) - {"operator-offline"}


def explains(code: str) -> frozenset[str]:
    """Codes that `code` explains. Without a network of our own, it is all of them."""
    return EVERYTHING if code == "operator-offline" else CATALOGUE[code].explains
