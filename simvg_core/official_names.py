"""Which official key each weight of ours comes from."""

from __future__ import annotations

from simvg_core.configuration import SimVGConfig

# In every official checkpoint, but without effect on any output.
UNUSED_OFFICIAL_KEYS = {
    "vis_enc.beit3.vision_embed.mask_token",
    "head.criterion.empty_weight",
    "head.criterion_harddistill.empty_weight",
}
_BEIT3 = "vis_enc.beit3"


def official_shape(name: str, own: tuple[int, ...], parts: int) -> tuple[int, ...]:
    """Shape of each of the `parts` official tensors behind our weight `name` of shape `own`."""
    if name == "encoder.object_tokens":
        return 1, 1, own[1]
    if name == "image_projection.weight":  # theirs is a 1×1 convolution
        return *own, 1, 1
    return own[0] // parts, *own[1:]


def official_sources(config: SimVGConfig) -> dict[str, list[str]]:
    """Our state_dict key → official keys; several are stacked along the first axis.

    Covers every weight of a model with a linear patch embedding, MLP box head and decoder branch.
    """
    names: dict[str, list[str]] = {
        "encoder.words.weight": [f"{_BEIT3}.text_embed.weight"],
        "encoder.object_tokens": [f"{_BEIT3}.vision_embed.cls_token"],
        "encoder.image_positions.weight": [f"{_BEIT3}.encoder.embed_positions.A.weight"],
        "encoder.text_positions.weight": [f"{_BEIT3}.encoder.embed_positions.B.weight"],
        "query_generator.queries.weight": ["head.query_embed.weight"],
    }
    pairs = {"encoder.patches.projection": f"{_BEIT3}.vision_embed.proj"}
    experts = {"image": "A", "text": "B"} | ({"object": "A"} if config.own_object_expert else {})
    for ours, theirs in experts.items():
        pairs[f"encoder.norm.{ours}"] = f"{_BEIT3}.encoder.layer_norm.{theirs}"
        for i in range(config.num_hidden_layers):
            layer, official = f"encoder.layers.{i}", f"{_BEIT3}.encoder.layers.{i}"
            pairs |= {
                f"{layer}.attention_norm.{ours}": f"{official}.self_attn_layer_norm.{theirs}",
                f"{layer}.inner_norm.{ours}": f"{official}.self_attn.inner_attn_ln.{theirs}",
                f"{layer}.output.{ours}": f"{official}.self_attn.out_proj.{theirs}",
                f"{layer}.feed_forward_norm.{ours}": f"{official}.final_layer_norm.{theirs}",
                f"{layer}.feed_forward.{ours}.expand": f"{official}.ffn.{theirs}.fc1",
                f"{layer}.feed_forward.{ours}.inner_norm": f"{official}.ffn.{theirs}.ffn_layernorm",
                f"{layer}.feed_forward.{ours}.contract": f"{official}.ffn.{theirs}.fc2",
            }
            for part in ("weight", "bias"):
                names[f"{layer}.query_key_value.{ours}.{part}"] = [
                    f"{official}.self_attn.{letter}_proj.{theirs}.{part}" for letter in "qkv"
                ]
    generator, decoder = "head.text_guided_query_generation_transformer", "head.transformer.decoder"
    stacks = [
        ("query_generator.decoder", generator, config.num_query_generator_layers),
        ("decoder_branch.decoder", decoder, config.num_decoder_layers),
    ]
    for ours, theirs, count in stacks:
        if count:
            pairs[f"{ours}.norm"] = f"{theirs}.post_norm_layer"
        for i in range(count):
            layer, official = f"{ours}.layers.{i}", f"{theirs}.layers.{i}"
            for index, attention in enumerate(("self_attention", "cross_attention")):
                source = f"{official}.attentions.{index}.attn"
                for part in ("weight", "bias"):
                    names[f"{layer}.{attention}.input_{part}"] = [f"{source}.in_proj_{part}"]
                pairs[f"{layer}.{attention}.output"] = f"{source}.out_proj"
            pairs[f"{layer}.expand"] = f"{official}.ffns.0.layers.0.0"
            pairs[f"{layer}.contract"] = f"{official}.ffns.0.layers.1"
            pairs |= {f"{layer}.norms.{n}": f"{official}.norms.{n}" for n in range(3)}
    pairs |= {
        "image_projection": "head.input_proj",
        "query_generator.project": "head.input_text_proj",
        "token_branch.project": "head.input_cls_proj",
    }
    pairs |= {f"token_branch.mlp.layers.{i}": f"head.mlp.layers.{i}" for i in range(config.num_token_mlp_layers)}
    branches = [("token_branch", "token")] + ([("decoder_branch", "decoder")] if config.num_decoder_layers else [])
    for ours, theirs in branches:
        pairs[f"{ours}.head.classify"] = f"head.class_embed_{theirs}"
        pairs |= {f"{ours}.head.locate.layers.{i}": f"head.bbox_embed_{theirs}.layers.{i}" for i in range(3)}
    for ours, theirs in pairs.items():
        for part in ("weight", "bias"):
            names[f"{ours}.{part}"] = [f"{theirs}.{part}"]
    return names
