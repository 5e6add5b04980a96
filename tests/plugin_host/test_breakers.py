"""When a breaker opens, for how long, and what lets it close."""

from __future__ import annotations

from datetime import timedelta

import pytest

from platform_core.contracts.runtime import FaultKind
from platform_core.kernel.clock import ManualClock
from platform_core.plugin_host.breakers import Breaker, Breakers, Opening, State, Ticket
from tests.plugin_host.stage import NOON, FakeBook

pytestmark = pytest.mark.unit
KEY = ("example.acme.risk", "check_payment")


def call(breaker: Breaker, *, is_fault: bool = False, is_slow: bool = False) -> str | None:
    ticket = breaker.admit()
    assert ticket is not None
    return breaker.record(ticket, is_fault=is_fault, is_slow=is_slow)


def opened(clock: ManualClock) -> Breaker:
    breaker = Breaker(clock)
    for _ in range(4):
        call(breaker, is_fault=True)
    assert call(breaker, is_fault=True) == "faults"
    return breaker


@pytest.mark.parametrize(("good", "state"), [(11, State.OPEN), (12, State.CLOSED)])
def test_five_faults_open_it_only_when_they_are_thirty_per_cent_of_the_calls(good: int, state: State) -> None:
    breaker = Breaker(ManualClock(NOON))
    for _ in range(good):
        call(breaker)
    for _ in range(5):
        call(breaker, is_fault=True)
    assert breaker.state is state  # 5 of 16 are 31 %, 5 of 17 are 29 %


def test_four_faults_of_four_do_not_open_it() -> None:
    breaker = Breaker(ManualClock(NOON))
    for _ in range(4):
        call(breaker, is_fault=True)
    assert breaker.state is State.CLOSED


def test_faults_older_than_a_minute_do_not_count() -> None:
    clock = ManualClock(NOON)
    breaker = Breaker(clock)
    for _ in range(4):
        call(breaker, is_fault=True)
    clock.advance(timedelta(seconds=60))
    call(breaker, is_fault=True)
    assert breaker.state is State.CLOSED
    clock.advance(timedelta(seconds=59))
    for _ in range(3):
        call(breaker, is_fault=True)
    assert breaker.state is State.CLOSED
    call(breaker, is_fault=True)
    assert breaker.state is State.OPEN


@pytest.mark.parametrize(("good", "state"), [(10, State.OPEN), (11, State.CLOSED)])
def test_twenty_calls_of_which_half_drag_open_it(good: int, state: State) -> None:
    breaker = Breaker(ManualClock(NOON))
    for _ in range(good):
        call(breaker)
    for _ in range(10):
        call(breaker, is_slow=True)
    assert breaker.state is state


def test_nineteen_slow_calls_do_not_open_it() -> None:
    breaker = Breaker(ManualClock(NOON))
    for _ in range(19):
        call(breaker, is_slow=True)
    assert breaker.state is State.CLOSED


def test_it_stays_open_for_two_minutes_and_then_tries_one_at_a_time() -> None:
    clock = ManualClock(NOON)
    breaker = opened(clock)
    clock.advance(timedelta(seconds=119.9))
    assert breaker.admit() is None
    clock.advance(timedelta(seconds=0.1))
    trial = breaker.admit()
    assert trial is not None
    assert trial.is_trial
    assert breaker.admit() is None
    breaker.record(trial, is_fault=False, is_slow=False)
    assert breaker.admit() is not None


def test_three_good_trials_close_it() -> None:
    clock = ManualClock(NOON)
    breaker = opened(clock)
    clock.advance(timedelta(seconds=120))
    for _ in range(2):
        call(breaker)
        assert breaker.state is State.HALF_OPEN
    call(breaker)
    assert breaker.state is State.CLOSED
    for _ in range(4):
        call(breaker, is_fault=True)
    assert breaker.state is State.CLOSED


def test_each_bad_trial_doubles_the_time_up_to_a_quarter_of_an_hour_and_it_is_never_off_for_good() -> None:
    clock = ManualClock(NOON)
    breaker = opened(clock)
    lengths = []
    for _ in range(5):
        clock.advance(timedelta(seconds=breaker.open_s))
        assert call(breaker, is_fault=True) == "trial"
        lengths.append(breaker.open_s)
    assert lengths == [240, 480, 900, 900, 900]
    clock.advance(timedelta(seconds=900))
    assert breaker.admit() is not None


def test_a_slow_trial_is_a_bad_one() -> None:
    clock = ManualClock(NOON)
    breaker = opened(clock)
    clock.advance(timedelta(seconds=120))
    assert call(breaker, is_slow=True) == "trial"


def test_calls_from_before_the_opening_say_nothing_about_a_trial() -> None:
    clock = ManualClock(NOON)
    breaker = Breaker(clock)
    early = [breaker.admit() for _ in range(5)]
    for _ in range(5):
        call(breaker, is_fault=True)
    clock.advance(timedelta(seconds=120))
    trial = breaker.admit()
    assert trial is not None
    for ticket in early:
        assert ticket is not None
        assert breaker.record(ticket, is_fault=True, is_slow=True) is None
    assert breaker.state is State.HALF_OPEN
    breaker.record(trial, is_fault=False, is_slow=False)


def test_a_trial_that_was_given_up_makes_room_for_the_next() -> None:
    clock = ManualClock(NOON)
    breaker = opened(clock)
    clock.advance(timedelta(seconds=120))
    trial = breaker.admit()
    assert trial is not None
    breaker.abandon(trial)
    assert breaker.state is State.HALF_OPEN
    assert breaker.admit() is not None


def record(breakers: Breakers, ticket: Ticket, fault: FaultKind | None, *, share: float = 0.1) -> None:
    breakers.record(KEY, ticket, version="1.0.0", fault=fault, share=share)


def test_an_opening_is_announced_to_everybody_once() -> None:
    clock, book = ManualClock(NOON), FakeBook()
    breakers = Breakers(clock, book)
    for _ in range(5):
        ticket = breakers.of(*KEY).admit()
        assert ticket is not None
        record(breakers, ticket, FaultKind.DIED)
    assert book.openings == [
        Opening(
            plugin_id=KEY[0],
            hook=KEY[1],
            version="1.0.0",
            why="faults",
            until=NOON + timedelta(seconds=120),
            open_s=120,
        )
    ]


@pytest.mark.parametrize("kind", [FaultKind.SATURATED, FaultKind.UNAVAILABLE, FaultKind.NOT_CONFINED])
def test_faults_of_the_machine_or_of_the_load_do_not_count(kind: FaultKind) -> None:
    book = FakeBook()
    breakers = Breakers(ManualClock(NOON), book)
    for _ in range(30):
        ticket = breakers.of(*KEY).admit()
        assert ticket is not None
        record(breakers, ticket, kind, share=1.0)
    assert book.openings == []
    assert breakers.states() == {KEY: State.CLOSED}


def test_eighty_per_cent_of_the_deadline_is_not_slow_yet() -> None:
    for share, state in ((0.80, State.CLOSED), (0.81, State.OPEN)):
        breakers = Breakers(ManualClock(NOON), FakeBook())
        for _ in range(20):
            ticket = breakers.of(*KEY).admit()
            assert ticket is not None
            record(breakers, ticket, None, share=share)
        assert breakers.of(*KEY).state is state


def opening(seconds: float, *, open_s: int) -> Opening:
    until = NOON + timedelta(seconds=seconds)
    return Opening(plugin_id=KEY[0], hook=KEY[1], version="1.0.0", why="faults", until=until, open_s=open_s)


def test_what_another_process_announced_opens_it_here_and_hearing_it_twice_changes_nothing() -> None:
    clock, book = ManualClock(NOON), FakeBook()
    breakers = Breakers(clock, book)
    for _ in range(2):
        breakers.heard(opening(100, open_s=240))
    breaker = breakers.of(*KEY)
    assert breaker.admit() is None
    clock.advance(timedelta(seconds=100))
    assert call(breaker, is_fault=True) == "trial"
    assert breaker.open_s == 480
    assert book.openings == []


def test_old_news_and_shorter_ones_change_nothing() -> None:
    clock = ManualClock(NOON)
    breakers = Breakers(clock, FakeBook())
    breakers.heard(opening(-1, open_s=120))
    assert breakers.of(*KEY).state is State.CLOSED
    breakers.heard(opening(200, open_s=240))
    breakers.heard(opening(50, open_s=120))
    clock.advance(timedelta(seconds=199))
    assert breakers.of(*KEY).admit() is None
