"""Model cards say what was measured."""

import runpy
from pathlib import Path

import pytest

from nafnet_deploy.benchmarks.cards import BEGIN, END, fill
from nafnet_deploy.released import released_models

ROOT = Path(__file__).parents[2]
CARDS = runpy.run_path(str(ROOT / "benchmarks/model_cards.py"))["card_texts"]()


def test_every_released_network_has_a_card() -> None:
    assert {card.stem for card in CARDS} == set(released_models())


@pytest.mark.parametrize("card", CARDS, ids=lambda p: p.stem)
def test_the_card_s_tables_are_those_of_the_committed_reports(card: Path) -> None:
    assert card.read_text(encoding="utf-8") == CARDS[card], "run: python benchmarks/model_cards.py"


def test_a_card_without_its_marks_is_refused() -> None:
    assert fill(f"a\n{BEGIN}\nold\n{END}\nb", "new") == f"a\n{BEGIN}\n\nnew\n{END}\nb"
    for text in ("nothing", BEGIN, END, f"{END}{BEGIN}"):
        with pytest.raises(ValueError, match="needs the lines"):
            fill(text, "new")
