"""Personas: the faces to wear. Files are safetensors, format "livecam-persona"; who may have made one, and how it is checked: docs/consent.md.

Tensors: "neutral", "open_mouth", "closed_eyes": 1-D uint8, JPEG bytes of a 640x640 frontal portrait; "<name>_mesh": (478, 3) float32 landmarks on it,
pixels; "eye_right", "eye_left": 1-D uint8, PNG bytes, 192x192 BGRA eyeball alone, iris centre in the middle; "teeth_upper", "teeth_lower", "tongue":
PNG bytes, BGRA. Optional: "embedding": (128,) float32 of length 1, the neutral portrait's identity, with the text "embedding_model" (id of the
model card that made it, "sface"); without it the embedding is computed when the persona is put on.
Metadata (strings): format, version, id, name, kind ("synthetic" | "person"), description, age, licence, seed, maker, eye_iris_radius_px,
eye_ball_radius_px, teeth_upper_xywh_px, teeth_lower_xywh_px, tongue_xywh_px (JSON lists: place in "open_mouth").
Version "1" is unsigned and accepted from the package alone. Version "2" has signer and signature over every byte of the file (_container).
A person's persona is version 2, its one tensor "sealed" is a whole such file, encrypted (_seal), its texts carry the consent record (_consent).

    names() -> tuple[str, ...]                ids of those that ship with livecam, in their order
    load(id_or_path) -> Persona               raises PersonaError: no such persona (lists those there are); not a persona file; truncated; unsigned,
                                              edited, by an unknown signer; of a person: without consent, ended, revoked, of another machine
    check(id_or_path)                         the same question for one that was loaded before; raises PersonaError
    verify(id_or_path) -> tuple[Check, ...]   every check and its result
    portrait_jpeg(id_or_path) -> bytes        the neutral portrait as it stands in the file
    mix(seed, sliders, name) -> Mixed         another persona out of those that ship
    write(path, tensors, texts, force)        a synthetic persona file, signed with the user's key, checked; raises PersonaError
    sign, revoke, export, bring_in            see _files; read_unsigned: for tools that make personas
    embed.Embedders                           embeddings of personas
"""

from __future__ import annotations

from livecam.persona._files import bring_in, check, export, load, metadata, names, portrait_jpeg, read_unsigned, revoke, sign, verify, write
from livecam.persona._mix import Mixed, Sliders, mix

__all__ = [
    "Mixed",
    "Sliders",
    "bring_in",
    "check",
    "export",
    "load",
    "metadata",
    "mix",
    "names",
    "portrait_jpeg",
    "read_unsigned",
    "revoke",
    "sign",
    "verify",
    "write",
]
