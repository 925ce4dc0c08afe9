"""What an SMS says, and that it always fits."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alert_rules.bridge.gsm7 import is_gsm7
from alert_rules.bridge.text import Style, compose, silence_form
from alert_rules.bridge.webhook import Notification
from tests.alert_rules.bridge.posts import alert, notification, post
from tests.standins.twilio import segments

STYLE = Style("lab", "https://monitoring.example.org")
NOW = datetime(2026, 11, 23, 3, 13, tzinfo=UTC)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=100)
HOSTILE = st.text(st.sampled_from("a é調😀{\n\x00→ãЖ\u202e+%&="), max_size=100)


def test_one_alert():
    assert compose(notification(), STYLE, NOW) == (
        "FIRING critical, lab, since 03:12 UTC\n"
        "DaskSchedulerDown: Scheduler main has not answered for 25 s\n"
        "Ack: https://monitoring.example.org/alerting/silence/new?alertmanager=Alertmanager"
        "&matcher=alertname%3DDaskSchedulerDown&matcher=cluster%3Dlab&matcher=target%3Dmain&comment=ACK"
    )


def test_several_alerts_the_gravest_first_and_the_rest_counted():
    alerts = [alert("DaskWorkerLost", f"Worker w{n} was lost", severity="warning", worker=f"w{n}") for n in range(9)]
    text = compose(notification(*alerts, alert()), STYLE, NOW)
    lines = text.splitlines()
    assert lines[0] == "FIRING 10 alerts, critical, lab, since 03:12 UTC"
    assert lines[1].startswith("DaskSchedulerDown: Scheduler main has not answered")
    assert lines[2] == "+9 more"
    assert "matcher=alertname%3D~DaskSchedulerDown%7CDaskWorkerLost" in lines[3]
    assert segments(text) == 2


def test_alerts_that_read_alike_are_counted_once():
    alerts = [alert("X", "it broke", fs=str(n)) for n in range(3)]
    assert "X: it broke (main) (3x)\nAck" in compose(notification(*alerts), STYLE, NOW)


def test_alerts_that_alertmanager_left_out_are_counted():
    text = compose(notification(truncatedAlerts=4), STYLE, NOW)
    assert "FIRING 5 alerts" in text
    assert "+4 more" in text


def test_the_place_is_said_where_the_summary_does_not_say_it():
    told = alert("HostDown", "does not answer", host="gpu-1", target="")
    assert "HostDown: does not answer (gpu-1)" in compose(notification(told), STYLE, NOW)


def test_without_a_summary_the_name_and_place_are_said():
    bare = alert(worker="tcp://10.0.0.9:3")
    bare["annotations"] = {}
    assert "DaskSchedulerDown (main, tcp://10.0.0.9:3)" in compose(notification(bare), STYLE, NOW)


def test_resolved_says_how_long_and_asks_for_nothing():
    text = compose(notification(alert(status="resolved")), STYLE, NOW)
    assert text == ("RESOLVED lab, 03:40 UTC after 28m\nDaskSchedulerDown: Scheduler main has not answered for 25 s")


def test_only_those_that_fire_are_told_of_a_group_that_fires():
    text = compose(notification(alert(), alert("DaskWorkerLost", "w1 lost", status="resolved")), STYLE, NOW)
    assert "w1" not in text
    assert text.startswith("FIRING critical")


def test_times_are_those_of_the_installation():
    style = Style("lab", STYLE.grafana, ZoneInfo("America/Sao_Paulo"))
    assert "since 00:12 -03\n" in compose(notification(), style, NOW)
    old = alert(started="2026-11-21T03:12:00Z")
    assert "since 21 Nov 00:12 -03\n" in compose(notification(old), style, NOW)


def test_a_test_says_so():
    assert compose(notification(alert(test="1")), STYLE, NOW).startswith("TEST FIRING critical")


def test_escalation_says_that_nobody_acknowledged():
    told = notification(receiver="bo by sms after 15m")
    assert compose(told, STYLE, NOW).startswith("FIRING not acknowledged for 15m, critical, lab")


def test_a_notice_is_always_there():
    alerts = [alert("DaskWorkerLost", "x" * 500, worker=f"w{n}") for n in range(9)]
    text = compose(notification(*alerts), STYLE, NOW, "SMS 10 of 10 this hour, the next ones go by mail.")
    assert "SMS 10 of 10 this hour, the next ones go by mail." in text
    assert "Ack: " in text
    assert segments(text) == 2


@pytest.mark.parametrize("summary", ["節點停機" * 40, "Узел недоступен " * 20, "x" * 2000])
def test_a_long_text_is_cut_and_keeps_a_link(summary):
    text = compose(notification(alert(summary=summary)), STYLE, NOW)
    assert segments(text) <= 2
    assert "...\nAck: https://monitoring.example.org/" in text
    assert "DaskSchedulerDown: " + summary[:5] in text


def test_another_script_gets_the_shorter_link():
    text = compose(notification(alert(summary="節點停機" * 40)), STYLE, NOW)
    assert text.endswith("Ack: https://monitoring.example.org/d/cluster-ai-alerts")


def test_accents_do_not_cost_the_long_alphabet():
    text = compose(notification(alert(summary="A máquina não responde há 25 s — está em pane")), STYLE, NOW)
    assert is_gsm7(text)
    assert "A maquina nao responde ha 25 s - esta em pane" in text


@given(
    alerts=st.lists(st.tuples(TEXT, HOSTILE), min_size=1, max_size=5),
    notice=st.sampled_from(["", "SMS 10 of 10 this hour, the next ones go by mail."]),
    status=st.sampled_from(["firing", "resolved"]),
    truncated=st.integers(0, 2000),
)
def test_every_text_fits_and_says_what_it_must(alerts, notice, status, truncated):
    """Never more than two segments as Twilio counts them, never a torn character, never a number that is wrong."""
    made = [alert("DaskWorkerLost", summary, status=status, worker=worker) for summary, worker in alerts]
    text = compose(notification(*made, truncatedAlerts=truncated), STYLE, NOW, notice)
    assert segments(text) <= 2
    text.encode("utf-16")
    assert text.startswith(status.upper())
    assert notice in text
    assert "DaskWorkerLost" in text
    assert ("Ack: https://monitoring.example.org/" in text) == (status == "firing")
    more = re.search(r"\+(\d+) more", text)
    shown = len(made) + truncated - (int(more[1]) if more else 0)
    assert 1 <= shown <= len(made)


@given(value=st.one_of(TEXT, HOSTILE).filter(bool))
def test_the_link_holds_any_label_whole(value):
    """What Grafana's parser reads from the link is the label itself."""
    told = notification(groupLabels={"target": value})
    query = parse_qs(urlsplit(silence_form(told, told.alerts, STYLE.grafana)).query, keep_blank_values=True)
    assert query["alertmanager"] == ["Alertmanager"]
    assert query["comment"] == ["ACK"]
    name, given_value = query["matcher"][1].split("=", 1)
    assert name == "target"
    assert (json.loads(given_value) if given_value.startswith('"') else given_value) == value


def test_a_name_brings_no_line_and_no_link_of_its_own():
    """Whoever names a worker could otherwise put a link of theirs where people look for the one to tap."""
    name = "w1\nAck: HTTPS://evil.example/login"
    text = compose(notification(alert("WorkerLost", f"Worker {name} was lost", worker=name, host=name)), STYLE, NOW)
    assert text.count("\nAck: ") == 1
    assert re.findall(r"(?i)https?://[^/ ]+", text) == ["https://monitoring.example.org"]
    assert "w1 Ack: HTTPS:evil.example/login" in text


def test_addresses_of_dask_are_no_links():
    assert "(main, tcp://10.0.0.9:3)" in compose(notification(alert("X", "", worker="tcp://10.0.0.9:3")), STYLE, NOW)


def test_ten_thousand_alerts_with_long_names_take_no_time():
    alerts = [alert("WorkerLost", f"Worker {n} {'ы' * 180} was lost", worker=f"{n}") for n in range(10_000)]
    posted = notification(*alerts)
    began = time.process_time()
    assert "\n+9999 more\n" in compose(posted, STYLE, NOW)
    assert time.process_time() - began < 0.4


def test_an_alert_with_an_odd_name_is_silenced_alone():
    link = silence_form(notification(), Notification.model_validate(post(alert(".*"), alert("b"))).alerts, "https://g")
    assert "alertname=~\\.\\*|b" in parse_qs(urlsplit(link).query)["matcher"]
