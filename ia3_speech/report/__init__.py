"""One HTML page that a person wants to look at: what two systems heard, what it cost, what was learned.

    python -m ia3_speech.report data/test DECODE_DIR [--baseline DECODE_DIR2] [--out report.html]

In: a scored decode directory, and what lies beside it. Out: a file that opens from anywhere, without network
and without a library. It computes no rate of its own: every number is read off what score, train and the
recipes wrote.

`contents` finds and reads; `page` puts the sections together, which are `tables`, `labels` (bars), `curves`,
`vectors` and the utterances of page.js; `drawings` are SVG, `markup` is what escapes, `sound` the players.
"""

from ia3_speech.report.contents import Contents, Places, find, gather
from ia3_speech.report.page import make_page
from ia3_speech.report.sound import embedded, linked

__all__ = ["Contents", "Places", "embedded", "find", "gather", "linked", "make_page"]
