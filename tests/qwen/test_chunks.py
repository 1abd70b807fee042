"""Which chunks the codec decodes together, in which sizes and order."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.engine.base import CHUNK_RAMP, FRAME_S
from worker.engine.qwen.chunks import LOW_LEAD_S, ChunkBacklog, Group, Schedule

WIDEST = len(CHUNK_RAMP)  # chunks given by a slot that is past the ramp

backlogs_strategy = st.lists(
    st.builds(
        ChunkBacklog,
        slot=st.integers(0, 15),
        n_pending=st.integers(0, 40),
        n_codec_calls=st.integers(0, 7),
        has_ended=st.booleans(),
        lead_s=st.floats(-2, 20),
    ),
    max_size=12,
    unique_by=lambda backlog: backlog.slot,
).map(lambda backlogs: [replace(backlog, lead_s=inf) if backlog.is_first else backlog for backlog in backlogs])
ramps = st.sampled_from([CHUNK_RAMP, (1,), (25,), (4,), (3, 7), (2, 50)])


def bulk(slot: int, n_pending: int, lead_s: float = 5.0) -> ChunkBacklog:
    return ChunkBacklog(slot, n_pending, WIDEST, lead_s=lead_s)


def decoded(groups: list[Group]) -> dict[int, list[int]]:
    """The chunks of every slot, in order."""
    chunks: dict[int, list[int]] = {}
    for group in groups:
        for slot in group.slots:
            chunks.setdefault(slot, []).append(group.n_frames)
    return chunks


def spoken(schedule: Schedule, n_frames: int) -> list[int]:
    """The chunks of one segment alone, planned after each of its frames, while playback is far away."""
    chunks: list[int] = []
    for n_generated in range(1, n_frames + 1):
        backlog = ChunkBacklog(
            0, n_generated - sum(chunks), len(chunks), n_generated == n_frames, 9.0 if chunks else inf
        )
        chunks += decoded(schedule.plan([backlog])).get(0, [])
    return chunks


def test_the_chunks_of_a_segment_alone_follow_the_ramp_and_its_rest_is_split() -> None:
    assert spoken(Schedule(), 42) == [1, 2, 4, 8, 12, 12, 2, 1]


@pytest.mark.parametrize("n_frames", [1, 2, 24, 25, 26, 63])
def test_an_exact_schedule_is_kept_to_the_frame(n_frames: int) -> None:
    assert spoken(Schedule((1,), is_exact=True), n_frames) == [1] * n_frames
    whole, rest = divmod(n_frames, 25)
    chunks = spoken(Schedule((25,), is_exact=True), n_frames)
    assert chunks[:whole] == [25] * whole
    assert sum(chunks[whole:]) == rest
    assert spoken(Schedule(CHUNK_RAMP, is_exact=True), 42) == [1, 2, 4, 8, 12, 12, 2, 1]


def test_exact_slots_share_a_call_only_when_both_are_to_have_that_chunk() -> None:
    backlogs = [
        ChunkBacklog(0, 4, 2, lead_s=1),
        ChunkBacklog(1, 9, 2, lead_s=2),
        ChunkBacklog(2, 12, 3, lead_s=3),
        ChunkBacklog(3, 3, 2, lead_s=-9),
    ]
    assert Schedule(is_exact=True).plan(backlogs) == [Group(4, (0, 1)), Group(8, (2,))]


def test_first_audio_goes_first_and_then_whoever_is_nearest_to_an_underrun() -> None:
    backlogs = [
        bulk(0, 12, lead_s=3.0),
        ChunkBacklog(1, 4, 2, lead_s=0.2),
        bulk(2, 1, lead_s=0.01),
        ChunkBacklog(3, 1, 0),
    ]
    assert Schedule().plan(backlogs) == [Group(1, (2, 3)), Group(4, (1,)), Group(12, (0,))]


def test_the_first_chunk_is_short_however_much_is_pending() -> None:
    assert Schedule().plan([ChunkBacklog(0, 30, 0)]) == [Group(1, (0,))]


def test_a_due_slot_takes_a_shorter_chunk_when_more_frames_are_decoded_together() -> None:
    backlogs = [bulk(slot, 12 - slot) for slot in range(8)]  # 12, 11, …, 5: eight frames of five slots are the most
    assert Schedule().plan(backlogs) == [Group(8, (0, 1, 2, 3, 4))]


def test_no_slot_is_held_to_short_chunks_by_the_first_audio_of_another() -> None:
    backlogs = [ChunkBacklog(0, 1, 0), bulk(1, 12), bulk(2, 11)]
    assert Schedule().plan(backlogs) == [Group(1, (0,)), Group(8, (1, 2))]


def test_slots_wait_while_they_have_less_than_their_chunk() -> None:
    assert (
        Schedule().plan(
            [bulk(0, 11), ChunkBacklog(1, 3, 2, lead_s=1.0), ChunkBacklog(2, 0, 0), bulk(3, 0, lead_s=-1.0)]
        )
        == []
    )


def test_a_slot_close_to_an_underrun_does_not_wait() -> None:
    assert Schedule().plan([bulk(0, 5, LOW_LEAD_S - 0.001)]) == [Group(4, (0,))]
    assert Schedule().plan([bulk(0, 5, LOW_LEAD_S)]) == []


def test_an_ended_slot_is_drained_in_one_plan_and_shares_calls() -> None:
    backlogs = [ChunkBacklog(0, 15, 4, has_ended=True, lead_s=1.0), ChunkBacklog(1, 3, 4, has_ended=True, lead_s=2.0)]
    assert Schedule().plan(backlogs) == [Group(12, (0,)), Group(2, (0, 1)), Group(1, (0, 1))]


@pytest.mark.parametrize("ramp", [(), (0,), (4, -1)])
def test_a_ramp_without_frames_is_refused(ramp: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least 1 frame"):
        Schedule(ramp)


@given(backlogs_strategy, ramps, st.booleans())
def test_every_plan_keeps_the_rules(backlogs: list[ChunkBacklog], ramp: tuple[int, ...], exact: bool) -> None:
    schedule = Schedule(ramp, exact)
    groups = schedule.plan(backlogs)
    chunks = decoded(groups)
    by_slot = {backlog.slot: backlog for backlog in backlogs}
    assert all(group.n_frames in schedule.sizes for group in groups)
    assert all(group.slots and len(set(group.slots)) == len(group.slots) for group in groups)
    for slot, given_now in chunks.items():
        backlog = by_slot[slot]
        assert sum(given_now) <= backlog.n_pending
        assert backlog.has_ended or len(given_now) == 1
    for backlog in backlogs:
        if backlog.has_ended:
            assert sum(chunks.get(backlog.slot, [])) == backlog.n_pending
        is_late = not exact and not backlog.is_first and backlog.n_pending > 0 and backlog.lead_s < LOW_LEAD_S
        if is_late or backlog.n_pending >= max(ramp):
            assert backlog.slot in chunks


@given(backlogs_strategy, ramps, st.booleans())
def test_no_other_sound_comes_before_first_audio(
    backlogs: list[ChunkBacklog], ramp: tuple[int, ...], exact: bool
) -> None:
    groups = Schedule(ramp, exact).plan(backlogs)
    unheard = {backlog.slot for backlog in backlogs if backlog.is_first} & decoded(groups).keys()
    for group in groups:
        assert not unheard or unheard.intersection(group.slots)
        unheard.difference_update(group.slots)


@given(backlogs_strategy)
def test_an_exact_slot_gets_the_ramps_chunks_while_it_goes_on(backlogs: list[ChunkBacklog]) -> None:
    chunks = decoded(Schedule(is_exact=True).plan(backlogs))
    for backlog in backlogs:
        step = CHUNK_RAMP[min(backlog.n_codec_calls, len(CHUNK_RAMP) - 1)]
        if not backlog.has_ended:
            assert chunks.get(backlog.slot, []) == ([step] if backlog.n_pending >= step else [])


@given(backlogs_strategy, st.randoms(use_true_random=False))
def test_a_plan_does_not_depend_on_the_order_of_the_slots(backlogs: list[ChunkBacklog], random: object) -> None:
    shuffled = list(backlogs)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert Schedule().plan(shuffled) == Schedule().plan(backlogs)


def test_a_slot_spoken_faster_than_it_is_heard_reaches_the_widest_chunks_without_an_underrun() -> None:
    schedule, step_s = Schedule(), 0.02
    given_frames, n_codec_calls, pending, sizes = 0, 0, 0, []
    started_s = None
    for step in range(1, 200):
        pending += 1
        now_s = step * step_s
        lead_s = inf if started_s is None else given_frames * FRAME_S - (now_s - started_s)
        assert lead_s > 0
        for size in decoded(schedule.plan([ChunkBacklog(0, pending, n_codec_calls, lead_s=lead_s)])).get(0, []):
            started_s = now_s if started_s is None else started_s
            given_frames, n_codec_calls, pending = given_frames + size, n_codec_calls + 1, pending - size
            sizes.append(size)
    assert sizes[:3] == [1, 2, 4]
    assert set(sizes[5:]) == {12}
