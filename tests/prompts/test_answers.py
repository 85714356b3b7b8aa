"""Rankings as models write them are read as people would read them, and any other text does no harm."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.prompts.answers import PARSERS, Reading, parse_identifiers, parse_ranking, parse_reasoned_ranking
from llmrec.prompts.template import clean_text

FILMS = (
    "Alien",
    "Alien Resurrection",
    "2001: A Space Odyssey",
    "12 Monkeys",
    "It",
    "Go",
    "Amélie",
    "Crouching Tiger, Hidden Dragon",
    "Heat (1995)",
    "The Godfather",
    "Alien vs. Predator",
)


def titles(text, films=FILMS):
    return [films[place] for place in parse_ranking(text, films).order]


@pytest.mark.parametrize(
    "text",
    [
        "Alien\nIt\nGo",
        "1. Alien\n2. It\n3. Go",
        "1) Alien\n2) It\n3) Go",
        "(1) Alien\n(2) It\n(3) Go",
        "[1] Alien\n[2] It\n[3] Go",
        "1: Alien\n2: It\n3: Go",
        "1.Alien\n2.It\n3.Go",
        "- Alien\n* It\n• Go",
        "  ALIEN  \n\n\tit.\r\n go! ",
        "Alien, It, Go",
        "Alien; It; Go",
        "Alien > It > Go",
        "1. Alien, 2. It, 3. Go",
        "1. Alien 2. It 3. Go",
        '"Alien"\n“It”\n`Go`',
        "**Alien**\n*It*\n__Go__",
        "1. **Alien**\n2. **It**\n3. **Go**",
        "**1. Alien**\n**2. It**\n**3. Go**",
        '["Alien", "It", "Go"]',
        '[\n  "Alien",\n  "It",\n  "Go"\n]',
        "[Alien, It, Go]",
        '{"1": "Alien", "2": "It", "3": "Go"}',
        '{\n  "1": "Alien",\n  "2": "It",\n  "3": "Go"\n}',
        '[{"rank": 1, "title": "Alien"}, {"rank": 2, "title": "It"}, {"rank": 3, "title": "Go"}]',
        '```json\n["Alien", "It", "Go"]\n```',
        "Here is the ranking:\n1. Alien\n2. It\n3. Go\nEnjoy!",
        "1. Alien - a classic\n2. It: it is scary\n3. Go (1999)",
        "1. Alien\n1. It\n2. Alien\n3. Go",
        "Alien, Alien, It, Alien, Go, Go",
    ],
)
def test_a_list_is_read_in_its_order(text):
    assert titles(text) == ["Alien", "It", "Go"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1. 2001: A Space Odyssey\n2. 12 Monkeys", ["2001: A Space Odyssey", "12 Monkeys"]),
        ("12 Monkeys\n2001: A Space Odyssey", ["12 Monkeys", "2001: A Space Odyssey"]),
        ("12. 12 Monkeys", ["12 Monkeys"]),
        ("Alien Resurrection\nAlien", ["Alien Resurrection", "Alien"]),
        ("I would watch Alien Resurrection first", ["Alien Resurrection"]),
        ("Alien vs. Predator, then Alien Resurrection", ["Alien vs. Predator", "Alien Resurrection"]),
        ("1. Alien Resurrection, Alien", ["Alien Resurrection", "Alien"]),
        ("Crouching Tiger, Hidden Dragon", ["Crouching Tiger, Hidden Dragon"]),
        ("12 Monkeys, Crouching Tiger, Hidden Dragon", ["12 Monkeys", "Crouching Tiger, Hidden Dragon"]),
        ("amelie\nAMÉLIE", ["Amélie"]),
        ("Ame\u0301lie", ["Amélie"]),
        ("The Godfahter", ["The Godfather"]),
        ("2. Alien Ressurection", ["Alien Resurrection"]),
        ("Heat", ["Heat (1995)"]),
        ("1. **Heat**", ["Heat (1995)"]),
        ("It is good. Go and see it.", []),
        ("You should go with the heat of it", []),
        ("Because it is a classic, go", []),
        ("You liked Aliens and Monkey Business", []),
        ("", []),
        ("1.\n2.\n3.", []),
        ("Batman\nSuperman", []),
    ],
)
def test_titles_are_told_apart(text, found):
    assert titles(text) == found


def test_a_short_title_in_prose_counts_where_it_is_quoted():
    assert titles('I think that "Go" comes before "It".') == ["Go", "It"]


def test_a_title_without_its_year_counts_only_where_it_is_the_only_one_of_that_name():
    films = ["Heat (1995)", "Heat (1986)", "Toy Story (1995)", "Toy Story 2 (1999)"]
    assert titles("Toy Story 2\nToy Story\nHeat", films) == ["Toy Story 2 (1999)", "Toy Story (1995)"]
    assert titles("Heat (1986)\nHeat (1995)", films) == ["Heat (1986)", "Heat (1995)"]
    assert titles("Toy Story 3 (2010)", films) == []


def test_in_a_sentence_the_longest_title_wins():
    films = ["Batman", "Batman Returns", "Returns"]
    assert titles("I would pick Batman Returns and never Batman", films) == ["Batman Returns", "Batman"]
    assert titles("Surely Batman Returns!", films) == ["Batman Returns"]


def test_lines_that_name_no_candidate_are_counted():
    assert parse_ranking("Sure!\n1. Alien\n2. Batman\n\n---\n3. It\n4. Alien\nEnjoy!", FILMS) == Reading(
        (0, 4), duplicates=1, invented=1
    )


def test_candidates_of_one_title_are_taken_in_turn():
    assert parse_ranking("Alien\nIt\nAlien\nAlien", ["Alien", "It", "alien!"]).order == (0, 1, 2)


def test_no_candidates_no_order():
    for films in ([], ["", "???"]):
        assert parse_ranking("Alien", films) == Reading(())
        assert parse_ranking("1. Alien\n2. Heat", films) == Reading((), invented=2)


def test_parsers_are_found_by_their_names():
    assert {
        "ranking": parse_ranking,
        "reasoned-ranking": parse_reasoned_ranking,
        "identifiers": parse_identifiers,
    } == PARSERS


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I can\u2019t rank these.",
        "As an AI language model, I have no preferences.",
        "I am unable to say.",
        "I won't do that",
    ],
)
def test_refusals_are_told_from_other_answers_that_name_nothing(text):
    assert parse_ranking(text, FILMS).refused
    assert parse_reasoned_ranking(text, FILMS).refused
    assert not parse_ranking("Batman, then more Batman", FILMS).refused


def test_a_refusal_that_ranks_all_the_same_is_none():
    reading = parse_ranking("I'm sorry, this was hard.\n1. Alien\n2. It", FILMS)
    assert (reading.order, reading.refused, reading.invented) == ((0, 4), False, 0)


@pytest.mark.parametrize(
    "text",
    [
        "You like Alien Resurrection and Heat.\n1. is not said\n\nRanking:\n1. Go\n2. It",
        "Ranking: first I think of Alien.\n**Final ranking:**\n1. Go\n2. It",
        "Alien is too slow.\nAnswer: Go\nIt",
        "They are 1. dark and 2. long: Amélie.\n1. Go\n2. It",
    ],
)
def test_of_a_chain_of_thought_only_the_ranking_is_read(text):
    assert [FILMS[place] for place in parse_reasoned_ranking(text, FILMS).order] == ["Go", "It"]


def test_a_chain_of_thought_without_an_end_names_nothing():
    assert parse_reasoned_ranking("Alien is good, and Heat is better, so", FILMS) == Reading(())


anything = st.text(st.characters(), max_size=60)
pieces = st.sampled_from([*FILMS, "1. ", "\n", ", ", '"', "**", "[", "{", ": ", "(", ")", " ", "\ud800", "\x00", "٣. "])


@given(
    st.one_of(anything, st.lists(pieces, max_size=12).map("".join)), st.lists(st.one_of(anything, pieces), max_size=6)
)
def test_any_text_gives_distinct_places_of_candidates(text, films):
    reading = parse_ranking(text, films)
    assert len(set(reading.order)) == len(reading.order)
    assert set(reading.order) <= set(range(len(films)))
    assert 0 <= reading.invented <= len(text)


words = st.lists(
    st.sampled_from(
        ["it", "go", "the", "alien", "2", "2001", "10", "of", "heat", "x-men", "(1995)", "Éclair", "A.", "3:10"]
    ),
    min_size=1,
    max_size=4,
)
catalogue = st.lists(
    st.builds(lambda parts, between: between.join(parts), words, st.sampled_from([" ", ": ", ", ", " - ", "/"])),
    min_size=1,
    max_size=8,
    # Titles that differ in punctuation alone are one title to the parser.
    unique_by=lambda title: tuple("".join(char if char.isalnum() else " " for char in title.casefold()).split()),
)


@given(
    catalogue, st.randoms(), st.sampled_from(["{title}", "- {title}", "{rank}. {title}", "**{title}**", '"{title}",'])
)
def test_any_permutation_written_line_by_line_is_read_back(films, random, style):
    order = random.sample(range(len(films)), len(films))
    text = "\n".join(style.format(rank=rank + 1, title=films[place]) for rank, place in enumerate(order))
    if style.startswith("{rank}") and ambiguous(films):
        return
    assert parse_ranking(text, films) == Reading(tuple(order), 0)


def ambiguous(films):
    """Whether a title with a number before it is another title: "2. Heat" may be "2 Heat"."""
    return any(film[0].isdigit() for film in films)


unusual = st.text(st.characters(), min_size=1, max_size=20).map(clean_text)
spelled = unusual.filter(lambda title: any(char.isalnum() for char in title))


@given(st.lists(spelled, min_size=1, max_size=5), st.randoms())
def test_a_permutation_of_unusual_titles_is_read_back_up_to_equal_ones(films, random):
    order = random.sample(range(len(films)), len(films))
    reading = parse_ranking("\n".join(films[place] for place in order), films)
    assert sorted(reading.order) == list(range(len(films)))
    key = [parse_ranking(film, films).order[:1] for film in films]
    assert [key[place] for place in reading.order] == [key[place] for place in order]


@given(st.permutations(FILMS))
def test_a_json_list_is_read_back(films):
    assert titles(json.dumps(list(films), indent=1, ensure_ascii=False)) == list(films)
