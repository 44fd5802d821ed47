"""adapters.plot: the SVG to the letter, and that it is well formed."""

from xml.etree import ElementTree

import numpy as np

from ia3_speech.adapters.plot import draw_vectors
from ia3_speech.adapters.weights import Vector

VECTORS = [
    Vector("a", "key", 0, np.linspace(0.5, 1.5, 101, dtype=np.float32)),
    Vector("b", "ffn", 1, np.full(4, 1.2, np.float32)),
    Vector("c", "else", None, np.full(4, 9.0, np.float32)),
]

PICTURE = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 512 140" width="512" height="140" \
font-family="sans-serif" font-size="12" fill="#222222" role="img">
<title>a &lt;b&gt;</title>
<rect width="512" height="140" fill="white"/>
<text x="64.0" y="20.0" text-anchor="start" font-size="14" fill="#222222">a &lt;b&gt;</text>
<text x="54.0" y="54.0" text-anchor="end" font-size="12" fill="#222222">layer</text>
<text x="54.0" y="77.0" text-anchor="end" font-size="12" fill="#222222">1</text>
<text x="54.0" y="95.0" text-anchor="end" font-size="12" fill="#222222">0</text>
<text x="164.0" y="54.0" text-anchor="middle" font-size="12" fill="#222222">key</text>
<line x1="164.0" y1="64.0" x2="164.0" y2="100.0" stroke="#bbbbbb" stroke-width="1"/>
<line x1="64.0" y1="100.0" x2="264.0" y2="100.0" stroke="#bbbbbb" stroke-width="1"/>
<text x="64.0" y="116.0" text-anchor="start" font-size="12" fill="#222222">0.5</text>
<text x="164.0" y="116.0" text-anchor="middle" font-size="12" fill="#222222">1.0</text>
<text x="264.0" y="116.0" text-anchor="end" font-size="12" fill="#222222">1.5</text>
<text x="64.0" y="132.0" text-anchor="start" font-size="12" fill="#2166ac">inhibits</text>
<text x="264.0" y="132.0" text-anchor="end" font-size="12" fill="#b2182b">amplifies</text>
<g><title>layer 0, key: 5, 25, 50, 75 and 95 % lie below 0.550, 0.750, 1.000, 1.250, 1.450</title>
<line x1="74.0" y1="91.0" x2="164.0" y2="91.0" stroke="#2166ac" stroke-width="1"/>
<line x1="164.0" y1="91.0" x2="254.0" y2="91.0" stroke="#b2182b" stroke-width="1"/>
<line x1="114.0" y1="91.0" x2="164.0" y2="91.0" stroke="#2166ac" stroke-width="8"/>
<line x1="164.0" y1="91.0" x2="214.0" y2="91.0" stroke="#b2182b" stroke-width="8"/>
<line x1="164.0" y1="85.0" x2="164.0" y2="97.0" stroke="#222222" stroke-width="2"/>
</g>
<text x="388.0" y="54.0" text-anchor="middle" font-size="12" fill="#222222">ffn</text>
<line x1="388.0" y1="64.0" x2="388.0" y2="100.0" stroke="#bbbbbb" stroke-width="1"/>
<line x1="288.0" y1="100.0" x2="488.0" y2="100.0" stroke="#bbbbbb" stroke-width="1"/>
<text x="288.0" y="116.0" text-anchor="start" font-size="12" fill="#222222">0.5</text>
<text x="388.0" y="116.0" text-anchor="middle" font-size="12" fill="#222222">1.0</text>
<text x="488.0" y="116.0" text-anchor="end" font-size="12" fill="#222222">1.5</text>
<text x="288.0" y="132.0" text-anchor="start" font-size="12" fill="#2166ac">inhibits</text>
<text x="488.0" y="132.0" text-anchor="end" font-size="12" fill="#b2182b">amplifies</text>
<g><title>layer 1, ffn: 5, 25, 50, 75 and 95 % lie below 1.200, 1.200, 1.200, 1.200, 1.200</title>
<line x1="428.0" y1="67.0" x2="428.0" y2="79.0" stroke="#222222" stroke-width="2"/>
</g>
</svg>
"""


def test_the_picture():
    assert draw_vectors(VECTORS, "a <b>") == PICTURE
    ElementTree.fromstring(PICTURE)


def test_of_nothing():
    """An adapter of a head alone, or of ones."""
    ElementTree.fromstring(draw_vectors([], "none"))
    ones = draw_vectors([Vector("a", "key", 0, np.ones(4, np.float32))], "ones")
    assert ">0.9</text>" in ones and ">1.1</text>" in ones
