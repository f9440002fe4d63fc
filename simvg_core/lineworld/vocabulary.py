"""Words of the line: what there is, what it is called, and which of its names are kept out of training.

The order of KINDS and COLORS is the class order of the dense training aid.
"""

from __future__ import annotations

from dataclasses import dataclass

KINDS = (
    "plate", "hex_bolt", "socket_screw", "cross_screw", "nut", "washer", "threaded_hole", "drilled_hole",
    "missing_bolt", "missing_screw", "cap", "connector", "label", "cable", "gear", "spanner", "screwdriver", "pliers",
    "scratch", "dent", "stain",
)  # fmt: skip
COLORS = ("red", "orange", "yellow", "green", "blue", "white", "black", "grey", "steel", "brass", "copper")
STATES = ("ok", "tilted", "crooked", "wrong_color")
SIZES = ("small", "medium", "large")

# Dense classes beyond KINDS: a thing in a bad state is a class of its own, so that the image features tell them apart.
DENSE_STATES = (("hex_bolt", "tilted"), ("socket_screw", "tilted"), ("cross_screw", "tilted"), ("label", "crooked"))
NUM_DENSE_KINDS = len(KINDS) + len(DENSE_STATES)

# Kinds that a person may take for one another when they are not clear.
LOOK_ALIKES = (
    frozenset({"missing_bolt", "missing_screw", "threaded_hole", "drilled_hole"}),
    frozenset({"hex_bolt", "socket_screw", "cross_screw", "nut"}),
    frozenset({"scratch", "dent", "stain"}),
)
# Colours that two people may call differently: neither a hit nor a miss.
COLOR_NEIGHBOURS = (
    frozenset({"grey", "steel"}),
    frozenset({"white", "steel"}),
    frozenset({"yellow", "brass"}),
    frozenset({"orange", "copper"}),
)
COLOR_WORDS = {color: (color,) for color in COLORS} | {"grey": ("grey", "gray")}
SIZE_WORDS = {"small": ("small", "little"), "large": ("large", "big")}

HOLES = frozenset({"missing_bolt", "missing_screw", "threaded_hole", "drilled_hole"})
MISSING = frozenset({"missing_bolt", "missing_screw"})
SCREWS = frozenset({"socket_screw", "cross_screw"})
FASTENERS = SCREWS | {"hex_bolt"}
TOOLS = frozenset({"spanner", "screwdriver", "pliers"})


@dataclass(frozen=True, slots=True)
class Concept:
    """Something one can ask for: its meaning, and its names as (singular, plural).

    `doubtful` kinds are neither a hit nor a miss: an empty bolt hole may well be called a threaded hole, and its bright
    contact ring a washer; from above a dark thread looks like a plain bore.
    `statements` are sentences that are true exactly when an instance is in view. `*_held_out` names are never used in
    training; the benchmark asks them as "synonym".
    """

    key: str
    kinds: frozenset[str]
    names: tuple[tuple[str, str], ...]
    held_out: tuple[tuple[str, str], ...] = ()
    state: str | None = None
    doubtful: frozenset[str] = frozenset()
    statements: tuple[str, ...] = ()
    statements_held_out: tuple[str, ...] = ()
    colored: bool = False
    sized: bool = False
    defect: bool = False


def named(*names: str) -> tuple[tuple[str, str], ...]:
    """Names as (singular, plural): regular plurals, "singular|plural" for the others."""
    pairs = []
    for name in names:
        singular, _, plural = name.partition("|")
        pairs.append((singular, plural or _plural(singular)))
    return tuple(pairs)


def _plural(name: str) -> str:
    if name.endswith(("s", "x", "ch", "sh")):
        return name + "es"
    return name + "s"


def _kinds(*kinds: str) -> frozenset[str]:
    return frozenset(kinds)


CONCEPTS: tuple[Concept, ...] = (
    Concept("bolt", _kinds("hex_bolt"), named("bolt", "hex bolt", "hexagon bolt", "hex head bolt"),
            named("hexagonal bolt", "machine bolt"), colored=True, sized=True),
    Concept("socket_screw", _kinds("socket_screw"), named("socket screw", "allen screw", "socket head screw"),
            named("allen head screw"), colored=True),
    Concept("cross_screw", _kinds("cross_screw"), named("cross screw", "phillips screw", "cross head screw"),
            named("phillips head screw"), colored=True),
    Concept("screw", SCREWS, named("screw"), colored=True),
    Concept("fastener", FASTENERS, named("fastener"), doubtful=_kinds("nut")),
    Concept("nut", _kinds("nut"), named("nut", "hex nut"), named("hexagon nut"), colored=True, sized=True),
    Concept("washer", _kinds("washer"), named("washer", "flat washer"), named("washer ring"), colored=True,
            sized=True, doubtful=_kinds("missing_bolt")),
    Concept("threaded_hole", _kinds("threaded_hole"), named("threaded hole", "tapped hole"),
            named("screw thread hole"), doubtful=MISSING | {"drilled_hole"}),
    Concept("drilled_hole", _kinds("drilled_hole"), named("drilled hole", "plain hole"), named("bored hole"),
            doubtful=MISSING | {"threaded_hole"}),
    Concept("hole", HOLES, named("hole"), named("opening")),
    Concept("cap", _kinds("cap"), named("cap", "plastic cap", "cover cap"), named("end cap"), colored=True,
            sized=True),
    Concept("connector", _kinds("connector"), named("connector", "plug", "electrical connector"),
            named("plug connector"), colored=True),
    Concept("label", _kinds("label"), named("label", "sticker", "tag"), named("printed label"), colored=True),
    # not by colour: its ends are black, whatever colour it has
    Concept("cable", _kinds("cable"), named("cable", "wire"), named("electric cable", "cord")),
    Concept("gear", _kinds("gear"), named("gear", "cog", "gear wheel"), named("cogwheel"), colored=True, sized=True),
    Concept("spanner", _kinds("spanner"), named("spanner", "wrench"), named("open end spanner")),
    Concept("screwdriver", _kinds("screwdriver"), named("screwdriver"), named("screw driver")),
    Concept("pliers", _kinds("pliers"), named("pair of pliers|pairs of pliers"),
            named("pair of tongs|pairs of tongs")),
    Concept("tool", TOOLS, named("tool", "hand tool")),
    Concept("plate", _kinds("plate"), named("plate", "base plate", "assembly plate"), named("mounting plate"),
            colored=True),
    Concept("missing_bolt", _kinds("missing_bolt"),
            named("missing bolt", "empty bolt hole", "absent bolt", "hole without a bolt|holes without a bolt"),
            named("missing hex bolt", "vacant bolt hole"), defect=True,
            statements=("a bolt is missing", "bolt is missing", "bolt missing", "there is a bolt missing",
                        "the bolt has not been installed"),
            statements_held_out=("a bolt was forgotten", "one bolt is not there")),
    Concept("missing_screw", _kinds("missing_screw"),
            named("missing screw", "empty screw hole", "absent screw", "hole without a screw|holes without a screw"),
            named("vacant screw hole"), defect=True,
            statements=("a screw is missing", "screw is missing", "screw missing", "there is a screw missing"),
            statements_held_out=("a screw was forgotten",)),
    Concept("missing_fastener", MISSING, named("missing fastener", "empty fastener hole"), defect=True),
    Concept("loose_bolt", _kinds("hex_bolt"),
            named("loose bolt", "tilted bolt", "bolt that is not tight|bolts that are not tight"),
            named("leaning bolt", "unscrewed bolt"), state="tilted", defect=True,
            statements=("a bolt is loose", "bolt is loose", "a bolt has come loose", "the bolt is not tight"),
            statements_held_out=("a bolt has worked itself loose",)),
    Concept("loose_screw", SCREWS, named("loose screw", "tilted screw"), named("leaning screw"), state="tilted",
            defect=True, statements=("a screw is loose", "screw is loose", "a screw has come loose")),
    Concept("loose_fastener", FASTENERS, named("loose fastener"), state="tilted", defect=True),
    Concept("tight_bolt", _kinds("hex_bolt"), named("tight bolt", "straight bolt"), state="ok"),
    Concept("crooked_label", _kinds("label"),
            named("crooked label", "tilted label", "misaligned label", "skewed label"),
            named("slanted label", "crooked sticker"), state="crooked", defect=True,
            statements=("the label is crooked", "label is crooked", "label not straight", "the label is not straight"),
            statements_held_out=("the label sits askew",)),
    Concept("straight_label", _kinds("label"), named("straight label"), state="ok"),
    Concept("wrong_cap", _kinds("cap"),
            named("cap of the wrong colour|caps of the wrong colour", "wrong color cap", "wrongly coloured cap"),
            named("cap in the wrong color|caps in the wrong color"), state="wrong_color", defect=True,
            statements=("the cap has the wrong colour", "a cap has the wrong color")),
    Concept("wrong_connector", _kinds("connector"),
            named("connector of the wrong colour|connectors of the wrong colour", "wrong color connector"),
            state="wrong_color", defect=True, statements=("the connector has the wrong colour",)),
    Concept("scratch", _kinds("scratch"), named("scratch", "scratch mark"), named("scrape"), defect=True,
            statements=("the surface is scratched", "the plate has a scratch")),
    Concept("dent", _kinds("dent"), named("dent", "ding"), named("dented spot"), defect=True,
            statements=("the surface is dented", "the plate has a dent")),
    Concept("stain", _kinds("stain"), named("stain", "oil stain", "smudge"), named("oil spot", "blot"), defect=True,
            statements=("the surface is stained", "the plate has a stain")),
    Concept("surface_damage", _kinds("scratch", "dent"), named("damaged spot"), doubtful=_kinds("stain"), defect=True),
    Concept("surface_defect", _kinds("scratch", "dent", "stain"), named("surface defect"), defect=True),
)  # fmt: skip
BY_KEY = {concept.key: concept for concept in CONCEPTS}

# Concepts that look like each other: asking for one where another is in view makes a hard negative.
RIVALS: dict[str, tuple[str, ...]] = {
    "missing_bolt": ("missing_screw", "drilled_hole", "threaded_hole", "bolt"),
    "missing_screw": ("missing_bolt", "drilled_hole", "threaded_hole", "socket_screw", "cross_screw"),
    "loose_bolt": ("bolt",),
    "loose_screw": ("screw",),
    "crooked_label": ("label",),
    "straight_label": ("crooked_label",),
    "wrong_cap": ("cap",),
    "wrong_connector": ("connector",),
    "socket_screw": ("cross_screw", "bolt"),
    "cross_screw": ("socket_screw", "bolt"),
    "bolt": ("socket_screw", "cross_screw", "nut"),
    "nut": ("bolt", "washer"),
    "washer": ("nut", "hole"),
    "scratch": ("dent", "stain"),
    "dent": ("stain", "scratch"),
    "stain": ("dent", "scratch", "label"),
    "cap": ("connector",),
    "connector": ("cap", "label"),
    "gear": ("washer", "nut"),
    "spanner": ("screwdriver", "pliers"),
    "screwdriver": ("spanner", "pliers"),
    "pliers": ("spanner", "screwdriver"),
}

# For the tokenizer: general words an operator may type, so that none is spelt letter by letter.
PLAIN_WORDS = tuple(
    """
a about above across after again all along also and any are around as at away back bad because been before behind being
below belt beside between bottom box bracket bright broken bubble burnt but button by camera can car case center centre
chip circle clamp clean clear clip close closed closest coil color colour come component corner corroded cover crack
cracked crate cut damaged dark deep different dirt dirty disc does done door down drop dry dust each edge electrical
else empty end engine error every face far fault fewer fill filled finger first fit fixed flat floor foil for foreign
found four frame free from front full gap gasket glass glove glue grease green hand handle hanging has have here high
hinge hose hot housing if in inside installed into is it its joint just keep key large last leak left less lever lid
light like line little long look low lower machine many mark material metal middle misplaced missing more most motor
mounted near nearest new next nine no none not number object of off oil old on one only open or other out outside over
package packaging paint panel paper part parts pen people person piece pile pin pipe place placed plastic point
position present press product put rail rear right ring robot roll roller rough round row rubber rust rusty safety same
screen seal second sensor seven several shadow shape sharp shelf shiny short show side sign silver single six slot
small smoke so some something spacer spark spill spring square stack stand stick still stop strap stripe surface swarf
switch table tall tape terminal than that the their then there these thick thin thing this three tight to together too
tool top touching tray tube turned two under up upper upside down valve very warning was water wear wet wheel where
which while wide window wire with without wood worker worn wrong yellow zero show find detect see any theres
""".split()  # noqa: SIM905  (a list of four hundred strings is no easier to read)
)
