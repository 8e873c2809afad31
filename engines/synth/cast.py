"""People for many pictures: built once, kept in memory and on disk.

What takes long (painting skin, baking occlusion) is stored under a cache folder by the look's
fingerprint; the rest is built anew.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import cached_property
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from engines.synth import hybrid, parsing
from engines.synth.assets import Bytes, Floats
from engines.synth.glasses import Glasses
from engines.synth.person import Look, Person
from engines.synth.scene import Occlusion, Renderer, bake_occlusion
from engines.synth.skin import SkinMaps

MAP_SIZE = 1024
"""Side of the skin maps: a face of 250 px across shows about one texel and a half a pixel."""
OCCLUSION_SIDES, OCCLUSION_SIZE = 26, 176
SHADOW_SIZE = 480
VERSION = "1"
"""Part of every fingerprint; to be raised when painting or baking changes."""
PEOPLE_KEPT, PAIRS_KEPT = 40, 24

LookKey = tuple[str, Glasses | None]
"""A look as a key: its fingerprint and what that leaves out."""
Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Kept(Generic[Key, Value]):
    """The values used last, at most `size`."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[Key, Value] = OrderedDict()

    def get(self, key: Key, make: Callable[[], Value]) -> Value:
        """The value of `key`, made when it is not there."""
        if key not in self._values:
            self._values[key] = make()
        self._values.move_to_end(key)
        while len(self._values) > self._size:
            self._values.popitem(last=False)
        return self._values[key]


class Actor:
    """Somebody who can be drawn, with what of them does not change."""

    def __init__(self, person: Person, occlusion: Occlusion) -> None:
        self.person = person
        self.occlusion = occlusion

    @cached_property
    def renderer(self) -> Renderer:
        """A fast renderer for small pictures."""
        return Renderer(self.person, self.occlusion, 2, True, SHADOW_SIZE)

    @cached_property
    def face_weight(self) -> Floats:
        """How far each merged opaque point (V,) belongs to the face that is exchanged."""
        return hybrid.point_weight(self.person)

    @cached_property
    def classes(self) -> Bytes:
        """Class (T,) uint8 of each opaque triangle (see parsing)."""
        return parsing.classes_of(self.person)


def fingerprint(look: Look) -> str:
    """A name for everything that the cache holds of a look; glasses, which it does not hold, are not in it."""
    text = f"{VERSION} {MAP_SIZE} {OCCLUSION_SIDES} {OCCLUSION_SIZE} {look!r}"
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def load_actor(look: Look, assets: Path, cache: Path) -> Actor:
    """The actor of a look, from the cache as far as it goes, which is brought up to date."""
    path = cache / f"{fingerprint(look)}.npz"
    if path.is_file():
        with np.load(path) as data:
            maps = SkinMaps(*(data[k] for k in ("albedo", "slopes", "gloss", "pigment")))
            layers = tuple(data[k] for k in sorted(data.files) if k.startswith("layer"))
            occlusion = Occlusion(data["shut"], data["open"], layers)
        return Actor(Person(look, assets, maps), occlusion)
    person = Person(look, assets)
    person.skin_maps = person.skin_maps.shrunk(MAP_SIZE)
    occlusion = bake_occlusion(person, OCCLUSION_SIDES, OCCLUSION_SIZE)
    maps = person.skin_maps
    cache.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.stem}.{id(person)}.part.npz")
    np.savez(part, albedo=maps.albedo, slopes=maps.slopes, gloss=maps.gloss, pigment=maps.pigment,
             shut=occlusion.shut, open=occlusion.open,
             **{f"layer{k}": x for k, x in enumerate(occlusion.layers)})
    part.replace(path)
    return Actor(person, occlusion)


def _key(look: Look) -> LookKey:
    return fingerprint(look), look.glasses


class Cast:
    """Actors and hybrids by look; keeps the ones used last."""

    def __init__(self, assets: Path, cache: Path) -> None:
        self._assets, self._cache = assets, cache
        self._actors: Kept[LookKey, Actor] = Kept(PEOPLE_KEPT)
        self._hybrids: Kept[tuple[LookKey, LookKey], Actor] = Kept(PAIRS_KEPT)

    def actor(self, look: Look) -> Actor:
        """Somebody as they are."""
        return self._actors.get(_key(look), lambda: load_actor(look, self._assets, self._cache))

    def hybrid(self, wearer: Look, persona: Look) -> Actor:
        """The wearer with the persona's face."""
        def make() -> Actor:
            a, b = self.actor(wearer), self.actor(persona)
            return Actor(hybrid.wear(a.person, b.person),
                         hybrid.blend_occlusion(a.person, b.person, a.occlusion, b.occlusion))

        return self._hybrids.get((_key(wearer), _key(persona)), make)
