"""Other things that people call what is on the line: names and sentences that training says beside those of the
vocabulary, so that operators need not find the one word that the model knows.

The benchmark never asks them, and none holds a phrasing that is kept for the benchmark ("synonym"): words of such a
phrasing may occur, but in other company.
"""

from __future__ import annotations

from collections.abc import Mapping

from simvg_core.lineworld.vocabulary import BY_KEY, Concept, named

_NAMES: dict[str, str] = {
    "bolt": "hexagonal head bolt, hexagon head bolt, hex headed bolt, hex head, hex cap bolt, six sided bolt, "
    "mounting bolt, fixing bolt, metal bolt",
    "socket_screw": "hex socket screw, hexagon socket screw, socket cap screw, allen key screw, allen drive screw, "
    "inner hex screw",
    "cross_screw": "cross slot screw, cross slotted screw, cross recess screw, crosshead screw, philips screw, "
    "phillips drive screw, phillips screw head",
    "screw": "machine screw, fixing screw, mounting screw, metal screw, screw head",
    "fastener": "fixing, fastening, threaded fastener, bolt or screw|bolts or screws, screw or bolt|screws or bolts",
    "nut": "hexagonal nut, six sided nut, threaded nut, screw nut, metal nut",
    "washer": "plain washer, metal washer, ring washer, shim, shim ring, flat ring",
    "threaded_hole": "hole with a thread|holes with a thread, hole with thread|holes with thread, threaded bore, "
    "tapped bore, hole for a screw thread|holes for a screw thread",
    "drilled_hole": "unthreaded hole, smooth hole, hole without thread|holes without thread, drill hole, through hole, "
    "hole bored in the plate|holes bored in the plate, bore without thread|bores without thread",
    "hole": "open hole, round hole",
    "cap": "lid, cover, plastic cover, plastic lid, dust cap, protective cap, sealing cap, closing cap, stopper, "
    "end stopper, end cover",
    "connector": "electrical plug, electric plug, electric connector, wire connector, cable connector, "
    "terminal connector, plug in connector, cable plug",
    "label": "decal, paper label, adhesive label, type label, product label, paper tag, printed sticker, printed tag",
    "cable": "lead, power cable, power lead, electrical wire, electric wire, electrical cable, flex, wiring",
    "gear": "toothed wheel, cog wheel, gearwheel, spur gear, tooth wheel, toothed gear",
    "spanner": "open ended spanner, open end wrench|open end wrenches, open ended wrench|open ended wrenches, "
    "flat spanner, fork spanner, combination spanner",
    "screwdriver": "hand screwdriver, driver, hand driver",
    "pliers": "pliers|pliers, tongs|tongs, pincers|pincers, hand pliers|hand pliers",
    "tool": "workshop tool, forgotten tool, tool left behind|tools left behind, tool lying about|tools lying about",
    "plate": "metal plate, panel, metal panel, mounting panel, base panel, carrier plate, support plate",
    "missing_bolt": "missing hexagon bolt, missing hex head bolt, absent hex bolt, lost bolt, forgotten bolt, "
    "unoccupied bolt hole, open bolt hole, vacant hole for a bolt|vacant holes for a bolt, "
    "empty hole for a bolt|empty holes for a bolt, bolt hole without a bolt|bolt holes without a bolt, "
    "hole where a bolt should be|holes where a bolt should be, hole with no bolt|holes with no bolt, "
    "hole with no bolt in it|holes with no bolt in them, place without a bolt|places without a bolt, "
    "gap where a bolt belongs|gaps where a bolt belongs, bolt not installed|bolts not installed",
    "missing_screw": "lost screw, forgotten screw, unoccupied screw hole, open screw hole, "
    "vacant hole for a screw|vacant holes for a screw, empty hole for a screw|empty holes for a screw, "
    "screw hole without a screw|screw holes without a screw, "
    "hole where a screw should be|holes where a screw should be, hole with no screw|holes with no screw, "
    "hole with no screw in it|holes with no screw in them, place without a screw|places without a screw, "
    "gap where a screw belongs|gaps where a screw belongs, screw not installed|screws not installed",
    "missing_fastener": "absent fastener, lost fastener, forgotten fastener, vacant fastener hole, "
    "unoccupied fastener hole, missing bolt or screw|missing bolts or screws, "
    "hole without a fastener|holes without a fastener",
    "loose_bolt": "bolt that is loose|bolts that are loose, bolt that is leaning|bolts that are leaning, "
    "bolt that leans|bolts that lean, bolt that is unscrewed|bolts that are unscrewed, "
    "bolt that sits askew|bolts that sit askew, bolt that is not tightened|bolts that are not tightened, "
    "untightened bolt, unfastened bolt, slanted bolt, slanting bolt, crooked bolt, tipped bolt, skewed bolt, "
    "bolt at an angle|bolts at an angle, bolt not tightened|bolts not tightened",
    "loose_screw": "screw that is loose|screws that are loose, screw that is leaning|screws that are leaning, "
    "screw that is not tight|screws that are not tight, unscrewed screw, untightened screw, unfastened screw, "
    "slanted screw, crooked screw, skewed screw, screw at an angle|screws at an angle",
    "loose_fastener": "leaning fastener, unscrewed fastener, tilted fastener, unfastened fastener, "
    "fastener that is not tight|fasteners that are not tight, loose bolt or screw|loose bolts or screws",
    "tight_bolt": "tightened bolt, fastened bolt, bolt that is tight|bolts that are tight, fully tightened bolt, "
    "bolt that sits straight|bolts that sit straight",
    "crooked_label": "slanting label, askew label, inclined label, rotated label, turned label, "
    "label that is slanted|labels that are slanted, label that is crooked|labels that are crooked, "
    "label that sits askew|labels that sit askew, label that is not straight|labels that are not straight, "
    "label at an angle|labels at an angle, tilted sticker, skewed sticker, misaligned sticker, slanted sticker, "
    "crooked tag, skewed tag, slanted tag, tilted tag",
    "straight_label": "aligned label, well aligned label, level label, straight sticker, straight tag, "
    "label that is straight|labels that are straight, label that sits straight|labels that sit straight",
    "wrong_cap": "cap with the wrong colour|caps with the wrong colour, "
    "cap of the wrong color|caps of the wrong color, wrong colour cap, wrong coloured cap, wrongly colored cap, "
    "miscoloured cap, cap whose colour is wrong|caps whose colour is wrong",
    "wrong_connector": "connector with the wrong colour|connectors with the wrong colour, "
    "connector in the wrong color|connectors in the wrong color, wrong colour connector, wrongly coloured connector, "
    "plug of the wrong colour|plugs of the wrong colour",
    "scratch": "scratch line, surface scratch, scratched spot, scratched area, score mark, scoring",
    "dent": "dented area, dented place, surface dent, depression, dent mark",
    "stain": "smear, oil smear, oil mark, grease stain, dirty spot, dirt mark, spot of oil|spots of oil, blotch",
    "surface_damage": "damaged area, damaged place, surface damage|surface damages, damage to the surface|damages to "
    "the surface",
    "surface_defect": "flaw, surface flaw, blemish, surface fault, surface blemish, defect on the surface|defects on "
    "the surface",
}  # fmt: skip

_STATEMENTS: dict[str, str] = {
    "missing_bolt": "the bolt is missing; one bolt is missing; one of the bolts is missing; bolts are missing; "
    "a bolt is absent; a bolt has been forgotten; somebody forgot a bolt; a bolt was not installed; "
    "no bolt installed; no bolt in the hole; there is no bolt in the hole; the bolt is not in its hole; "
    "the bolt is not there; a bolt hole is empty; the bolt hole is empty; a bolt hole is vacant; "
    "a bolt has fallen out; the bolt is gone; a bolt is lost",
    "missing_screw": "the screw is missing; one screw is missing; one of the screws is missing; screws are missing; "
    "a screw is absent; a screw has been forgotten; somebody forgot a screw; a screw was not installed; "
    "no screw in the hole; there is no screw in the hole; the screw is not there; a screw hole is empty; "
    "the screw hole is empty; a screw hole is vacant; a screw has fallen out; the screw is gone",
    "missing_fastener": "a fastener is missing; a bolt or screw is missing; a fastener was forgotten",
    "loose_bolt": "the bolt is loose; bolts are loose; a bolt is not tight; a bolt is not tightened; "
    "a bolt is leaning; a bolt is unscrewed; a bolt has worked loose; a bolt came loose; a bolt is tilted; "
    "a bolt sits askew; a bolt is coming out; the bolt has come loose",
    "loose_screw": "the screw is loose; screws are loose; a screw is not tight; a screw is not tightened; "
    "a screw is leaning; a screw is unscrewed; a screw has worked loose; a screw came loose; a screw is tilted; "
    "a screw has worked itself loose",
    "loose_fastener": "a fastener is loose; a fastener is not tight; a bolt or screw is loose",
    "crooked_label": "a label is crooked; label crooked; the label sits crooked; the label is slanted; "
    "the label is askew; the label is skewed; the label is tilted; the label is misaligned; the label is turned; "
    "the label sits at an angle; the label is not level; the sticker is crooked; the sticker is not straight; "
    "the sticker sits askew; the label was put on crooked",
    "wrong_cap": "the colour of the cap is wrong; the cap has the wrong color; a cap has the wrong colour",
    "wrong_connector": "the colour of the connector is wrong; a connector has the wrong colour",
    "scratch": "there is a scratch; the surface has a scratch; the plate is scratched; a scratch on the surface",
    "dent": "there is a dent; the surface has a dent; the plate is dented; a dent in the surface",
    "stain": "there is a stain; the surface has a stain; the plate is stained; the surface is dirty; "
    "oil on the surface; there is oil on the plate; a stain on the surface",
}


def further_names(concept: Concept) -> tuple[tuple[str, str], ...]:
    """More of a concept's names as (singular, plural)."""
    return NAMES.get(concept.key, ())


def further_statements(concept: Concept) -> tuple[str, ...]:
    """More sentences that are true exactly when an instance of the concept is in view."""
    return STATEMENTS.get(concept.key, ())


def _split(table: Mapping[str, str], at: str) -> dict[str, list[str]]:
    assert set(table) <= set(BY_KEY), "wordings of concepts that there are"
    return {key: [" ".join(one.split()) for one in text.split(at)] for key, text in table.items()}


NAMES = {key: named(*found) for key, found in _split(_NAMES, ",").items()}
STATEMENTS = {key: tuple(found) for key, found in _split(_STATEMENTS, ";").items()}
