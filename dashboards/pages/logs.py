"""Logs: what did each part say? There only where `production: logs:` is on."""

from __future__ import annotations

from collections.abc import Mapping

from dashboards.kit import Page, Query, row
from dashboards.kit.logs import counted, label_choice, lines, search
from dashboards.pages.common import restarts_and_alerts

# A line that says of itself that something went wrong, in the manner of each part; and what nginx answered with 5xx.
_ERRORS = (
    '|~ "'
    r"\"level\":\"(error|fatal|crit)|level=(error|fatal|crit)|(ERROR|FATAL|PANIC|CRITICAL)\\b"
    r"|\\[(error|crit|alert|emerg)\\]|\"status\":5[0-9][0-9]"
    '"'
)
_CHOSEN = '{service=~"$service"}'
_REFUSED = '{service="nginx", stream="stdout"} | json | method="POST" | path="/login" | status=~"401|403|429"'


def page(_limits: Mapping[str, float]) -> Page:
    """What went wrong, who was refused, then every line."""
    return Page(
        uid="logs",
        title="Logs",
        question="What did each part of this installation say, and what went wrong when? Kept for seven days.",
        variables=[label_choice("service", "Service"), search("text", "Text")],
        refresh="15s",
        rows=[
            row(
                7,
                counted(
                    "Who reports errors?",
                    description="Lines that say that something went wrong, by service: errors in logs, and pages that "
                    "nginx answered with 5xx. A few after a restart are usual; a wall of them names what is broken.",
                    queries=[
                        Query(f"sum by (service) (count_over_time({_CHOSEN} {_ERRORS} [$__auto]))", "{{service}}")
                    ],
                    empty="no errors",
                ),
                counted(
                    "Who writes how much?",
                    description="Lines of each service. One that suddenly writes far more than before repeats itself; "
                    "one that stops has stopped, or its lines no longer arrive.",
                    queries=[Query(f"sum by (service) (count_over_time({_CHOSEN} [$__auto]))", "{{service}}")],
                    empty="nothing was written",
                ),
            ),
            row(
                7,
                counted(
                    "Which sign-ins were refused?",
                    description="Passwords that nginx saw refused, by Grafana's answer. 401: a wrong password. 429: "
                    "too many within a minute. Some are people who mistype; many are somebody who guesses.",
                    queries=[Query(f"sum by (status) (count_over_time({_REFUSED} [$__auto]))", "{{status}}")],
                    empty="none was refused",
                ),
                lines(
                    "From where?",
                    description="The address each refused sign-in came from. `cluster-ai audit` says whether one of "
                    "them got in later.",
                    query=f'{_REFUSED} | line_format "{{{{.status}}}} {{{{.address}}}} {{{{.agent}}}}"',
                    empty="none was refused",
                ),
            ),
            row(
                14,
                lines(
                    "What was written?",
                    description="Every line of the services chosen above that has the text, whatever its letters' "
                    "case. A click on a line shows what it is made of.",
                    query=f"{_CHOSEN} |~ `(?i)${{text:regex}}`",
                    empty="no line has this text",
                ),
            ),
        ],
        annotations=restarts_and_alerts(),
    )
