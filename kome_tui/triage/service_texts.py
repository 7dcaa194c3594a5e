"""Texts of findings about OKOME, and about the services that it needs."""

from kome_tui.triage.entry import OPEN_OKOME, PAGE_AND_API, STREAMS, TRIAGE_AGAIN, Entry

_BEHIND_OKOME = frozenset({"okome-erroring", "api-failing"})

SERVICE_ENTRIES = (
    Entry(
        "okome-down",
        "critical",
        "OKOME is down: nothing answers at {okome_at}",
        (
            "{edge}",
            "{way_around}",
            "Go to the OKOME machine ({okome_host}). If it is off or off the network, bring that"
            " back first; if it runs, start OKOME the way it is always started and read its log"
            " for why it ended.",
            "{meanwhile}",
        ),
        (TRIAGE_AGAIN, OPEN_OKOME),
        PAGE_AND_API | STREAMS | {"okome-erroring", "serving-stale"},
        behind_edge=True,
    ),
    Entry(
        "okome-hung",
        "critical",
        "OKOME hangs: {okome_at} takes connections and does not answer",
        (
            "{edge}",
            "{way_around}",
            "On the OKOME machine ({okome_host}) look at memory and load, then restart OKOME. A"
            " restart cuts the answers that are being written.",
        ),
        (TRIAGE_AGAIN, OPEN_OKOME),
        PAGE_AND_API | STREAMS | {"okome-erroring", "serving-stale"},
        behind_edge=True,
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
        PAGE_AND_API | STREAMS | {"serving-stale"},
        per_node=True,
    ),
    Entry(
        "gpu-unreachable",
        "critical",
        "The GPU machine is off the network, so no answers can be generated",
        (
            "OKOME and the edge are not at fault: no service at {vllm_host} answers anybody.",
            "Go to the GPU machine ({vllm_host}) and look at its power, its network cable and the"
            " light of its switch port. A machine that hangs under its load looks the same.",
            "Once it is back, vLLM answers {vllm_url}/health when the model is loaded, which can"
            " take some minutes.",
        ),
        (TRIAGE_AGAIN,),
        _BEHIND_OKOME | STREAMS | {"vllm-down", "ollama-down", "tf-serving-down"},
        behind_edge=True,
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
        _BEHIND_OKOME | STREAMS,
        adds_nothing=True,
        behind_edge=True,
    ),
    Entry(
        "ollama-down",
        "warning",
        "Ollama is down",
        (
            "Models that run in Ollama do not answer; those of vLLM are not affected.",
            "On the GPU machine ({gpu_host}) see whether it runs: systemctl status ollama",
        ),
        (TRIAGE_AGAIN,),
        frozenset({"okome-erroring"}),
        adds_nothing=True,
        behind_edge=True,
    ),
    Entry(
        "tf-serving-down",
        "warning",
        "TensorFlow Serving is down",
        (
            "Requests to its models fail; chats and streams are not affected.",
            "On the GPU machine ({gpu_host}) see whether tensorflow_model_server runs, and read"
            " its log.",
        ),
        (TRIAGE_AGAIN,),
        frozenset({"okome-erroring"}),
        adds_nothing=True,
        behind_edge=True,
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
        _BEHIND_OKOME,
        behind_edge=True,
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
        PAGE_AND_API | {"stream-refused", "stream-broken", "serving-stale"},
        adds_nothing=True,
        behind_edge=True,
    ),
)
