"""Rules about what could not be read."""

from collections.abc import Callable, Iterator

from kome_tui.nginx.lint.conf import Conf
from kome_tui.nginx.lint.read import Trouble
from kome_tui.nginx.lint.rule import Rule, Suspect


def _troubles(trouble: Trouble) -> Callable[[Conf], Iterator[Suspect]]:
    def suspects(conf: Conf) -> Iterator[Suspect]:
        for problem in conf.problems:
            if problem.trouble == trouble:
                yield problem.at, problem.what

    return suspects


RULES = (
    Rule(
        "syntax",
        "error",
        "nginx does not start with this, and nothing else here was judged",
        "mend it there; nginx -t names what else there is",
        "nginx ngx_conf_file.c",
        _troubles("syntax"),
    ),
    Rule(
        "include-missing",
        "error",
        "nginx does not start without it, and what it would say was not judged",
        "name a file that is there: a relative one is looked for beside the main nginx.conf",
        "measured: relative includes resolve beside the -c path, not beside the file that asks",
        _troubles("include-missing"),
    ),
    Rule(
        "include-elsewhere",
        "warning",
        "what it says was not judged",
        "lint the whole configuration where nginx runs, or beside a copy of this file",
        "certbot's and a package's files are not in a copy of nginx.conf, nor is one beside a part",
        _troubles("include-elsewhere"),
    ),
    Rule(
        "include-loop",
        "error",
        "nginx reads in a circle until it runs out of files to open",
        "take this include out",
        "nginx ngx_conf_include has no limit",
        _troubles("include-loop"),
    ),
    Rule(
        "too-large",
        "warning",
        "it was not read, and nothing was judged by the other rules",
        "lint the parts that hold servers and locations by themselves",
        "limits of this lint: 4 MiB, 1,000 files, 16 in each other",
        _troubles("too-large"),
    ),
)
