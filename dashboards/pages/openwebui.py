"""Open WebUI: can people chat, and how much do they?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dashboards.kit import (
    Column,
    Page,
    Query,
    State,
    above,
    heading,
    plain,
    row,
    stat,
    state_timeline,
    table,
    timeseries,
)
from dashboards.kit.house import AMBER, GREEN, RED
from dashboards.kit.states import UP_DOWN
from dashboards.pages import blind, queries
from dashboards.pages.common import of_system, restarts_and_alerts, state_tile, version_tile

_SELECTED = 'target=~"$openwebui"'
_NO_KEY = "not told: needs an administrator's api_key_file"
_NO_USAGE = "not told: needs an api_key_file and Open WebUI 0.8"
_SHORT = "unknown"


def page(limits: Mapping[str, float]) -> Page:
    """People, backends, messages and tokens, models' standing."""
    return Page(
        uid="openwebui",
        title="Open WebUI",
        question="Can people chat, do the models behind it answer, and how much is it used?",
        variables=[of_system("openwebui")],
        refresh="15s",
        rows=[
            row(4, *_tiles()),
            row(8, _people(), _tokens(), _messages()),
            row(8, _backends(), _response(limits)),
            heading("What is used, and who may come in?", "Models first, then sign-in and accounts."),
            row(8, _models(), _standing(), widths=(14, 10)),
            row(5, *_doors()),
            row(
                6,
                blind.parts("openwebui", _SELECTED, limits),
                blind.reasons("openwebui", _SELECTED),
                blind.took("openwebui", _SELECTED, limits),
            ),
        ],
        annotations=restarts_and_alerts(),
    )


def _tiles() -> list[Any]:
    return [
        state_tile("openwebui", _SELECTED),
        version_tile("openwebui", "openwebui_info", _SELECTED),
        stat(
            "People now",
            description="People who used it within the last 3 minutes, the owner of the monitoring key aside.",
            unit="none",
            queries=[Query(f'sum(openwebui_users_active{{window="3m", {_SELECTED}}})')],
            levels=plain(),
            empty=_SHORT,
            sparkline=True,
        ),
        stat(
            "People in 24 h",
            description="People who used it within a day: what the service is worth to its people.",
            unit="none",
            queries=[Query(f'sum(openwebui_users_active{{window="24h", {_SELECTED}}})')],
            levels=plain(),
            empty=_SHORT,
        ),
        stat(
            "Answers running",
            description="Answers that are being generated right now. Many for long: the models are slower than people "
            "ask.",
            unit="none",
            queries=[Query(f"sum(openwebui_tasks_running{{{_SELECTED}}})")],
            levels=plain(),
            empty=_SHORT,
            sparkline=True,
        ),
        stat(
            "Pending accounts",
            description="Accounts with the role pending: people who cannot come in until an administrator approves "
            "them.",
            unit="none",
            queries=[Query(f'sum(openwebui_users{{role="pending", {_SELECTED}}})')],
            levels=above(1, worst=AMBER),
            empty=_SHORT,
        ),
    ]


def _people() -> Any:
    return timeseries(
        "How many people use it?",
        description="People active within 3 minutes and within the hour. Zero in working hours, while it is up: look "
        "at the backends and at the proxy before it.",
        unit="none",
        queries=[
            Query(f'sum(openwebui_users_active{{window="3m", {_SELECTED}}})', "within 3 minutes"),
            Query(f'sum(openwebui_users_active{{window="1h", {_SELECTED}}})', "within the hour"),
        ],
        levels=plain(),
        empty=_NO_KEY,
    )


def _tokens() -> Any:
    selector = f'type="output", {_SELECTED}'
    return timeseries(
        "Who writes the tokens?",
        description="Tokens per second by model, over 5 minutes, from stored chats. Calls of its API that are not "
        "stored do not count.",
        unit="short",
        queries=[Query(queries.TOKENS_PER_SECOND.format(by="model", selector=selector), "{{model}}")],
        levels=plain(),
        empty=_NO_USAGE,
        stacked=True,
    )


def _messages() -> Any:
    return timeseries(
        "Who answers?",
        description="Answers a minute by model, over 5 minutes, failed ones included. One model falling to zero while "
        "others go on: ask it something yourself.",
        unit="cpm",
        queries=[
            Query(
                f"60 * sum by (model) (rate(openwebui_model_messages_seen_total{{{_SELECTED}}}[5m]))",
                "{{model}}",
            )
        ],
        levels=plain(),
        empty=_NO_USAGE,
        stacked=True,
    )


def _backends() -> Any:
    return state_timeline(
        "Which backends answer?",
        description="Whether Open WebUI itself reaches each backend of models. Down while the Ollama page shows the "
        "same one up: the way between the two is broken (address, container network, proxy).",
        queries=[
            Query(f"min by (target, kind, backend) (openwebui_backend_up{{{_SELECTED}}})", "{{backend}} ({{kind}})")
        ],
        states=UP_DOWN,
        empty=_NO_KEY,
        seen=f"openwebui_backend_up{{{_SELECTED}}}[15m]",
    )


def _response(limits: Mapping[str, float]) -> Any:
    return timeseries(
        "How fast do backends answer?",
        description="Time of a small question through Open WebUI to a backend and back; nothing while it is down. "
        "People feel it before every answer.",
        unit="s",
        queries=[Query(f"max by (backend) (openwebui_backend_response_seconds{{{_SELECTED}}})", "{{backend}}")],
        levels=above(
            limits["openwebui_backend_response_seconds"], limits["openwebui_backend_response_seconds_critical"]
        ),
        empty=_NO_KEY,
    )


def _models() -> Any:
    def of(metric: str, more: str = "") -> str:
        return f"sum by (target, model) (openwebui_model_{metric}{{{more}{_SELECTED}}})"

    return table(
        "Which models are used?",
        description="Each model in the stored chats. Falls when chats are deleted.",
        columns=[
            Column(title="Model", field="model", width=160),
            Column(title="Target", field="target"),
            Column(title="Chats", query=of("chats"), unit="short"),
            Column(title="Answers", query=of("messages"), unit="short", width=95),
            Column(title="People", query=of("users"), unit="short"),
            Column(title="Tokens in", query=of("tokens", 'type="input", '), unit="short"),
            Column(title="Tokens out", query=of("tokens", 'type="output", '), unit="short"),
        ],
        empty=_NO_USAGE,
        sort="Answers",
    )


def _standing() -> Any:
    by = "target, model"
    compared = 'sum by ({}) (openwebui_leaderboard_comparisons{{result="{}", {}}})'
    return table(
        "Which models do people prefer?",
        description="Elo rating from people's comparisons; everybody starts at 1000. A few comparisons say little.",
        columns=[
            Column(title="Model", field="model", width=180),
            Column(title="Target", field="target"),
            Column(
                title="Rating",
                query=f"max by ({by}) (openwebui_leaderboard_rating{{{_SELECTED}}})",
                unit="none",
                decimals=0,
            ),
            Column(title="Won", query=compared.format(by, "won", _SELECTED), unit="short"),
            Column(title="Lost", query=compared.format(by, "lost", _SELECTED), unit="short"),
        ],
        empty="nobody has rated an answer yet",
        sort="Rating",
    )


def _doors() -> list[Any]:
    def door(title: str, description: str, worst: str, metric: str, states: tuple[State, State]) -> Any:
        return stat(
            title,
            description=description,
            unit="none",
            queries=[Query(f"{worst}({metric}{{{_SELECTED}}})")],
            levels=plain(),
            states=states,
            empty=_SHORT,
        )

    return [
        door(
            "Sign-in needed",
            "Whether people must sign in. No: every visitor is an administrator (WEBUI_AUTH is off).",
            "min",
            "openwebui_auth_enabled",
            (State(0, "No", RED), State(1, "Yes", GREEN)),
        ),
        door(
            "Sign-up open",
            "Whether any visitor may register. Where people of your own are known, close it.",
            "max",
            "openwebui_signup_open",
            (State(0, "No", GREEN), State(1, "Yes", AMBER)),
        ),
        stat(
            "Monitoring key",
            description="What Open WebUI makes of api_key_file. ok: all of this page can be read. Anything else: "
            "`cluster-ai doctor` says what to change.",
            unit="none",
            queries=[Query(f"count by (status) (openwebui_api_key_status{{{_SELECTED}}} == 1)", "{{status}}")],
            levels=plain(),
            empty=_SHORT,
            names_only=True,
        ),
        stat(
            "Accounts",
            description="Registered people by role; those who left should be removed, they can still sign in.",
            unit="none",
            queries=[Query(f"sum by (role) (openwebui_users{{{_SELECTED}}})", "{{role}}")],
            levels=plain(),
            empty=_SHORT,
            names=True,
        ),
        stat(
            "Feedback",
            description="Ratings that people gave to answers, ever.",
            unit="short",
            queries=[Query(f"sum(openwebui_feedbacks{{{_SELECTED}}})")],
            levels=plain(),
            empty=_SHORT,
        ),
        stat(
            "Models offered",
            description="Models that people can choose. It falls when a backend does not answer.",
            unit="none",
            queries=[Query(f"sum(openwebui_models{{{_SELECTED}}})")],
            levels=plain(),
            empty=_SHORT,
            sparkline=True,
        ),
    ]
