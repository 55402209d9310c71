"""Words that a text index can leave out, by language.

English is listed here, function words only: the package that knows the other languages counts "world", "system" and a
thousand more English words among them, and a text of those would never be found.
"""

from __future__ import annotations

from typing import Final

import stop_words  # type: ignore[import-untyped]

from vdb.errors import BadRequest

_ENGLISH: Final = frozenset(
    """
a about above after again against all am an and any are as at be because been before being below between both but by can
did do does doing don down during each few for from further had has have having he her here hers herself him himself his
how i if in into is it its itself just ll me more most my myself no nor not now of off on once only or other our ours
ourselves out over own re s same she should so some such t than that the their theirs them themselves then there these
they this those through to too under until up ve very was we were what when where which while who whom why will with you
your yours yourself yourselves
""".split()  # noqa: SIM905
)


def language_stopwords(language: str) -> list[str]:
    """The stopwords of a language in lower case; raises BadRequest where there is no list."""
    if language == "english":
        return sorted(_ENGLISH)
    try:
        return list(stop_words.get_stop_words(language))
    except stop_words.StopWordError:
        raise BadRequest(f"stopwords: there is no list for `{language}`, give its words as `custom`") from None
