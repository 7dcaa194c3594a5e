"""Texts of findings about SSH: of this laptop, and of single nodes."""

from kome_tui.triage.entry import TRIAGE_AGAIN, Entry

_SERVED = "Pages and API are served all the same; only pushes and readings are missing."

SSH_ENTRIES = (
    Entry(
        "ssh-client-failed",
        "warning",
        "SSH of this laptop does not work, so nothing is known of {who}",
        (
            "This is no fault of a node: none was asked, because `ssh` here ends before it"
            " connects.",
            "Ask it yourself: ssh -G {first} (with -F FILE where you use --ssh-config). It names"
            " the file and the line, or hangs where the console hangs.",
            _SERVED,
        ),
        (TRIAGE_AGAIN,),
    ),
    Entry(
        "ssh-no-key",
        "warning",
        "This laptop has no SSH key to offer to {who}",
        (
            "No key was offered: the agent is empty or not running, and no key file is there. Load"
            " yours: ssh-add FILE. What is loaded, ssh-add -l shows.",
            "A key that is a file of its own is named with IdentityFile in your SSH configuration.",
            "If you have none yet: ssh-keygen -t ed25519, and then {kome} rebuild {names} puts it"
            " on the nodes, as a user who can log in there.",
            _SERVED,
        ),
        (("Show what is loaded", "ssh-add -l"), TRIAGE_AGAIN),
    ),
    Entry(
        "ssh-blocked",
        "warning",
        "No SSH from this laptop to any node, although their nginx answers",
        (
            "All of them at once: the fault is most likely on this laptop or on the way, and not"
            " at {who}.",
            "Look at your SSH configuration (another port, a jump host that is off, a name lookup"
            " that hangs), at a VPN, and at a firewall between: ssh -v {first} (with -F FILE where"
            " you use --ssh-config)",
            _SERVED,
        ),
        (TRIAGE_AGAIN,),
        frozenset({"ssh-unreachable"}),
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
            " known_hosts and record the new key: {kome} trust {names}",
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
            _SERVED,
        ),
        (TRIAGE_AGAIN,),
        per_node=True,
    ),
    Entry(
        "host-key-unknown",
        "warning",
        "The SSH host key of {who} is not on record",
        (
            "Compare the key with the one the machine has, and record it: {kome} trust {names}",
            "Until then nothing is pushed to {who} or read from there.",
        ),
        (("Record the host key", "{kome} trust {names}"),),
        per_node=True,
    ),
    Entry(
        "ssh-unreachable",
        "warning",
        "No SSH to {who}, although its nginx answers",
        (
            "People are not affected: nginx on {who} answers.",
            "At the machine, look at sshd: {sudo}systemctl status ssh. A firewall rule for port"
            " {ssh_port}, or an SSH port that differs from the one asked for, looks the same.",
            "Pushes to {who} are skipped, and its readings missing, until SSH is back.",
        ),
        (TRIAGE_AGAIN,),
        per_node=True,
        adds_nothing=True,
    ),
    Entry(
        "not-set-up",
        "warning",
        "{who} {is_are} not set up for pushes yet",
        ("Set it up once, as a user with sudo there: {kome} rebuild {names}",),
        (("Set up {who}", "{kome} rebuild {names}"),),
        frozenset({"not-deployed"}),
        per_node=True,
    ),
)
