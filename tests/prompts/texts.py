"""Prompts for property tests: what the hosts' grammar knows, nested, with escapes."""

from __future__ import annotations

from hypothesis import strategies as st

PLAIN = ("a", "red house", " ", "\n", "\\[", "\\]", "\\:", "\\|", "e, f", "0.5", "\\\\", "refiner", "<x>")
NUMBERS = ("0.5", "3", ".25", "1.", "-2", "+.5", "1e1", "0.30", " 0.5 ", "12 ", "\n4")

whens = st.sampled_from(NUMBERS)


def _longer(prompts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(prompts, max_size=2).map("".join)


def well_formed(whens: st.SearchStrategy[str] = whens) -> st.SearchStrategy[str]:
    """Prompts in which every bracket, colon and bar has its place."""

    def around(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        prompt = _longer(inner)
        return st.one_of(
            st.builds("[{}:{}:{}]".format, prompt, prompt, whens),
            st.builds("[{}:{}]".format, prompt, whens),
            st.lists(prompt, min_size=2, max_size=3).map(lambda parts: f"[{'|'.join(parts)}]"),
            st.builds("({})".format, prompt),
            st.builds("({}:1.2)".format, prompt),
            st.builds("[{}]".format, prompt),
        )

    return st.lists(st.recursive(st.sampled_from(PLAIN), around, max_leaves=6), max_size=3).map("".join)
