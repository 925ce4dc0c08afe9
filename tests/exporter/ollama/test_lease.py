"""The books on one model's expiry, where the probe's tests do not already hold them."""

from __future__ import annotations

import pytest

from exporter.collectors.ollama_lease import Lease


def test_first_look_assumes_no_less_than_ollamas_own_keep_alive() -> None:
    lease = Lease()
    lease.saw(1000, 1100, None)
    lease.used(100, 1100, 1100.5, 1000.5)
    lease.saw(1010, 1105, 1008)  # a client ended at 1005 and inherited our 100 s
    assert lease.owes(1010) is None, "1005 is before the last look: the keep-alive is the client's own"
    lease = Lease()
    lease.saw(1000, 1100, None)
    lease.used(100, 1100, 1100.5, 1000.5)
    lease.saw(1010, 1105, 1004)
    assert lease.owes(1010) == pytest.approx(1005 + 300 - 1010)


def test_a_keep_alive_seen_between_two_looks_is_taken_as_a_round_one() -> None:
    lease = Lease()
    lease.saw(1000, 1597.4, 995)  # between 597.4 and 602.4: ten minutes
    lease.used(500, 1597.4, 1590, 1090)
    lease.saw(1200, 1698, 1195)  # ended at 1198
    assert lease.owes(1200) == pytest.approx(1198 + 600 - 1200)


def test_a_model_that_goes_in_a_moment_is_not_touched() -> None:
    lease = Lease()
    lease.saw(1000, 1100, None)
    lease.used(50, 1100, 1050, 1000)
    assert lease.owes(1000) == 100
    assert lease.owes(1049) is None, "it may be gone before our request arrives, which would load it"
    assert lease.owes(1099) is None


def test_an_expiry_that_becomes_unknown_owes_nothing() -> None:
    lease = Lease()
    lease.saw(1000, 1100, None)
    lease.used(50, 1100, 1050, 1000)
    lease.saw(1005, None, 1000)
    assert (lease.owes(1005), lease.left(1005), lease.forever) == (None, None, False)


def test_for_ever_and_back() -> None:
    lease = Lease()
    lease.saw(1000, 1000 + 292 * 365 * 86400.0, 995)
    assert lease.forever
    assert lease.left(1000) is None
    lease.saw(1010, 1310, 1005)
    assert not lease.forever
    assert lease.left(1010) == 300
