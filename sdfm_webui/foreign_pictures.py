"""Pictures that another extension adds to a job from another machine: warnings if they lack the job's settings, or don't come.

Such an extension makes a job's batch smaller before it begins, adds pictures, and puts the parameters that came with them
in place of those that this WebUI had written for them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from lib_sdfm.errors import UserError
from lib_sdfm.schema.grammar import parse_infotext
from lib_sdfm.schema.infotext import FORMAT_KEY, found_keys, our_keys
from lib_sdfm.schema.originals import OldEntry
from lib_sdfm.schema.payload import resolve_job
from lib_sdfm.schema.request import OWN_VERSION
from lib_sdfm.schema.settings import Schema, Settings

from .axes import axes_of_job

LOG = logging.getLogger("sdfm")
ASKED, LOCAL = "sdfm_pictures_asked", "sdfm_pictures_local"
"""Attributes of a processing object: the number of pictures before extensions shared the job, and of those made here.

They are numbers, since such extensions send a job's attributes as JSON.
"""
Pairs = Mapping[str, str]


def note_asked(p: Any) -> None:
    """Note how many pictures a job is asked for, before any are given to other machines."""
    setattr(p, ASKED, p.batch_size * p.n_iter)
    setattr(p, LOCAL, 0)


def note_local(p: Any) -> None:
    """Note how many pictures this WebUI makes itself; it isn't called if it makes none."""
    setattr(p, LOCAL, p.batch_size * p.n_iter)


def watch_pictures(
    schema: Schema,
    p: Any,
    args: Sequence[Any],
    old_payloads: Sequence[tuple[OldEntry, Sequence[Any]]],
    processed: Any,
    interrupted: bool,
) -> None:
    """Warn of pictures of a finished job that were made elsewhere without its settings, and of those that are missing.

    The parameters of pictures made elsewhere may be put in their places later, by extensions that are called after us.

    :param args: the job's arguments of our title
    :param old_payloads: its arguments for the originals' titles
    :param processed: the host's result
    :param interrupted: true if the user has stopped the job
    """
    local, asked = getattr(p, LOCAL, 0), getattr(p, ASKED, 0)
    try:
        settings = resolve_job(schema, args, old_payloads, axes_of_job(p)).settings
    except UserError:
        return
    if local and not processed.images:  # the job has failed
        return
    first, texts, tell = getattr(processed, "index_of_first_image", 0), processed.infotexts, _teller(processed)
    usual = texts[first + local - 1] if 0 < local <= len(texts) - first else ""
    is_used = bool(settings.techniques) or FORMAT_KEY in parse_infotext(usual)  # or the checkpoint's kind is remembered
    if is_used and len(texts) - first > local:
        look = _Look(schema, settings, usual, tell)
        for text in texts[first + local :]:
            look("", text)
        processed.infotexts = WatchedTexts(texts, look)
    made = min(len(texts), len(processed.images)) - first
    if settings.techniques and max(local, made) < asked and not interrupted:
        tell(
            f"{asked - made} of {asked} pictures are missing. Another extension gave them to other machines; if one of these "
            "refused SDFM's settings, its reason is in the log, as an answer with status 422"
        )


class WatchedTexts(list):
    """The parameters of a job's pictures; what another extension puts in a place is looked at.

    :param look: called with a place's old text, empty if there is none, and the new one
    """

    def __init__(self, texts: Iterable[str], look: Callable[[str, Any], None]) -> None:
        super().__init__(texts)
        self._look = look

    def __setitem__(self, place: Any, text: Any) -> None:
        if isinstance(place, int):
            self._look(self[place] if place < len(self) else "", text)
        super().__setitem__(place, text)


class _Look:
    """Compares the parameters of pictures made elsewhere with the job's, and tells each difference once.

    :param usual: parameters of a picture made here, empty if there is none
    """

    def __init__(self, schema: Schema, settings: Settings, usual: str, tell: Callable[[str], None]) -> None:
        self._schema, self._usual, self._tell = schema, usual, tell
        self._names = {t.active_key: t.label for t in schema.techniques}
        self._keys = our_keys(schema) - found_keys(schema)
        self._asked = [t.active_key for t in schema.chosen(settings) if t.recorded()]
        self._told: set[tuple[str, ...]] = set()

    def __call__(self, before: str, after: Any) -> None:
        """Compare a picture's parameters with those that this WebUI had written for it."""
        made = parse_infotext(after) if isinstance(after, str) else {}
        if not made:
            return
        written = parse_infotext(before or self._usual)
        wanted = self._ours(written) if written else {key: made.get(key, "") for key in self._asked}  # there or not
        differences = self._differences(wanted, self._ours(made), is_whole=bool(written))
        others = [f"{key}: {value}" for key, value in made.items() if written and key not in written and key not in self._keys]
        if differences and (*others, *differences) not in self._told:
            self._told.add((*others, *differences))
            self._tell(self._message(made, others, differences))

    def _ours(self, pairs: Pairs) -> dict[str, str]:
        return {key: value for key, value in pairs.items() if key in self._keys}

    def _differences(self, wanted: Pairs, made: Pairs, is_whole: bool) -> list[str]:
        """Return the differences in words.

        :param is_whole: false if ``wanted`` holds only some of the keys
        """
        found = [f"no {self._names[key]}" for key in wanted if key in self._names and key not in made]
        found += [f"{key} {made[key]} instead of {value}" for key, value in wanted.items() if made.get(key, value) != value]
        found += [f"no {key}" for key in wanted if FORMAT_KEY in made and key not in made and key not in self._names]
        return found + [f"{key} {value}" for key, value in made.items() if is_whole and key not in wanted]

    def _message(self, made: Pairs, others: list[str], differences: list[str]) -> str:
        source = ", ".join([f"seed {made.get('Seed', 'unknown')}", *others])
        how = "with other settings" if FORMAT_KEY in made else "without SDFM"
        return (
            f"a picture of this job ({source}) was made by another WebUI {how}: {', '.join(differences)}. Each machine needs "
            f"SDFM {OWN_VERSION} and the same remembered model kinds. A file of this picture saved here names settings that it "
            "was not made with"
        )


def _teller(processed: Any) -> Callable[[str], None]:
    """Return a function that shows a line as a comment of a finished job, and logs it."""

    def tell(line: str) -> None:
        processed.comments = f"{processed.comments}SDFM: {line}\n"
        LOG.warning("SDFM: %s", line)

    return tell
