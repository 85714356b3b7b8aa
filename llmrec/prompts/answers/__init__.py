"""Reading what a model wrote. A parser sees the text and the candidates, never which one is relevant."""

from llmrec.prompts.answers.identifiers import parse_identifiers
from llmrec.prompts.answers.rankings import PARSERS, parse_ranking, parse_reasoned_ranking
from llmrec.prompts.answers.reading import Reading

__all__ = ["PARSERS", "Reading", "parse_identifiers", "parse_ranking", "parse_reasoned_ranking"]
