"""The drawn objects: eight kinds that sound and some things that never do, each with own colours and proportions."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from avol.train.scenes.drawing import Drawing, Shape, ellipse, hsv, polygon, ring, stroke

Draw = Callable[[np.random.Generator], list[Shape]]


def draw_guitar(rng: np.random.Generator) -> list[Shape]:
    """Acoustic guitar, neck up."""
    hue, waist = rng.uniform(0.03, 0.1), rng.uniform(0.9, 1.1)
    edge, wood, light = hsv(hue, 0.85, 0.4), hsv(hue, 0.75, 0.8), hsv(hue, 0.6, 0.92)
    dark, cream = hsv(hue, 0.5, 0.16), (240, 228, 200)
    shapes = [
        stroke(dark, 0.17, (0, -1.5), (0, 0.1)),
        polygon(edge, (-0.15, -1.85), (0.15, -1.85), (0.11, -1.4), (-0.11, -1.4)),
    ]
    for grow, colour in ((0.05, edge), (0.0, wood)):
        shapes += [
            ellipse(colour, 0, 0.62, 0.62 + grow, 0.52 + grow),
            ellipse(colour, 0, -0.08, 0.46 * waist + grow, 0.4 + grow),
        ]
    shapes += [ellipse(light, -0.12, 0.6, 0.38, 0.36), ellipse(edge, 0, 0.12, 0.25), ellipse(dark, 0, 0.12, 0.2)]
    shapes += [stroke(dark, 0.15, (0, -1.45), (0, -0.05)), stroke(dark, 0.11, (-0.26, 0.68), (0.26, 0.68))]
    shapes += [stroke(cream, 0.018, (x, -1.7), (x * 1.3, 0.68)) for x in (-0.055, -0.02, 0.02, 0.055)]
    shapes += [stroke(cream, 0.02, (-0.07, y), (0.07, y)) for y in (-1.35, -1.1, -0.87, -0.66, -0.48)]
    return shapes + [ellipse(cream, side * 0.17, y, 0.04) for side in (-1, 1) for y in (-1.75, -1.63, -1.51)]


def draw_bell(rng: np.random.Generator) -> list[Shape]:
    """Hand-cast bell on a hook."""
    hue, flare = rng.uniform(0.11, 0.15), rng.uniform(0.9, 1.15)
    edge, gold, light, dark = (
        hsv(hue, 0.95, 0.55),
        hsv(hue, 0.85, 0.9),
        hsv(hue - 0.01, 0.4, 1.0),
        hsv(hue - 0.03, 0.9, 0.35),
    )
    heights = np.linspace(0, 1, 16)
    radii = 0.36 * np.sqrt(np.minimum(heights * 8, 1)) + 0.16 * heights + 0.3 * flare * heights**5

    def side(scale: float, shift: float) -> list[tuple[float, float]]:
        return [(scale * r + shift, -0.8 + 1.45 * h) for r, h in zip(radii, heights, strict=True)]

    shapes = [ring(dark, 0, -0.92, 0.13, 0.15, 0.08), ellipse(dark, 0, 0.78, 0.17), ellipse(edge, -0.04, 0.75, 0.08)]
    shapes += [
        polygon(edge, *side(1.06, 0), *side(-1.06, 0)[::-1]),
        polygon(gold, *side(0.96, 0), *side(-0.96, 0)[::-1]),
    ]
    shapes += [
        polygon(light, *side(-0.62, 0), *side(-0.36, 0)[::-1]),
        polygon(edge, *side(0.96, 0), *side(0.78, 0)[::-1]),
    ]
    return [*shapes, stroke(edge, 0.06, (-0.5, 0.25), (0.5, 0.25)), stroke(edge, 0.05, (-0.44, -0.3), (0.44, -0.3))]


def draw_drum(rng: np.random.Generator) -> list[Shape]:
    """Marching drum with cords and two sticks; the shell is red to magenta."""
    hue, deep = rng.uniform(0.92, 1.0), rng.uniform(0.65, 0.95)
    shell, shade, rim, skin, cord = (
        hsv(hue, 0.85, 0.8),
        hsv(hue, 0.9, 0.55),
        (228, 226, 232),
        (250, 246, 236),
        (245, 240, 225),
    )
    stick = hsv(0.09, 0.5, 0.75)
    shapes = [ellipse(rim, 0, deep / 2 + 0.07, 0.86, 0.28), ellipse(shell, 0, deep / 2, 0.82, 0.26)]
    shapes.append(polygon(shell, (-0.82, -deep / 2), (0.82, -deep / 2), (0.82, deep / 2), (-0.82, deep / 2)))
    shapes += [polygon(shade, (0.5, -deep / 2), (0.82, -deep / 2), (0.82, deep / 2), (0.5, deep / 2 + 0.2))]
    xs = np.linspace(-0.82, 0.82, 7)
    bows = 0.26 * np.sqrt(np.clip(1 - (xs / 0.82) ** 2, 0, 1))
    tops, bottoms = -deep / 2 + bows, deep / 2 + bows
    for i in range(6):
        first, last = (tops[i], bottoms[i + 1]) if i % 2 == 0 else (bottoms[i], tops[i + 1])
        shapes.append(stroke(cord, 0.05, (float(xs[i]), float(first)), (float(xs[i + 1]), float(last))))
    shapes += [ellipse(rim, 0, -deep / 2, 0.88, 0.3), ellipse(hsv(0.1, 0.12, 0.8), 0, -deep / 2, 0.8, 0.25)]
    shapes += [ellipse(skin, 0, -deep / 2 + 0.01, 0.76, 0.22)]
    for way in (-1, 1):
        tip = (way * 0.15, -deep / 2 - 0.02)
        shapes += [stroke(stick, 0.07, (way * 0.95, -deep / 2 - 0.6), tip), ellipse(stick, *tip, 0.08, 0.06)]
    return shapes


def draw_horn(rng: np.random.Generator) -> list[Shape]:
    """Trumpet of pale silver-blue brass with its bell to the right, so that its colour is not the bell's."""
    hue, flare = rng.uniform(0.5, 0.6), rng.uniform(0.38, 0.5)
    edge, brass, light, dark = hsv(hue, 0.7, 0.4), hsv(hue, 0.45, 0.8), hsv(hue, 0.15, 1.0), hsv(hue, 0.8, 0.22)
    xs = np.linspace(0.1, 1.15, 14)
    radii = 0.06 + (flare - 0.06) * ((xs - 0.1) / 1.05) ** 3
    upper = [(float(x), float(-r)) for x, r in zip(xs, radii, strict=True)]
    lower = [(x, -y) for x, y in upper]
    shapes = [stroke(edge, 0.14, (-1.15, 0), (0.2, 0)), stroke(brass, 0.09, (-1.15, 0), (0.2, 0))]
    shapes += [
        polygon(edge, (-1.3, -0.13), (-1.12, -0.05), (-1.12, 0.05), (-1.3, 0.13)),
        ring(edge, -0.2, 0.24, 0.55, 0.25, 0.15),
    ]
    shapes += [ring(brass, -0.2, 0.24, 0.55, 0.25, 0.09), polygon(brass, *upper, *lower[::-1])]
    shapes += [polygon(light, *[(x, y * 0.55) for x, y in upper], *[(x, y * 0.2) for x, y in upper[::-1]])]
    shapes += [ellipse(edge, 1.15, 0, 0.12, flare + 0.02), ellipse(dark, 1.17, 0, 0.08, flare - 0.05)]
    for x in (-0.42, -0.2, 0.02):
        shapes += [stroke(edge, 0.16, (x, -0.2), (x, 0.42)), stroke(light, 0.09, (x, -0.18), (x, 0.4))]
        shapes += [stroke(edge, 0.05, (x, -0.4), (x, -0.2)), ellipse(light, x, -0.4, 0.08, 0.045)]
    return shapes


def draw_siren(rng: np.random.Generator) -> list[Shape]:
    """Beacon with a blue to violet dome on a dark foot."""
    hue, tall = rng.uniform(0.64, 0.73), rng.uniform(0.85, 1.1)
    glass, deep, light = hsv(hue, 0.85, 0.95), hsv(hue, 0.95, 0.55), hsv(hue, 0.25, 1.0)
    foot, steel = (52, 54, 62), (120, 124, 134)
    shapes = [
        ellipse(deep, 0, 0, 0.66, 1.02 * tall, first=0.5, last=1.0),
        ellipse(glass, 0, 0, 0.58, 0.92 * tall, first=0.5, last=1.0),
    ]
    shapes += [ellipse((255, 250, 225), 0, -0.3, 0.2, 0.26), ellipse(light, 0, -0.3, 0.3, 0.06)]
    shapes += [
        ellipse(light, -0.32, -0.5 * tall, 0.07, 0.22, turn=0.05),
        polygon(steel, (-0.75, 0), (0.75, 0), (0.75, 0.2), (-0.75, 0.2)),
    ]
    shapes += [
        polygon(foot, (-0.82, 0.2), (0.82, 0.2), (0.95, 0.55), (-0.95, 0.55)),
        stroke(steel, 0.05, (-0.7, 0.37), (0.7, 0.37)),
    ]
    return [*shapes, *(ellipse(foot, x, 0.1, 0.05) for x in (-0.5, 0.0, 0.5))]


def draw_bee(rng: np.random.Generator) -> list[Shape]:
    """Bee in flight to the right."""
    hue, fat = rng.uniform(0.13, 0.17), rng.uniform(0.42, 0.52)
    yellow, black, wing, wing_edge = hsv(hue, 0.85, 1.0), (38, 32, 30), (222, 238, 250), (150, 180, 205)
    shapes = [ellipse(wing_edge, x, -fat - 0.22, 0.24, 0.5, turn=t) for x, t in ((-0.28, -0.08), (0.16, 0.05))]
    shapes += [ellipse(wing, x, -fat - 0.22, 0.19, 0.45, turn=t) for x, t in ((-0.28, -0.08), (0.16, 0.05))]
    shapes += [
        polygon(black, (-0.8, -0.12), (-1.05, 0.02), (-0.8, 0.14)),
        ellipse(black, 0, 0, 0.88, fat + 0.05),
        ellipse(yellow, 0, 0, 0.83, fat),
    ]
    for x in (-0.52, -0.17, 0.18):
        half = [float(fat * math.sqrt(1 - (e / 0.83) ** 2)) for e in (x - 0.09, x + 0.09)]
        shapes.append(
            polygon(black, (x - 0.09, -half[0]), (x + 0.09, -half[1]), (x + 0.09, half[1]), (x - 0.09, half[0]))
        )
    shapes += [
        ellipse(black, 0.78, -0.05, 0.32),
        ellipse((250, 250, 250), 0.86, -0.12, 0.11),
        ellipse(black, 0.89, -0.12, 0.05),
    ]
    feelers = (((0.8, -0.3), (0.9, -0.5), (1.05, -0.6)), ((0.66, -0.32), (0.7, -0.55), (0.8, -0.7)))
    return shapes + [stroke(black, 0.05, *points) for points in feelers]


def draw_clock(rng: np.random.Generator) -> list[Shape]:
    """Alarm clock in green to teal, at a random time of day."""
    hue = rng.uniform(0.36, 0.46)
    case, shade, face, ink = hsv(hue, 0.75, 0.7), hsv(hue, 0.85, 0.42), (252, 250, 240), (44, 44, 50)
    shapes = [stroke(shade, 0.16, (way * 0.35, 0.6), (way * 0.62, 1.02)) for way in (-1, 1)]
    shapes += [ellipse(case, way * 0.55, -0.82, 0.34, 0.26, turn=way * 0.1) for way in (-1, 1)]
    shapes += [stroke(shade, 0.08, (0, -1.12), (0, -0.85)), ellipse(shade, 0, -1.12, 0.12)]
    shapes += [ellipse(shade, 0, 0, 0.92), ellipse(case, 0, 0, 0.86), ellipse(face, 0, 0, 0.68)]
    for hour in range(12):
        x, y = math.cos(math.tau * hour / 12), math.sin(math.tau * hour / 12)
        shapes.append(stroke(ink, 0.08 if hour % 3 == 0 else 0.05, (0.52 * x, 0.52 * y), (0.62 * x, 0.62 * y)))
    for length, width, angle in zip((0.34, 0.5), (0.1, 0.07), rng.uniform(0, math.tau, 2), strict=True):
        shapes.append(stroke(ink, width, (0, 0), (length * math.cos(angle), length * math.sin(angle))))
    return [*shapes, ellipse(hsv(0.02, 0.8, 0.85), 0, 0, 0.08)]


def draw_bird(rng: np.random.Generator) -> list[Shape]:
    """Plump little bird, rosy to orange below, looking right."""
    hue, plump = rng.uniform(0.01, 0.06), rng.uniform(0.52, 0.62)
    breast, back, dark, beak = hsv(hue, 0.75, 0.95), (112, 92, 84), (60, 50, 48), (250, 200, 70)
    shapes = [polygon(dark, (-0.5, 0.1), (-1.25, 0.02), (-1.3, 0.26), (-0.5, 0.42))]
    shapes += [stroke(beak, 0.06, (x, 0.5), (x + 0.03, 0.95), (x + 0.15, 0.98)) for x in (-0.05, 0.2)]
    shapes += [
        ellipse(back, 0, 0.1, 0.78, plump),
        ellipse(breast, 0.22, 0.2, 0.55, plump - 0.1),
        ellipse(back, 0.5, -0.42, 0.4),
    ]
    shapes += [ellipse(breast, 0.62, -0.32, 0.27), polygon(beak, (0.84, -0.52), (1.22, -0.38), (0.84, -0.26))]
    shapes += [ellipse((255, 255, 255), 0.6, -0.5, 0.11), ellipse((20, 20, 20), 0.63, -0.5, 0.065)]
    return [*shapes, ellipse(dark, -0.2, 0.08, 0.52, 0.27, turn=0.03), ellipse(back, -0.12, 0.02, 0.4, 0.19, turn=0.03)]


def draw_silent_thing(rng: np.random.Generator) -> list[Shape]:
    """A ball, a crate, a potted plant, a mug or a balloon, in any colour."""
    hue = rng.uniform()
    main, shade, light = hsv(hue, 0.6, 0.8), hsv(hue, 0.7, 0.5), hsv(hue, 0.3, 0.95)
    match int(rng.integers(5)):
        case 0:
            return [ellipse(shade, 0, 0, 1), ellipse(main, -0.06, -0.06, 0.92), ellipse(light, -0.3, -0.35, 0.3)]
        case 1:
            gaps = [stroke(shade, 0.06, (-0.8, y), (0.8, y)) for y in (-0.4, 0.0, 0.4)]
            inner = [polygon(main, (-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)), *gaps]
            return [polygon(shade, (-1, -1), (1, -1), (1, 1), (-1, 1)), *inner, ring(light, 0, 0, 0.3, 0.3, 0.1)]
        case 2:
            leaf, leaf_shade = hsv(rng.uniform(0.24, 0.36), 0.6, 0.6), hsv(rng.uniform(0.24, 0.36), 0.7, 0.42)
            leaves = [
                ellipse(c, x, -0.35, 0.16, 0.6, turn=x / 4) for x, c in ((-0.4, leaf), (0.4, leaf_shade), (0.0, leaf))
            ]
            return [
                *leaves,
                polygon(main, (-0.5, 0.1), (0.5, 0.1), (0.36, 0.9), (-0.36, 0.9)),
                stroke(shade, 0.16, (-0.55, 0.12), (0.55, 0.12)),
            ]
        case 3:
            return [
                ring(shade, 0.62, 0, 0.3, 0.32, 0.14),
                polygon(main, (-0.6, -0.7), (0.6, -0.7), (0.55, 0.75), (-0.55, 0.75)),
                ellipse(light, 0, -0.7, 0.6, 0.14),
            ]
        case _:
            string = stroke((90, 90, 90), 0.04, (0, 0.8), (0.06, 1.2), (-0.04, 1.6))
            return [string, ellipse(main, 0, 0, 0.7, 0.85), ellipse(light, -0.22, -0.35, 0.16, 0.24, turn=0.06)]


DRAWINGS: dict[str, Draw] = {
    "guitar": draw_guitar,
    "bell": draw_bell,
    "drum": draw_drum,
    "horn": draw_horn,
    "siren": draw_siren,
    "bee": draw_bee,
    "clock": draw_clock,
    "bird": draw_bird,
}


def sounding_object(kind: str, rng: np.random.Generator) -> Drawing:
    """A drawing of ``kind`` with its own colours and proportions."""
    return Drawing(DRAWINGS[kind](rng))


def silent_object(rng: np.random.Generator) -> Drawing:
    """A drawing of something that never sounds."""
    return Drawing(draw_silent_thing(rng))
