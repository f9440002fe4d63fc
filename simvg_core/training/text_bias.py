"""One threshold for all texts: what a text alone adds to its score, fitted on pictures whose truth is known.

A model is too sure of some texts and not sure enough of others, whatever the picture shows. A logistic regression of
what is true on the model's score and the text's features says by how much; its text part becomes the token branch's
`text_bias`. Shapes: N texts, E head width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simvg_core import asking
from simvg_core.errors import ConfigurationError, InputError
from simvg_core.grounder import Grounder
from simvg_core.lineworld.diverse import Ask, diverse
from simvg_core.lineworld.meaning import Meaning
from simvg_core.lineworld.truth import seen_in
from simvg_core.lineworld.vocabulary import CONCEPTS
from simvg_core.lineworld.wordings import further_names, further_statements
from simvg_core.standing import CompiledTexts, StandingQueries
from simvg_core.training.data import LineSet

DIVERSE, PER_PICTURE = 1000, 400
STRENGTH = 0.003
"""Of the penalty on large weights, which are standard deviations of a logit."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Pairs:
    """Texts on pictures: the score (a difference of logits), whether it is there, and which text, (pairs,) each."""

    scores: Tensor
    there: Tensor
    texts: Tensor


def questions(seed: int) -> list[Ask]:
    """Texts of all kinds, and every name and sentence that training says."""
    found = {ask.text: ask for ask in diverse(DIVERSE, seed)}
    for concept in CONCEPTS:
        names = [form for name in (*concept.names, *further_names(concept)) for form in name]
        for text in (*names, *concept.statements, *further_statements(concept)):
            found.setdefault(text, Ask(text, Meaning(concept)))
    return list(found.values())


def collect(
    grounder: Grounder,
    pictures: LineSet,
    names: Sequence[str],
    asks: Sequence[Ask],
    compiled: CompiledTexts,
    seed: int,
    progress: Progress = lambda done, total: None,
) -> Pairs:
    """Asks of each picture some of the texts of which its truth decides whether they are there."""
    rng = np.random.default_rng((seed, len(asks)))
    scores, there, texts = [], [], []
    for number, name in enumerate(names):
        frame, truth = pictures.read(name)
        scene = seen_in(truth)
        drawn = rng.permutation(len(asks))[:PER_PICTURE].tolist()
        verdicts = {place: asks[place].judge(scene) for place in drawn}
        places = [place for place, verdict in verdicts.items() if verdict is not None]
        kept = torch.tensor(places, device=grounder.device)
        with torch.inference_mode(), grounder.execution.precision(grounder.device):
            seen = asking.see(grounder.model, grounder.processor.frames([frame]).pixel_values.to(grounder.device))
            logits = asking.ask(grounder.model, compiled.select(kept), seen).logits[0].float().cpu()
        scores.append((logits[..., 0] - logits[..., 1]).amax(dim=-1))
        there.append(torch.tensor([bool(verdicts[place]) for place in places]))
        texts.append(kept.cpu())
        progress(number + 1, len(names))
    return Pairs(torch.cat(scores), torch.cat(there), torch.cat(texts))


def fit(pairs: Pairs, features: Tensor) -> tuple[Tensor, float]:
    """Weights (E,) and offset of the bias; `features` (N, E) of all texts. On average over the texts it is 0.

    Raises:
        InputError: all of the pairs are there, or none.
    """
    target = pairs.there.float()
    if not 0 < float(target.mean()) < 1:
        raise InputError("of the pictures and texts all or none fit each other; use a rendered set of more pictures.")
    middle, spread = features.mean(dim=0), features.std(dim=0) + 1e-6
    scaled = (features - middle) / spread
    slope, offset = torch.ones((), requires_grad=True), torch.zeros((), requires_grad=True)
    weights = torch.zeros(features.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([slope, offset, weights], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        logits = slope * pairs.scores + offset + (scaled @ weights)[pairs.texts]
        total = F.binary_cross_entropy_with_logits(logits, target) + STRENGTH * weights.square().sum()
        total.backward()
        return total

    optimizer.step(loss)
    with torch.no_grad():
        found = weights / spread / slope
        return found, -float(found @ middle)


def level(
    grounder: Grounder,
    pictures: LineSet,
    count: int,
    seed: int = 0,
    progress: Progress = lambda done, total: None,
) -> None:
    """Gives the grounder's model a text bias, fitted on so many pictures of a rendered set.

    Raises:
        ConfigurationError: a model that is not in standing attention.
        InputError: the pictures decide nothing.
    """
    model = grounder.model
    if model.config.attention != "standing":
        raise ConfigurationError('a text bias needs a model with attention="standing".')
    model.token_branch.text_bias = None  # fitted anew
    asks = questions(seed)
    ready = grounder.compile_rows([ask.text for ask in asks])
    assert isinstance(ready, StandingQueries), "the attention was looked at"
    names = pictures.names()
    chosen = sorted(names[place] for place in np.random.default_rng(seed).permutation(len(names))[:count].tolist())
    pairs = collect(grounder, pictures, chosen, asks, ready.texts, seed, progress)
    weights, offset = fit(pairs, ready.texts.kept.queries.float().mean(dim=1).cpu())
    bias = nn.Linear(model.config.head_size, 1)
    with torch.no_grad():
        bias.weight.copy_(weights[None])
        bias.bias.fill_(offset)
    model.token_branch.text_bias = bias.to(grounder.device).eval()
    model.config.text_bias = True
    # It was fitted to other answers.
    model.gate = None
    model.config.gate_heads, model.config.gate_floors, model.config.gate_thresholds = 0, [], []
