"""What prompts and answers share is computed once, and each answer token is read exactly once for each answer."""

from hypothesis import given
from hypothesis import strategies as st

from llmrec.llm.token_groups import group_prompts

tokens = st.lists(st.integers(0, 2), min_size=1, max_size=6)
rows = st.lists(st.tuples(tokens, st.lists(tokens, max_size=4)), max_size=6)


@given(rows)
def test_each_token_of_each_answer_is_read_once_behind_what_precedes_it(asked):
    prompts, answers = [prompt for prompt, _ in asked], [row for _, row in asked]
    read = {}
    for group in group_prompts(prompts, answers):
        found = [(group.prefix[: each.place + 1], each) for each in group.from_prefix]
        for tail, reads in zip(group.tails, group.from_tails, strict=True):
            assert tail
            assert reads
            found += [(group.prefix + tail[: each.place + 1], each) for each in reads]
        for behind, each in found:
            for owner in each.owners:
                read.setdefault(owner, set()).add((tuple(behind), each.token))
    expected = {
        (number, place): {(tuple(prompt + answer[:end]), answer[end]) for end in range(len(answer))}
        for number, (prompt, row) in enumerate(asked)
        for place, answer in enumerate(row)
    }
    assert read == expected


@given(rows)
def test_no_more_is_computed_than_prompt_by_prompt(asked):
    def computed(groups):
        return sum(len(group.prefix) + sum(map(len, group.tails)) for group in groups)

    prompts, answers = [prompt for prompt, _ in asked], [row for _, row in asked]
    apart = [group for prompt, row in asked for group in group_prompts([prompt], [row])]
    # What the answers of one prompt begin with alike is not part of the plan: it may be computed again.
    shared = sum(sum(map(len, row)) for row in answers)
    assert computed(group_prompts(prompts, answers)) <= computed(apart) + shared


def test_twenty_questions_about_one_history_read_it_once():
    history = list(range(100, 300))
    prompts = [[*history, item, 7, 8] for item in range(20)]
    (group,) = group_prompts(prompts, [[[1], [2]]] * 20)
    assert group.prefix == history
    assert group.tails == [[item, 7, 8] for item in range(20)]
    assert (group.prompt_tokens, group.answer_tokens) == (200 + 20 * 3, 40)


def test_users_of_one_introduction_stay_apart_where_that_is_cheaper():
    """Twenty answers to each would read each history twenty times."""
    prompts = [[1, 2, 3, *range(start, start + 50)] for start in (100, 200)]
    answers = [[[item, 7] for item in range(20)]] * 2
    assert len(group_prompts(prompts, answers)) == 2
    assert len(group_prompts(prompts, [[[7]]] * 2)) == 1
