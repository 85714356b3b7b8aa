"""Each entry of an answer gets one candidate, the right one, whatever form the answer has."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.prompts.answers import Reading, parse_identifiers, parse_ranking, parse_reasoned_ranking

FILMS = ["Heat", "Alien", "It", "Crouching Tiger, Hidden Dragon", "Rocky II", "Rocky III"]


def titles(text, films=FILMS, parse=parse_ranking):
    return [films[place] for place in parse(text, films).order]


@pytest.mark.parametrize(
    ("text", "films", "found"),
    [
        ("1. Alien Resurection\n2. Alien", ["Alien", "Alien Resurrection"], ["Alien Resurrection", "Alien"]),
        ("Alien Resurection - good\nAlien: good", ["Alien", "Alien Resurrection"], ["Alien Resurrection", "Alien"]),
        ("Star Wars\nStar Wars: Episode IV", ["Star Wars: Episode IV", "Star Wars: Episode V"], [0]),
        ("Heat\nHeat!", ["Heat!", "Heat"], ["Heat", "Heat!"]),
        ("I would watch Alien first\nHeat\nAlien", ["Alien", "Heat"], ["Heat", "Alien"]),
        ("Toy Story\nToy Story (1995)\nHeat", ["Toy Story (1995)", "Heat"], ["Toy Story (1995)", "Heat"]),
        ("1. Rocky III\n2. Rocky II", ["Rocky II", "Rocky III"], ["Rocky III", "Rocky II"]),
        ("1. Rocky IV\n2. Rocky II", ["Rocky II", "Rocky III"], ["Rocky II"]),
        ("The Godfather Part 3", ["The Godfather Part 2"], []),
        ("Heat (1996)", ["Heat (1995)"], ["Heat (1995)"]),
    ],
)
def test_the_surest_match_wins_wherever_it_stands(text, films, found):
    assert titles(text, films) == [films[one] if isinstance(one, int) else one for one in found]


def test_typos_are_assigned_so_that_all_together_fit_best():
    # Greedily, the first line takes "Sleepless Nightz", which it is as like as "Sleepless Nightx".
    films = ["Sleepless Nightz", "Sleepless Nightx"]
    assert titles("Sleepless Nighty\nSleepless Nightzy", films) == ["Sleepless Nightx", "Sleepless Nightz"]


def test_a_second_typo_of_one_title_is_a_duplicate():
    films = ["The Godfather", "Heat"]
    assert parse_ranking("The Godfahter\nThe Godfathre\nHeat", films) == Reading((0, 1), duplicates=1)


JSON = [
    '[{"title": "Alien", "rank": 2}, {"title": "Heat", "rank": 1}, {"title": "It", "rank": 3}]',
    '[{"title": "Heat", "reason": "like It"}, {"title": "Alien"}, {"title": "It"}]',
    '{"ranking": ["Heat", "Alien", "It"]}',
    '{"2": "Alien", "10": "It", "1": "Heat"}',
    '{"Alien": 2, "Heat": 1, "It": 3}',
    '{"rank": 1, "title": "Heat"}\n{"rank": 2, "title": "Alien"}\n{"rank": 3, "title": "It"}',
    '["1. Heat", "2. Alien", "3. It"]',
    'From ["It", "Heat", "Alien"] I choose, in order:\n["Heat", "Alien", "It"]',
    '["HEAT", "Alein", "it"]',
]


@pytest.mark.parametrize("text", JSON)
@pytest.mark.parametrize("around", ["{}", "```json\n{}\n```", "Sure [really], you like Rocky II:\n{}\nEnjoy {{it}}!"])
def test_json_is_read_in_its_order_wherever_it_stands(text, around):
    assert titles(around.replace("{}", text)) == (["Heat", "It"] if "Alein" in text else ["Heat", "Alien", "It"])


@pytest.mark.parametrize(
    ("text", "reading"),
    [
        ('["Heat", "Batman", "Heat", "It"]', Reading((0, 2), duplicates=1, invented=1)),
        ('["Heat", "It", "Alie', Reading((0, 2), invented=1)),
        ("Heat, Batman, It, Alien", Reading((0, 2, 1), invented=1)),
        ("Alien, It, Crouching Tiger, Hidden Dragon", Reading((1, 2, 3))),
        (
            "Since you liked Alien:\n1. It - funny\n   as Heat is\n2. Heat\n3. Alien\nSee Rocky II too",
            Reading((2, 0, 1)),
        ),
        ("1. Heat\n   - about Alien\n   - slow\n2. Alien", Reading((0, 1))),
        ("Hm\n- Heat\n- Batman\n- Alien\nBye", Reading((0, 1), invented=1)),
        ("Heat\nBatman\nAlien\nBye", Reading((0, 1), invented=1)),
        ("Heat\n2. Alien\n3. Batman", Reading((0, 1), invented=1)),
        ("1. Batman\n2. Superman", Reading((), invented=2)),
        ("I'm sorry, I can't. Heat is nice though", Reading((), refused=True)),
        ("<think>Heat, then Alien</think>\nAlien\nHeat", Reading((1, 0))),
        ("<think>Heat\nAlien\nIt", Reading(())),
        ('{"error": "I cannot rank these"}', Reading((), refused=True)),
    ],
)
def test_what_is_named_twice_or_made_up_is_counted_and_prose_is_not(text, reading):
    assert parse_ranking(text, FILMS) == reading


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("B > A > C", "BAC"),
        ("B, A, C", "BAC"),
        (" B A C", "BAC"),
        ("BAC\n", "BAC"),
        ("A CAB", "A"),
        ("[B] > [A] > [C]", "BAC"),
        ("B\nA\nC", "BAC"),
        ("1. B\n2. A\n3. C", "BAC"),
        ("**B** > **A** > **C**", "BAC"),
        ("B. Heat\nA. Alien\nC. It", "BAC"),
        ("1. B - Heat\n2. A - Alien\n3. C - It", "BAC"),
        ("Here is A ranking: B>A>C. Bye.", "BAC"),
        ("<think>A > B > C</think>B = A = C", "BAC"),
        ("I like Heat", ""),
    ],
)
def test_letters_are_read_in_their_order(text, found):
    assert "".join(titles(text, list("ABCD"), parse_identifiers)) == found


@pytest.mark.parametrize("text", ["[2] > [1] > [20]", "2, 1, 20", "1. 2\n2. 1\n3. 20", "2 1 20", "Sure: [2]>[1]>[20]."])
def test_numbers_are_read_in_their_order(text):
    assert titles(text, [str(number) for number in range(1, 21)], parse_identifiers) == ["2", "1", "20"]


def test_identifiers_twice_or_of_no_candidate_are_counted():
    assert parse_identifiers("B > Z > A > B", list("ABC")) == Reading((1, 0), duplicates=1, invented=1)
    assert parse_identifiers("[3] > [25] > [1]", ["1", "2", "3"]) == Reading((2, 0), invented=1)
    assert parse_identifiers("I'm sorry, I can't.", list("ABC")) == Reading((), refused=True)
    assert parse_identifiers("", []) == Reading(())


@given(st.permutations("ABCDEFGH"), st.sampled_from([" ", " > ", ", ", "\n", "] > [", " >= "]))
def test_any_order_of_letters_is_read_back(order, between):
    assert "".join(titles(between.join(order), list("ABCDEFGH"), parse_identifiers)) == "".join(order)


HOSTILE = {
    "lines": "\n" * 100_000,
    "stars": "*" * 100_000,
    "words": "alien it go " * 9_000,
    "quotes": '"\u201ca' * 30_000,
    "bold": "**a" * 33_000,
    "brackets": "[" * 100_000,
    "open lists": '["a",' * 20_000,
    "open objects": '{"a":' * 20_000,
    "a long number": "[" + "9" * 99_000 + "]",
    "markers": "1. " * 33_000,
    "commas": "a," * 50_000,
    "blanks": " " * 100_000,
    "letters": "A " * 50_000,
    "headings": "#\n" * 50_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_long_answer_takes_no_long_time(name):
    start = time.perf_counter()
    for parse in (parse_ranking, parse_reasoned_ranking, parse_identifiers):
        parse(HOSTILE[name], FILMS)
    assert time.perf_counter() - start < 5  # seconds; quadratic reading took minutes


def test_a_ranking_of_twenty_is_read_in_milliseconds():
    films = [f"The Film Number {number} of the {number * 7} Kings (19{number + 10})" for number in range(20)]
    text = "\n".join(f"{rank}. {film.replace('Kings', 'Kigns')}" for rank, film in enumerate(films, 1))
    assert titles(text, films) == films
    start = time.perf_counter()
    for _ in range(20):
        parse_ranking(text, films)
    assert (time.perf_counter() - start) / 20 < 0.02


anything = st.recursive(
    st.one_of(st.sampled_from(FILMS), st.integers(), st.none(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.sampled_from(["title", "rank", "1", "2", *FILMS]), inner, max_size=4),
    ),
    max_leaves=12,
)


@given(anything, st.integers(0, 3))
def test_any_json_whole_or_torn_gives_distinct_places(value, torn):
    text = json.dumps(value)
    for parse in (parse_ranking, parse_reasoned_ranking, parse_identifiers):
        order = parse(text[: len(text) - torn], FILMS).order
        assert len(set(order)) == len(order)
        assert set(order) <= set(range(len(FILMS)))
