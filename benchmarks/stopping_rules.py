"""Which stopping rule is best at equal mean cost, and does a learned one pay?

    python benchmarks/stopping_rules.py MODEL TRAIN TEST --type motion [-o benchmarks/results/stopping-MODEL.json]

The network is frozen and split; every picture runs all iterations. Then each rule is given, afterwards, the threshold
at which it takes a wanted mean number of iterations over the test pictures:

    last      the change of the picture by the last iteration, as `--until-delta`
    next      that times the typical ratio of the next change to the last one
    linear    a learned halting scalar: the gain (dB) of the next iteration, linear in the logarithms of the mean
              |k' - k| and |k'| of each channel of the state, fitted on TRAIN (ridge, by cross-validation)
    mlp       the same with 32 hidden units
    oracle    knows the gain of every iteration of every picture: no rule can do better

Beside them the same N for all pictures (between two N, a mixture). The figures are PSNR over that, in dB.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import typer
from numpy.typing import NDArray

from nafnet_deploy.checkpoints.catalogue import load_model
from nafnet_deploy.cli.console import progress, say
from nafnet_deploy.data.degradations import Degradation
from nafnet_deploy.engines.onnxruntime import OnnxRuntimeEngine
from nafnet_deploy.environment import read_environment
from nafnet_deploy.export.recipe import ExportRecipe
from nafnet_deploy.export.run import export_bundle
from nafnet_deploy.images.files import list_pictures, read_picture
from nafnet_deploy.manifest import DELTA, FEATURES, HEAD, STATE, STATE_NEXT, STEP, TAIL, Bundle
from nafnet_deploy.metrics import psnr
from nafnet_deploy.tables import plain

ITERATIONS = 5
COSTS = (1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5)
"""Mean iterations at which the rules are compared."""
RESAMPLES = 400
Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Seen:
    """What every iteration did to every picture."""

    quality: Array
    """PSNR (dB), [pictures, iterations]."""
    delta: Array
    """Root mean square change of the state, the same shape."""
    measures: Array
    """What a halting scalar may read, [pictures, iterations, measures]."""

    @property
    def gain(self) -> Array:
        """What the next iteration brings (dB), [pictures, iterations - 1]."""
        return np.diff(self.quality, axis=1)


def look(bundle: Bundle, folder: Path, damage: Degradation, draws: int, side: int, seed: int) -> Seen:
    """Runs all iterations on the middle of every picture, damaged `draws` times."""
    rng, rows = np.random.default_rng(seed), []
    parts = {name: OnnxRuntimeEngine(str(bundle.part(name)), 1) for name in (HEAD, STEP, TAIL)}
    paths = list_pictures(folder) * draws
    with progress() as bar:
        task = bar.add_task(folder.name, total=len(paths))
        for path in paths:
            clean = read_picture(path).pixels
            damaged = damage(clean, rng)
            top, left = ((size - side) // 2 for size in clean.shape[:2])
            here = slice(top, top + side), slice(left, left + side)
            rows.append(trace(parts, np.ascontiguousarray(damaged[here].transpose(2, 0, 1)[None]), clean[here]))
            bar.advance(task)
    return Seen(*(np.array(column) for column in zip(*rows, strict=True)))


def trace(parts: dict[str, OnnxRuntimeEngine], batch: NDArray[np.float32], clean: NDArray[np.float32]) -> tuple:
    """(PSNR, change of the state, measures) after each iteration of one picture."""
    held = {"input": batch, **parts[HEAD].run({"input": batch})}
    state = np.zeros_like(held[FEATURES])
    qualities, deltas, measures = [], [], []
    for _ in range(ITERATIONS):
        feeds = {spec.name: {**held, STATE: state}[spec.name] for spec in parts[STEP].inputs}
        made = parts[STEP].run(feeds)
        change, state = np.abs(made[STATE_NEXT] - state), made[STATE_NEXT]
        feeds = {spec.name: {**held, STATE: state}[spec.name] for spec in parts[TAIL].inputs}
        (picture,) = parts[TAIL].run(feeds).values()
        qualities.append(psnr(np.clip(picture[0].transpose(1, 2, 0), 0, 1).astype(np.float32), clean))
        deltas.append(float(made[DELTA][0]))
        means = np.concatenate([x[0].mean(axis=(1, 2)) for x in (change, np.abs(state))])
        measures.append(np.log(np.maximum(means, 1e-12)))
    return qualities, deltas, measures


def fit_linear(train: Seen, n: int) -> tuple[Array, Array, Array]:
    """(mean, scale, weights with the constant last) of the ridge regression of the gain after iteration n."""
    x, y = train.measures[:, n], train.gain[:, n]
    mean, scale = x.mean(axis=0), x.std(axis=0) + 1e-9
    x = np.hstack([(x - mean) / scale, np.ones((len(x), 1))])

    def solve(rows: NDArray[np.bool_], strength: float) -> Array:
        a = x[rows].T @ x[rows] + strength * np.diag([*[1.0] * (x.shape[1] - 1), 0.0])
        return np.linalg.solve(a, x[rows].T @ y[rows])

    folds = np.arange(len(x)) % 5
    errors = {
        s: sum(((x[folds == f] @ solve(folds != f, s) - y[folds == f]) ** 2).sum() for f in range(5))
        for s in 10.0 ** np.arange(-1, 5)
    }
    return mean, scale, solve(np.ones(len(x), bool), min(errors, key=errors.__getitem__))


def linear(train: Seen, test: Seen) -> Array:
    """Predicted gain of the next iteration, [test pictures, iterations - 1]."""
    columns = []
    for n in range(ITERATIONS - 1):
        mean, scale, weights = fit_linear(train, n)
        columns.append(((test.measures[:, n] - mean) / scale) @ weights[:-1] + weights[-1])
    return np.stack(columns, axis=1)


def mlp(train: Seen, test: Seen) -> Array:
    """The same by a network with 32 hidden units, stopped where a fifth of the training pictures is predicted best."""
    columns = []
    for n in range(ITERATIONS - 1):
        torch.manual_seed(n)
        mean, scale = train.measures[:, n].mean(axis=0), train.measures[:, n].std(axis=0) + 1e-9
        x, z = (torch.tensor((s.measures[:, n] - mean) / scale, dtype=torch.float32) for s in (train, test))
        middle, spread = train.gain[:, n].mean(), train.gain[:, n].std()
        y = torch.tensor((train.gain[:, n] - middle) / spread, dtype=torch.float32)[:, None]
        held = torch.arange(len(x)) % 5 == 0
        net = torch.nn.Sequential(torch.nn.Linear(x.shape[1], 32), torch.nn.GELU(), torch.nn.Linear(32, 1))
        optimizer = torch.optim.AdamW(net.parameters(), 3e-3, weight_decay=0.1)
        best, found = float("inf"), torch.zeros(len(z), 1)
        for _ in range(400):
            optimizer.zero_grad()
            torch.nn.functional.mse_loss(net(x[~held]), y[~held]).backward()
            optimizer.step()
            with torch.no_grad():
                error = float(torch.nn.functional.mse_loss(net(x[held]), y[held]))
                if error < best:
                    best, found = error, net(z)
        columns.append(found[:, 0].double().numpy() * spread + middle)
    return np.stack(columns, axis=1)


def at_costs(score: Array, quality: Array) -> Array:
    """Mean PSNR (dB) at each of `COSTS` of the rule that stops when its score falls below a threshold."""
    points = {}
    for threshold in (-np.inf, *np.unique(score), np.inf):
        stop = np.concatenate([score < threshold, np.ones((len(score), 1), bool)], axis=1).argmax(axis=1)
        points[stop.mean() + 1] = quality[np.arange(len(stop)), stop].mean()
    costs = sorted(points)
    return np.interp(COSTS, costs, [points[c] for c in costs])


def oracle(quality: Array) -> Array:
    """The most that any choice of N per picture can reach: the best trade of PSNR for iterations, at every price."""
    points = {1.0: quality[:, 0].mean(), float(ITERATIONS): quality[:, -1].mean()}
    for price in np.geomspace(1e-5, 10, 2000):
        stop = (quality - price * np.arange(ITERATIONS)).argmax(axis=1)
        points[stop.mean() + 1] = quality[np.arange(len(stop)), stop].mean()
    costs = sorted(points)
    return np.interp(COSTS, costs, np.maximum.accumulate([points[c] for c in costs]))


def compare(scores: dict[str, Array], quality: Array) -> dict[str, Array]:
    """PSNR (dB) over the same N for all, per rule and cost."""
    fixed = np.interp(COSTS, np.arange(1, ITERATIONS + 1), quality.mean(axis=0))
    return {**{r: at_costs(s, quality) - fixed for r, s in scores.items()}, "oracle": oracle(quality) - fixed}


def main(
    model: str = typer.Argument(help="A released model or a checkpoint."),
    train: Path = typer.Argument(help="Clean pictures to fit the halting scalar on."),
    test: Path = typer.Argument(help="Clean pictures to compare on."),
    type_: str = typer.Option(..., "--type", help="Damage, as of `nafdeploy degrade`."),
    side: int = typer.Option(256, help="Height and width of the middle that is used."),
    draws: int = typer.Option(2, help="Damaged versions of each test picture."),
    out: Path | None = typer.Option(None, "-o", "--out", help="JSON file to write."),
) -> None:
    """Compare stopping rules at equal mean cost."""
    damage = Degradation(type_)
    with TemporaryDirectory() as folder:
        bundle = export_bundle(load_model(model), ExportRecipe(mode="split", iterations=ITERATIONS, output=folder))
        fitted, seen = look(bundle, train, damage, 1, side, 1), look(bundle, test, damage, draws, side, 0)
    ratio = np.median(fitted.delta[:, 1:] / fitted.delta[:, :-1], axis=0)
    scores = {
        "last": seen.delta[:, :-1],
        "next": seen.delta[:, :-1] * ratio,
        "linear": linear(fitted, seen),
        "mlp": mlp(fitted, seen),
    }
    found = compare(scores, seen.quality)
    rng, pictures = np.random.default_rng(0), len(seen.quality) // draws
    spread: dict[str, list[Array]] = {rule: [] for rule in found}
    for _ in range(RESAMPLES):  # whole pictures: their versions are no independent evidence
        chosen = (rng.integers(pictures, size=pictures)[:, None] + pictures * np.arange(draws)).ravel()
        again = compare({r: s[chosen] for r, s in scores.items()}, seen.quality[chosen])
        for rule, values in again.items():
            spread[rule].append(values)
    explained = {
        rule: [float(np.corrcoef(scores[rule][:, n], seen.gain[:, n])[0, 1]) for n in range(ITERATIONS - 1)]
        for rule in scores
    }
    report = {
        "model": model,
        "damage": plain(damage),
        "train": f"{len(fitted.quality)} pictures of {train.resolve().name}",
        "test": f"{pictures} pictures of {test.resolve().name}, {draws} versions each",
        "side": side,
        "psnr_of_fixed": {n: float(q) for n, q in enumerate(seen.quality.mean(axis=0), 1)},
        "mean_iterations": COSTS,
        "over_fixed_db": {
            rule: [
                {"gain": float(g), "low": float(low), "high": float(high)}
                for g, low, high in zip(values, *np.percentile(spread[rule], (2.5, 97.5), axis=0), strict=True)
            ]
            for rule, values in found.items()
        },
        "correlation_with_next_gain": explained,
        "environment": plain(read_environment()),
    }
    for rule, values in report["over_fixed_db"].items():
        words = (
            f"{c}: {v['gain']:+.4f} [{v['low']:+.4f}, {v['high']:+.4f}]" for c, v in zip(COSTS, values, strict=True)
        )
        say(f"{rule:7s}" + "  ".join(words))
    if out is not None:
        out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
