"""Texts of findings about machines, their nginx and what they serve."""

from kome_tui.triage.entry import (
    OPEN_OKOME,
    PAGE_AND_API,
    PUSH,
    READ_ERROR_LOG,
    REDEPLOY,
    SHOW_DIFFERENCE,
    STREAMS,
    TRIAGE_AGAIN,
    Entry,
)

NODE_ENTRIES = (
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
        "{who} {gone}, and people come in through it",
        (
            "{way_around}",
            "{look}",
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
            "If that is refused, log in on {who} and read why: {tail_errors}",
            "Then start it there: {start_nginx}",
        ),
        (REDEPLOY, OPEN_OKOME),
        PAGE_AND_API | STREAMS,
        per_node=True,
    ),
    Entry(
        "frontend-port-blocked",
        "critical",
        "nginx on {who} runs, and this laptop does not reach its port",
        (
            "{way_around}",
            "A firewall on {who} ({host}) or between it and this laptop holds {http_at}, or nginx"
            " listens on another address. See at the machine: {sudo}nft list ruleset, and ss -ltn",
            "Ask somebody else on the LAN to open {page_url}. If it opens, only this laptop is"
            " kept out.",
            "A redeploy does not help: nginx says that it serves.",
        ),
        (OPEN_OKOME, TRIAGE_AGAIN),
        PAGE_AND_API | STREAMS,
        per_node=True,
    ),
    Entry(
        "config-drift",
        "warning",
        "{who} was changed by hand since the last push",
        (
            "See what is different before anything else: {kome} plan {names}",
            "If the change is wanted, put it into topology.yaml or the templates first: a redeploy"
            " removes it.",
            "Then redeploy {who}. What is there now is kept on the node, and a rollback brings it"
            " back.",
        ),
        (SHOW_DIFFERENCE, ("Redeploy {who}", "{kome} deploy {names} --accept-drift")),
        PAGE_AND_API | STREAMS | {"stream-buffered"},
        per_node=True,
    ),
    Entry(
        "not-deployed",
        "info",
        "{who} {serves_serve} a configuration that is not ours",
        (
            "See what a push would change: {kome} plan {names}",
            "Push once. What is there now is kept on the node as the release `original`, and a"
            " rollback to it brings it back.",
        ),
        (SHOW_DIFFERENCE, PUSH),
        PAGE_AND_API | STREAMS | {"stream-buffered"},
        per_node=True,
        adds_nothing=True,
    ),
    Entry(
        "edge-unreachable",
        "warning",
        "{who} {gone}",
        (
            "People are not affected while the other nodes of the role serve.",
            "{look}",
            "Once back, a node serves what it served before, without a push. Look again then.",
        ),
        (TRIAGE_AGAIN,),
        per_node=True,
    ),
    Entry(
        "role-down",
        "warning",
        "No node with role {role} answers",
        (
            "{effect}",
            "All of them at once points at what they share: a power strip, a switch, or the last"
            " push to that role.",
            "See what the last push changed there: {kome} plan {names}",
        ),
        (SHOW_DIFFERENCE, TRIAGE_AGAIN),
    ),
    Entry(
        "page-failing",
        "critical",
        "The web page fails through {who}",
        ("{way_around}", "{clue}", READ_ERROR_LOG),
        (OPEN_OKOME, TRIAGE_AGAIN),
        per_node=True,
        adds_nothing=True,
    ),
    Entry(
        "api-failing",
        "critical",
        "The API fails through {who}",
        ("{way_around}", "{clue}", READ_ERROR_LOG),
        (OPEN_OKOME, TRIAGE_AGAIN),
        per_node=True,
        adds_nothing=True,
    ),
    Entry(
        "release-pending",
        "info",
        "{who} {serves_serve} another release than the topology asks for",
        (
            "See what a push would change: {kome} plan {names}",
            "Push when you are ready; nothing is broken.",
        ),
        (SHOW_DIFFERENCE, PUSH),
        per_node=True,
    ),
)
