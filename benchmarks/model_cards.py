"""Writes the measured tables into the model cards of docs/models, from results/eval-*.json.

python benchmarks/model_cards.py
"""

from pathlib import Path

from nafnet_deploy.benchmarks.cards import fill, tables
from nafnet_deploy.benchmarks.evaluation_report import EvaluationReport
from nafnet_deploy.released import find_bundle

ROOT = Path(__file__).parent.parent


def card_texts() -> dict[Path, str]:
    """Every card as it ought to be."""
    results = [EvaluationReport.from_json(p.read_text(), p.name) for p in ROOT.glob("benchmarks/results/eval-*.json")]
    texts = {}
    for card in sorted((ROOT / "docs/models").glob("*.md")):
        reports = [r for r in results if r.model == card.stem]
        measured = tables(reports, find_bundle(card.stem).manifest.default_iterations)
        texts[card] = fill(card.read_text(encoding="utf-8"), measured)
    return texts


if __name__ == "__main__":
    for path, text in card_texts().items():
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(ROOT))
