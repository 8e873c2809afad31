"""Personas: the faces to wear. Files are safetensors, format "livecam-persona" version 1.

Tensors: "neutral", "open_mouth", "closed_eyes": 1-D uint8, JPEG bytes of a 640x640 frontal portrait; "<name>_mesh": (478, 3) float32 landmarks on it,
pixels; "eye_right", "eye_left": 1-D uint8, PNG bytes, 192x192 BGRA eyeball alone, iris centre in the middle; "teeth_upper", "teeth_lower", "tongue":
PNG bytes, BGRA. Optional: "embedding": (128,) float32 of length 1, the neutral portrait's identity, with the text "embedding_model" (id of the
model card that made it, "sface"); without it the embedding is computed when the persona is put on.
Metadata (strings): format, version, id, name, kind ("synthetic" | "person"), description, age, licence, seed, maker, eye_iris_radius_px,
eye_ball_radius_px, teeth_upper_xywh_px, teeth_lower_xywh_px, tongue_xywh_px (JSON lists: place in "open_mouth").

    names() -> tuple[str, ...]                ids of those that ship with livecam, in their order
    load(id_or_path) -> Persona               raises PersonaError (no such persona: lists those there are; not a persona file; truncated; wrong
                                              version)
    portrait_jpeg(id_or_path) -> bytes        the neutral portrait as it stands in the file
    mix(seed, sliders, name) -> Mixed         another persona out of those that ship
    write(path, tensors, texts, force)        a persona file, checked; raises PersonaError
    embed.Embedders                           embeddings of personas
"""

from __future__ import annotations

from livecam.persona._files import load, metadata, names, portrait_jpeg, write
from livecam.persona._mix import Mixed, Sliders, mix

__all__ = ["Mixed", "Sliders", "load", "metadata", "mix", "names", "portrait_jpeg", "write"]
