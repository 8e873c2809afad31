"""Lights: directional lamps and an ambient light that depends on direction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engines.synth.assets import Floats


@dataclass(frozen=True, slots=True)
class Lamp:
    """A distant light. azimuth_deg > 0 stands on the picture's right; elevation_deg above.

    colour: linear RGB radiance; highlight: strength of its mirror image; softness_dm: radius over
    which its shadow is blurred.
    """

    azimuth_deg: float
    elevation_deg: float
    colour: tuple[float, float, float]
    highlight: float = 1.0
    softness_dm: float = 0.12


@dataclass(frozen=True, slots=True)
class Light:
    """Lamps (the first casts the shadow) and ambient light from above, below, left, right, front.

    between: of a mixture, the two lights and the second one's part; what depends on a lamp's side of the
    room (window left, lamp right) is mixed by it, or it would jump when a mixed lamp crosses the middle.
    """

    name: str
    lamps: tuple[Lamp, ...]
    sky: tuple[float, float, float] = (0.30, 0.31, 0.33)
    ground: tuple[float, float, float] = (0.16, 0.15, 0.14)
    front: tuple[float, float, float] = (0.08, 0.08, 0.085)
    side: tuple[float, float, float] = (0.0, 0.0, 0.0)
    exposure: float = 1.0
    between: tuple[Light, Light, float] | None = None

    def lamp_rows(self, dm_to_map: float) -> Floats:
        """Rows (L, 8): direction to the lamp, colour, highlight, shadow radius in map pixels."""
        rows = []
        for lamp in self.lamps:
            a, e = np.deg2rad([lamp.azimuth_deg, lamp.elevation_deg])
            d = (np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e))
            rows.append([*d, *lamp.colour, lamp.highlight, lamp.softness_dm * dm_to_map])
        return np.array(rows, np.float32)

    def ambient_rows(self) -> Floats:
        """Rows (4, 3): mean, and the change along x (side), y (sky - ground), z (front)."""
        sky, ground = np.array(self.sky), np.array(self.ground)
        return np.array([(sky + ground) / 2, self.side, (sky - ground) / 2, self.front],
                        np.float32)


def grey(value: float) -> tuple[float, float, float]:
    """The same in red, green and blue."""
    return (value, value, value)


def mix_lights(a: Light, b: Light, part: float) -> Light:
    """The light between two with equally many lamps: part 0 is a, 1 is b."""
    def lerp(p: tuple[float, ...], q: tuple[float, ...]) -> tuple[float, float, float]:
        x, y, z = ((1 - part) * np.array(p) + part * np.array(q)).tolist()
        return (x, y, z)

    lamps = tuple(
        Lamp((1 - part) * p.azimuth_deg + part * q.azimuth_deg,
             (1 - part) * p.elevation_deg + part * q.elevation_deg, lerp(p.colour, q.colour),
             (1 - part) * p.highlight + part * q.highlight,
             (1 - part) * p.softness_dm + part * q.softness_dm)
        for p, q in zip(a.lamps, b.lamps, strict=True))
    return Light(a.name if part < 0.5 else b.name, lamps, lerp(a.sky, b.sky),
                 lerp(a.ground, b.ground), lerp(a.front, b.front), lerp(a.side, b.side),
                 (1 - part) * a.exposure + part * b.exposure, (a, b, part))


SOFT_FRONT = Light(
    "soft",
    (Lamp(-18, 26, (0.62, 0.60, 0.58), 1.0, 0.35), Lamp(32, 14, (0.36, 0.36, 0.37), 0.8),
     Lamp(-150, 30, (0.20, 0.20, 0.21), 0.5)),
    sky=(0.46, 0.46, 0.47), ground=(0.27, 0.26, 0.25), front=(0.16, 0.16, 0.16))
"""Even light of a portrait studio: for personas."""

ROOM_DAY = Light(
    "day",
    (Lamp(-42, 24, (0.86, 0.86, 0.90), 1.0, 0.22), Lamp(38, 12, (0.22, 0.20, 0.18), 0.5),
     Lamp(150, 35, (0.22, 0.20, 0.17), 0.6)),
    sky=(0.30, 0.31, 0.34), ground=(0.16, 0.15, 0.14), front=(0.10, 0.10, 0.105))
ROOM_WARM = Light(
    "warm",
    (Lamp(36, 32, (0.98, 0.74, 0.50), 1.0, 0.16), Lamp(-40, 8, (0.20, 0.19, 0.20), 0.5),
     Lamp(-150, 35, (0.20, 0.17, 0.14), 0.6)),
    sky=(0.26, 0.22, 0.18), ground=(0.15, 0.12, 0.10), front=(0.09, 0.085, 0.08))
ROOM_COOL = Light(
    "cool",
    (Lamp(-30, 12, (0.58, 0.70, 0.92), 1.0, 0.25), Lamp(40, 20, (0.20, 0.22, 0.27), 0.5),
     Lamp(150, 30, (0.16, 0.18, 0.22), 0.6)),
    sky=(0.24, 0.27, 0.33), ground=(0.14, 0.15, 0.17), front=(0.11, 0.13, 0.16))
ROOM_DIM = Light(
    "dim",
    (Lamp(-8, 4, (0.34, 0.38, 0.46), 1.0, 0.3), Lamp(60, 25, (0.16, 0.12, 0.08), 0.5),
     Lamp(-140, 30, (0.10, 0.09, 0.08), 0.5)),
    sky=(0.10, 0.10, 0.11), ground=(0.07, 0.07, 0.07), front=(0.06, 0.065, 0.075))
ROOM_SIDE = Light(
    "side",
    (Lamp(-78, 18, (1.05, 0.98, 0.90), 1.0, 0.14), Lamp(55, 5, (0.10, 0.10, 0.11), 0.4),
     Lamp(140, 30, (0.16, 0.16, 0.17), 0.6)),
    sky=(0.19, 0.20, 0.21), ground=(0.11, 0.11, 0.11), front=(0.05, 0.05, 0.05))
