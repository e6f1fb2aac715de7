"""The token layout and who may see whom. This is the one place that knows.

One timestep t, for two views of n tokens each:

      TEXT        STATE   IMAGE head              IMAGE wrist             ACTION
    +-----------+-------+-----+----+----+--+----+-----+----+----+--+----+------+
    | w1 ... wm |  s_t  | [>] | h1 | h2 |..| hn | [>] | u1 | u2 |..| un | [A]  |   then the same for t + 1, ...
    +-----------+-------+-----+----+----+--+----+-----+----+----+--+----+------+
     index 0..m     0      0    1    2       n     0    1    2       n     0

    [>] begins a frame: from it the first token of its own frame is predicted, from h1 the second, and so on.
    [A] is the action query: what comes out of it at t becomes the chunk that starts at t.
    Every token carries the timestep's embedding; those of a view also the view's, and those of the grid a 2-D position.

Who sees whom (row: who looks; "past" is every earlier timestep, without its action queries):

             past   TEXT   STATE   IMAGE of the same timestep    ACTION
    TEXT      x      x
    STATE     x      x       x
    IMAGE     x      x               index <= own, all views
    ACTION    x      x       x       all                         own timestep's

* A frame never sees the state of its own timestep: a frame is predicted before the state at its time is known.
* The views advance together: token i of every view sees tokens 0 ... i of all, so one pass generates one token of
  each view, and a single view is the same model with fewer keys.
* Nothing sees an action query of another timestep. So [A] costs later tokens nothing, may be left out (pre-training,
  imagination), and the action of t cannot depend on any token of t + 1.

Positions are added to the tokens, so the order of a sequence has no meaning of its own: tokens may be appended to a
cache in any order in which everybody comes after those that it sees.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor


class Kind(IntEnum):
    """What a token is."""

    TEXT = 0
    STATE = 1
    IMAGE = 2
    ACTION = 3


@dataclass(frozen=True)
class Slots:
    """The places of a sequence of tokens: (n,) int64 each, as in the picture above."""

    time: Tensor
    kind: Tensor
    view: Tensor
    index: Tensor

    def __len__(self) -> int:
        return len(self.time)

    def __getitem__(self, part: slice) -> Slots:
        return Slots(self.time[part], self.kind[part], self.view[part], self.index[part])

    def to(self, device: torch.device | str) -> Slots:
        """The same on another device."""
        return Slots(self.time.to(device), self.kind.to(device), self.view.to(device), self.index.to(device))

    @staticmethod
    def cat(parts: Iterable[Slots]) -> Slots:
        """One sequence after another."""
        parts = list(parts)
        return Slots(
            torch.cat([part.time for part in parts]),
            torch.cat([part.kind for part in parts]),
            torch.cat([part.view for part in parts]),
            torch.cat([part.index for part in parts]),
        )


@dataclass(frozen=True)
class Layout:
    """How many tokens of each kind a timestep has.

    Attributes:
        text: text tokens.
        views: cameras.
        grid: tokens of one image, without its beginning.
        state: 1 if the robot's state is there, else 0.
        actions: action queries.
    """

    text: int
    views: int
    grid: int
    state: int
    actions: int

    def text_slots(self, time: int) -> Slots:
        """Those of one timestep's instruction."""
        return self._run(time, Kind.TEXT, 0, self.text)

    def state_slots(self, time: int) -> Slots:
        """That of one timestep's state; none if the model has no state."""
        return self._run(time, Kind.STATE, 0, self.state)

    def image_slots(self, time: int) -> Slots:
        """Those of one timestep's frames, view after view, each with its beginning."""
        return Slots.cat(self._run(time, Kind.IMAGE, view, self.grid + 1) for view in range(self.views))

    def image_steps_slots(self, time: int, first: int, last: int) -> Slots:
        """Those of the tokens with indices first ... last - 1 of every view, in step: index by index, view by view."""
        run = self._run(time, Kind.IMAGE, 0, (last - first) * self.views)
        index = torch.arange(first, last, device="cpu").repeat_interleave(self.views)
        view = torch.arange(self.views, device="cpu").repeat(last - first)
        return Slots(run.time, run.kind, view, index)

    def action_slots(self, time: int) -> Slots:
        """Those of one timestep's action queries."""
        return self._run(time, Kind.ACTION, 0, self.actions)

    def observed_slots(self, time: int) -> Slots:
        """All of one timestep but the action queries, in the order of the picture."""
        return Slots.cat([self.text_slots(time), self.state_slots(time), self.image_slots(time)])

    def window_slots(self, timesteps: int) -> Slots:
        """Those of a whole window, in the order of the picture."""
        return Slots.cat(
            part for time in range(timesteps) for part in (self.observed_slots(time), self.action_slots(time))
        )

    @property
    def observed(self) -> int:
        """Tokens of a timestep without the action queries."""
        return self.text + self.state + self.views * (self.grid + 1)

    @property
    def timestep(self) -> int:
        """Tokens of a timestep."""
        return self.observed + self.actions

    @staticmethod
    def _run(time: int, kind: Kind, view: int, count: int, start: int = 0) -> Slots:
        def filled(value: int) -> Tensor:
            return torch.full((count,), value, dtype=torch.long, device="cpu")

        return Slots(filled(time), filled(kind), filled(view), torch.arange(start, start + count, device="cpu"))


def visible(queries: Slots, keys: Slots) -> Tensor:
    """Who may see whom: (queries, keys) bool, the table of the module's docstring."""

    def looks(kind: Kind) -> Tensor:
        return (queries.kind == kind)[:, None]

    def seen(kind: Kind) -> Tensor:
        return (keys.kind == kind)[None, :]

    past = keys.time[None, :] < queries.time[:, None]
    now = keys.time[None, :] == queries.time[:, None]
    reached = keys.index[None, :] <= queries.index[:, None]
    text, state, image, action = (seen(kind) for kind in Kind)
    same_timestep = (
        text
        | (state & (looks(Kind.STATE) | looks(Kind.ACTION)))
        | (image & (looks(Kind.ACTION) | (looks(Kind.IMAGE) & reached)))
        | (action & looks(Kind.ACTION))
    )
    return (past & ~action) | (now & same_timestep)
