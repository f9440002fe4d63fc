"""Why an answer: which patches and which words its object token used, layer by layer and joined.

Shapes: N texts, each with its image; L tokens [object tokens, patches row-major, text], h heads, K object tokens, Q
answers per text, P = G·G patches, T text tokens.

Both attention modes are explained on the joint encoder, whose layers are run once with their attention weights kept;
standing attention differs by its mask alone.

Which map to trust: on pictures of the line, the share of a map that lies in the true boxes is, in the median, 24 times
chance for the pointer, 20 for the gradient, 12 for the joined attention, and about 1 for the plain rollout of the
object tokens' attention: a head that looks at the patches itself leaves the object tokens little to look for. So the
joined map starts from what the head uses of every token (gradient times token at the encoder's output).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from simvg_core.attention import attention_weights
from simvg_core.checks import checked_mask
from simvg_core.encoder import Encoded, MultiwayEncoder, Spans, key_mask
from simvg_core.errors import ConfigurationError, InputError, TextError
from simvg_core.grouping import Grouping
from simvg_core.standing import standing_mask

if TYPE_CHECKING:
    from simvg_core.model import SimVGForGrounding

MAPS = ("gradient", "attention", "pointer")
# Of a token's relevance, what it keeps in each layer on its residual way; the rest goes where its attention goes. The
# half that attention rollout usually takes blurs the map: 5 times chance instead of 12 on the line's pictures.
OWN_SHARE = 0.8


@dataclass(frozen=True)
class Explanation:
    """What one answer of each text rests on. Shares are at least 0; those of one text sum to 1 over its image and words
    where the line says so."""

    answers: Tensor  # (N,) long, the explained answer of each text
    logits: Tensor  # (N, 2) its class logits (object, no object)
    boxes_cxcywh: Tensor  # (N, 4) its box, normalised to the image
    image_layers: Tensor  # (layers, N, P) share of the object token's attention that goes to each patch
    word_layers: Tensor  # (layers, N, T) and to each text token; the rest goes to object tokens
    image: Tensor  # (N, P) attention joined over head and layers; with `words` it sums to 1
    words: Tensor  # (N, T)
    image_gradient: Tensor  # (N, P) how far each patch moves the answer's score; with `words_gradient` it sums to 1
    words_gradient: Tensor  # (N, T)
    pointer: Tensor | None  # (N, P) where a pointer head looks; sums to 1
    heat_map: Tensor | None  # (N, P) logits of the heat map, models with auxiliary heads

    def map(self, name: str = "gradient", layer: int | None = None) -> Tensor:
        """(N, G, G) map over the patches.

        Args:
            name: "gradient", "attention" or "pointer".
            layer: attention of one layer, from 0; None = joined over all.

        Raises:
            InputError: no such map or layer.
        """
        if name not in MAPS:
            raise InputError(f"map {name!r} is not known; use {', '.join(MAPS)}.")
        if layer is not None and (name != "attention" or not 0 <= layer < len(self.image_layers)):
            last = len(self.image_layers) - 1
            raise InputError(f'layer {layer} of map "{name}" does not exist; "attention" has layers 0 … {last}.')
        found = {"attention": self.image, "gradient": self.image_gradient, "pointer": self.pointer}[name]
        if layer is not None:
            found = self.image_layers[layer]
        if found is None:
            raise InputError('the model has no pointer head; use the map "attention" or "gradient".')
        side = round(found.shape[1] ** 0.5)
        return found.reshape(-1, side, side)


def explain(
    model: SimVGForGrounding,
    pixel_values: Tensor,
    input_ids: Tensor,
    attention_mask: Tensor | None = None,
    pixel_mask: Tensor | None = None,
    answers: Tensor | None = None,
) -> Explanation:
    """Explains one answer per text; text i belongs to image i. Costs about three passes; leaves no trace in the model.

    Args:
        pixel_values, input_ids, attention_mask, pixel_mask: as in `SimVGForGrounding.forward`.
        answers: (N,) long, the answer to explain; None = the one with the highest score.

    Raises:
        ConfigurationError: the model is in training mode.
        InputError: inputs that do not fit, or no such answer.
    """
    if model.training:
        raise ConfigurationError("explain needs the model as it is used; call model.eval() first.")
    if len(pixel_values) != len(input_ids):
        raise InputError(f"{len(pixel_values)} images but {len(input_ids)} texts; pass the image of each text.")
    if len(input_ids) == 0:
        raise TextError("input_ids holds no text; pass at least one.")
    mask = checked_mask(input_ids, attention_mask, model.config.vocab_size)
    config, encoder = model.config, model.encoder
    branch = config.answer_branch
    with torch.inference_mode(False), torch.enable_grad():
        with torch.no_grad():  # what comes before the tokens needs no slope
            x, spans, fine = encoder.embed(pixel_values, input_ids, mask, None)
        x.requires_grad_()
        objects, patches, length = config.num_object_tokens, config.num_patches, input_ids.shape[1]
        seen = key_mask(mask, x.shape[1])
        if config.attention == "standing":
            seen = standing_mask(objects, patches, mask)
        tokens, weights = _run(encoder, x, spans, seen)
        object_tokens, image, text = tokens.split([objects, patches, length], dim=1)
        encoded = Encoded(object_tokens, image, text, fine)
        out = model.answer(encoded, mask, Grouping.regular(len(input_ids), 1), pixel_mask, branches=(branch,))
        logits, boxes = out.token_logits, out.token_boxes
        if branch == "decoder" and out.decoder_logits is not None and out.decoder_boxes is not None:
            logits, boxes = out.decoder_logits[-1], out.decoder_boxes[-1]
        assert logits is not None and boxes is not None
        chosen = _chosen(logits, answers)
        row = torch.arange(len(logits), device=logits.device)
        difference = logits[row, chosen, 0] - logits[row, chosen, 1]
        slopes = torch.autograd.grad(difference.sum(), [x, tokens])
    token = chosen if objects > 1 else torch.zeros_like(chosen)
    steps = [weight.detach() for weight in weights]
    layers = torch.stack([step.mean(dim=1)[row, token] for step in steps])
    at_input, at_output = (
        (value.detach() * slope).sum(dim=-1).abs() for value, slope in zip((x, tokens), slopes, strict=True)
    )
    gradient = _shares(at_input, objects, mask)
    joined = _shares(_carried(at_output, steps), objects, mask)
    pointer = None if out.pointer is None else out.pointer.detach()[row, chosen].softmax(dim=-1)
    return Explanation(
        answers=chosen,
        logits=logits.detach()[row, chosen],
        boxes_cxcywh=boxes.detach()[row, chosen],
        image_layers=layers[..., objects : objects + patches],
        word_layers=layers[..., objects + patches :],
        image=joined[:, :patches],
        words=joined[:, patches:],
        image_gradient=gradient[:, :patches],
        words_gradient=gradient[:, patches:],
        pointer=pointer,
        heat_map=None if out.heat_map is None else out.heat_map.detach(),
    )


def _run(encoder: MultiwayEncoder, x: Tensor, spans: Spans, mask: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The encoder's layers with the attention weights kept: (N, L, D) → the same and (N, h, L, L) per layer."""
    kept: list[Tensor] = []

    def look(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        kept.append(attention_weights(query, key, mask))
        return kept[-1] @ value

    return encoder.norm(encoder.run(x, spans, mask, look)[-1], spans), kept


def _chosen(logits: Tensor, answers: Tensor | None) -> Tensor:
    if answers is None:
        return (logits[..., 0] - logits[..., 1]).argmax(dim=1).detach()
    if answers.shape != logits.shape[:1] or bool(((answers < 0) | (answers >= logits.shape[1])).any()):
        raise InputError(
            f"answers {answers.tolist()} must name one of {logits.shape[1]} answers (from 0) for each of "
            f"{len(logits)} texts."
        )
    return answers.to(logits.device)


def _shares(values: Tensor, objects: int, attention_mask: Tensor) -> Tensor:
    """(N, L) → (N, P + T) without the object tokens and padding, summing to 1."""
    values = values[:, objects:].clone()
    values[:, -attention_mask.shape[1] :] *= attention_mask.to(values)
    return values / values.sum(dim=1, keepdim=True).clamp(min=torch.finfo(values.dtype).tiny)


def _carried(relevance: Tensor, weights: list[Tensor]) -> Tensor:
    """Relevance of the encoder's outputs (N, L), carried down through the attention of every layer to its inputs."""
    for weight in reversed(weights):
        handed = (relevance.unsqueeze(1) @ weight.mean(dim=1)).squeeze(1)
        relevance = OWN_SHARE * relevance + (1 - OWN_SHARE) * handed
    return relevance
