"""Which paths carry token streams: the one table that the stream rules go by."""

SAMPLES = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/messages",
    "/api/chat",
    "/api/generate",
    "/run",
    "/ws",
)
"""Asked of every server: whatever answers one of these streams."""

BELOW = ("/v1/", "/api/", "/run/", "/ws/")
"""A location of its own below one of these streams too."""

LAST_WORDS = frozenset(
    {"sse", "events", "stream", "ws", "websocket", "completion", "completions", "generate_stream"}
)
"""And one whose path ends with such a word (server-sent events, WebSocket, llama.cpp, TGI)."""

PLAIN = (
    "/v1/models",
    "/v1/embeddings",
    "/api/tags",
    "/api/version",
    "/api/ps",
    "/api/show",
    "/api/embed",
    "/api/embeddings",
)
"""Except those that answer in one piece (OpenAI's and Ollama's)."""

FILE_WORDS = frozenset(
    {
        *("assets", "static", "public", "media", "images", "img", "css", "js", "fonts", "docs"),
        *("metrics", "grafana", "prometheus"),
    }
)
"""A location whose path ends so hands on files and pages, whatever its upstream is asked for."""

WEBSOCKET_WORDS = frozenset({"ws", "wss", "websocket", "websockets", "socket.io", "realtime"})
"""A location with such a word in its path means WebSocket."""

HEALTH = ("/health", "/healthz")

PAGES = ("/", "/index.html")


def is_stream(uri: str) -> bool:
    """Whether a location of `uri` is one for streams."""
    path = uri.rstrip("/") + "/"
    if is_plain(uri):
        return False
    return path.startswith(BELOW) or path.split("/")[-2] in LAST_WORDS


def is_plain(uri: str) -> bool:
    """Whether what is at `uri` answers in one piece."""
    return any((uri.rstrip("/") + "/").startswith(f"{plain}/") for plain in PLAIN)
