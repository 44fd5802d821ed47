"""spec: what a user types for an adapter is parsed once; an exact name or path wins, errors give a hint."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ia3_speech.adapters import registry
from ia3_speech.adapters.record import write_record
from ia3_speech.adapters.registry import register
from ia3_speech.adapters.spec import BASE_ALONE, parse_adapter, parse_sum
from ia3_speech.common.errors import AdapterError, UserError


@pytest.fixture
def registered(adapter, tmp_path, monkeypatch):
    """accent, medical and en-gb registered; the working directory is empty."""
    for name in ("accent", "medical", "en-gb"):
        register(adapter(folder=f"made/{name}"), name)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


def read(expression) -> list[tuple[str, float]]:
    return [(term.name, term.weight) for term in parse_sum(expression).terms]


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("accent", [("accent", 1)]),
        ("accent:0.7+medical:0.5", [("accent", 0.7), ("medical", 0.5)]),
        ("medical+en-gb:-1", [("medical", 1), ("en-gb", -1)]),
        ("accent:1e+2+medical:1e-2", [("accent", 100), ("medical", 0.01)]),
        (" accent : 0.7 + medical ", [("accent", 0.7), ("medical", 1)]),
        ("accent+accent", [("accent", 1), ("accent", 1)]),
    ],
)
def test_sums(registered, expression, found):
    assert read(expression) == found
    assert [term.folder for term in parse_sum(expression).terms] == [
        registry.adapters_dir() / name for name, _ in found
    ]


def test_an_exact_name_wins_over_arithmetic(registered, adapter):
    """PEFT's fault 6: its add_weighted_adapter under an existing name does nothing, and says nothing."""
    both = register(adapter(), "accent+medical")
    assert [term.folder for term in parse_sum("accent+medical").terms] == [both]
    assert read("accent+medical:0.5") == [("accent+medical", 0.5)]
    assert read("en-gb:2+accent+medical") == [("en-gb", 2), ("accent+medical", 1)]  # the longest name wins
    assert read("medical+accent") == [("medical", 1), ("accent", 1)]


def test_paths_are_terms_and_may_hold_anything(registered, adapter, tmp_path):
    odd, plain = adapter(folder="a+b:0.5"), adapter(folder="exp/x/adapter")
    assert parse_sum(odd).folders == parse_sum(str(odd)).folders == [odd]
    assert read(f"{odd}:0.3+accent") == [(str(odd), 0.3), ("accent", 1)]
    assert read(f"accent:2+{odd}") == [("accent", 2), (str(odd), 1)]
    assert parse_sum(f"{tmp_path}/exp/x:-1+medical").folders[0] == plain
    adapter(folder="work/accent:2")
    assert read("accent:2") == [("accent:2", 1)]  # a folder here, and no longer a weight


NAMES = st.sampled_from(["accent", "medical", "en-gb"])


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(NAMES, st.floats(allow_nan=False, allow_infinity=False)), min_size=1, max_size=4))
def test_what_is_written_is_read_alike(registered, pairs):
    terms = parse_sum("+".join(f"{name}:{weight!r}" for name, weight in pairs))
    assert [(term.name, term.weight) for term in terms.terms] == pairs
    assert parse_sum(str(terms)) == terms


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("+accent", "a term has no name"),
        ("accent:0,7+medical", 'the weight of accent is "0,7"'),
        ("accent+medcal:0.5", "nearest names: medical"),
    ],
)
def test_errors_name_the_term(registered, expression, message):
    with pytest.raises(UserError) as caught:
        parse_sum(expression)
    assert message in str(caught.value)


def test_a_choice_and_the_base_that_is_needed(registered):
    every, two = parse_adapter("auto"), parse_adapter("auto:accent,medical")
    assert [term.name for term in every.terms] == ["accent", "en-gb", "medical"] and str(every) == "auto"
    assert (two.choice, str(two)) == ("auto", "auto:accent,medical")
    assert every.base() == BASE_ALONE.base() == "mini" and two.base("mine") == "mine"
    assert parse_adapter(two) is two and parse_adapter(None) == BASE_ALONE and {two: 1}[two]


def test_a_spec_changes_with_the_files_of_its_adapter(registered, adapter):
    before = parse_sum("accent")
    assert parse_sum("accent") == before and before.terms[0].record == {"schema": 1, "base": "mini"}
    register(adapter(2.0, "other"), "accent", force=True)
    assert parse_sum("accent") != before
    write_record(registry.adapters_dir() / "medical", {"schema": 1, "base": "mine"})
    assert parse_sum("medical").base() == "mine"


def test_a_damaged_record_is_an_error_where_it_is_needed(registered):
    (registry.adapters_dir() / "accent/ia3_speech.json").write_text('{"schema": 1, "base": ')
    assert len(parse_adapter("auto").terms) == 3 and parse_sum("accent").base("mini") == "mini"
    for use in (lambda spec: spec.base(), lambda spec: spec.terms[0].refuse_damage()):
        with pytest.raises(AdapterError, match="damaged"):
            use(parse_sum("accent"))
