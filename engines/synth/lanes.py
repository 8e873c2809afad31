"""The light of many samples at once: lanes of float32 that the compiler turns into vector instructions.

A block is one array (ROWS * LANES,) float32: value `r` of sample k lies at r + k, where r is one of the rows below. As the rows lie at fixed
distances, the compiler knows that they do not overlap; that is why they are no arrays of their own.
"""

# pyright: reportUntypedFunctionDecorator=false
from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float32]

LANES = 256
"""Samples in a block."""
F = np.float32
ROWS = 34
(NX, NY, NZ, MX, MY, MZ, VX, VY, VZ, BX, BY, BZ, KEEP, OCC, GLOSS, LIT, WR, WG, WB, STRENGTH, ROUGH, SMOOTH, SCALE, SKIN_ROW, FLIP,
 AR, AG, AB, DR, DG, DB, SR, SG, SB) = (np.uintp(LANES * k) for k in range(ROWS))
"""n: normal for diffuse light; m: for highlights; v: to the viewer; b: what the relief takes off a normal, KEEP 0 puts -b in m's place; OCC open
share of the sky; LIT what arrives of the first lamp; W wrap of the diffuse light; STRENGTH, ROUGH, SMOOTH: the highlight's and its two lobes';
SCALE of the lobes; SKIN_ROW 1 on skin; FLIP 1 turns a normal to the viewer; A albedo; D diffuse light and S highlights, the results."""


@njit(cache=True, fastmath=True, error_model="numpy")
def turn_normals(b: Floats, count: np.uintp) -> None:
    """Bring n, m, v to unit length, with the relief in n (half) and m (whole), and clear the results."""
    tiny = F(1e-9)
    for k in range(count):
        x, y, z = b[VX + k], b[VY + k], b[VZ + k]
        s = F(1) / (math.sqrt(x * x + y * y + z * z) + tiny)
        vx, vy, vz = x * s, y * s, z * s
        b[VX + k], b[VY + k], b[VZ + k] = vx, vy, vz
        x, y, z = b[NX + k], b[NY + k], b[NZ + k]
        s = F(1) / (math.sqrt(x * x + y * y + z * z) + tiny)
        s = -s if b[FLIP + k] * (x * vx + y * vy + z * vz) < F(0) else s
        x, y, z = x * s, y * s, z * s
        keep = b[KEEP + k]
        rx, ry, rz = b[BX + k], b[BY + k], b[BZ + k]
        mx, my, mz = keep * x - rx, keep * y - ry, keep * z - rz
        s = F(1) / (math.sqrt(mx * mx + my * my + mz * mz) + tiny)
        b[MX + k], b[MY + k], b[MZ + k] = mx * s, my * s, mz * s
        half = F(0.5) * keep
        x, y, z = x - half * rx, y - half * ry, z - half * rz
        s = F(1) / (math.sqrt(x * x + y * y + z * z) + tiny)
        b[NX + k], b[NY + k], b[NZ + k] = x * s, y * s, z * s
        b[DR + k], b[DG + k], b[DB + k] = F(0), F(0), F(0)
        b[SR + k], b[SG + k], b[SB + k] = F(0), F(0), F(0)


@njit(cache=True, fastmath=True, error_model="numpy")
def add_lamp(b: Floats, count: np.uintp, lamp: Floats, first: bool) -> None:
    """Add one directional light; lamp (8,): direction to it, colour, highlight scale, shadow radius; first: the one that casts the shadow."""
    lx, ly, lz, lr, lg, lb, shine = lamp[0], lamp[1], lamp[2], lamp[3], lamp[4], lamp[5], lamp[6]
    edge_at = F(0.08)
    zero, one = F(0), F(1)
    from_shadow = one if first else zero
    for k in range(count):
        occ = b[OCC + k]
        lit = from_shadow * b[LIT + k] + (one - from_shadow) * (F(0.25) + F(0.75) * occ)
        lit = lit * (F(0.55) + F(0.45) * occ)
        n_l = b[NX + k] * lx + b[NY + k] * ly + b[NZ + k] * lz
        # The wrapped part lies where no direct light falls: shadow reaches it in red last.
        lit_red = lit + b[SKIN_ROW + k] * F(0.35) * lit * (one - lit)
        wr, wg, wb = b[WR + k], b[WG + k], b[WB + k]
        dr, dg, db = max((n_l + wr) / (one + wr), zero), max((n_l + wg) / (one + wg), zero), max((n_l + wb) / (one + wb), zero)
        b[DR + k] += dr * dr / (dr + edge_at) * lr * lit_red
        b[DG + k] += dg * dg / (dg + edge_at) * lg * lit
        b[DB + k] += db * db / (db + edge_at) * lb * lit
        vx, vy, vz, mx, my, mz = b[VX + k], b[VY + k], b[VZ + k], b[MX + k], b[MY + k], b[MZ + k]
        m_l = max(mx * lx + my * ly + mz * lz, zero)
        hx, hy, hz = lx + vx, ly + vy, lz + vz
        s = one / (math.sqrt(hx * hx + hy * hy + hz * hz) + F(1e-9))
        n_h = max((mx * hx + my * hy + mz * hz) * s, zero)
        v_h = max((vx * hx + vy * hy + vz * hz) * s, zero)
        strength, rough, smooth = b[STRENGTH + k], b[ROUGH + k], b[SMOOTH + k]
        far = one - v_h
        edge = far * far
        fresnel = strength + (one - strength) * edge * edge * far
        a = rough * rough * rough * rough
        d = n_h * n_h * (a - one) + one
        lobe = F(0.8) * a / (F(math.pi) * d * d + F(1e-7))
        a = smooth * smooth * smooth * smooth
        d = n_h * n_h * (a - one) + one
        lobe += F(0.2) * a / (F(math.pi) * d * d + F(1e-7))
        value = fresnel * lobe * m_l * lit * (b[GLOSS + k] * occ * occ) * shine * b[SCALE + k]
        b[SR + k] += value * lr
        b[SG + k] += value * lg
        b[SB + k] += value * lb


@njit(cache=True, fastmath=True, error_model="numpy")
def add_sky(b: Floats, count: np.uintp, ambient: Floats) -> None:
    """Add ambient light; ambient (4, 3): base colour and its change along x, y, z."""
    a0, a1, a2 = ambient[0, 0], ambient[0, 1], ambient[0, 2]
    x0, x1, x2 = ambient[1, 0], ambient[1, 1], ambient[1, 2]
    y0, y1, y2 = ambient[2, 0], ambient[2, 1], ambient[2, 2]
    z0, z1, z2 = ambient[3, 0], ambient[3, 1], ambient[3, 2]
    zero, one, share = F(0), F(1), F(0.65)
    for k in range(count):
        nx, ny, nz, occ = b[NX + k], b[NY + k], b[NZ + k], b[OCC + k]
        hidden = one - occ
        # Light that bounces within a fold takes the surface's colour (Jimenez 2016).
        b[DR + k] += max(a0 + x0 * nx + y0 * ny + z0 * nz, zero) * occ / (occ + hidden * (one - share * b[AR + k]))
        b[DG + k] += max(a1 + x1 * nx + y1 * ny + z1 * nz, zero) * occ / (occ + hidden * (one - share * b[AG + k]))
        b[DB + k] += max(a2 + x2 * nx + y2 * ny + z2 * nz, zero) * occ / (occ + hidden * (one - share * b[AB + k]))
        graze = one - max(nx * b[VX + k] + ny * b[VY + k] + nz * b[VZ + k], zero)
        rim = F(0.10) * graze * graze * graze * graze * graze * occ * b[GLOSS + k]
        b[SR + k] += rim * a0
        b[SG + k] += rim * a1
        b[SB + k] += rim * a2


@njit(cache=True, fastmath=True, error_model="numpy")
def mirrored_window(b: Floats, k: np.uintp, lamp: Floats, size: float) -> float:
    """Mirror image 0..1 of a square soft box of half-angle `size` (tangent) around a lamp, in sample k."""
    nx, ny, nz, vx, vy, vz = b[MX + k], b[MY + k], b[MZ + k], b[VX + k], b[VY + k], b[VZ + k]
    vn = nx * vx + ny * vy + nz * vz
    rx, ry, rz = 2 * vn * nx - vx, 2 * vn * ny - vy, 2 * vn * nz - vz
    along = rx * lamp[0] + ry * lamp[1] + rz * lamp[2]
    if along <= 0.1:
        return 0.0
    # Axes across the light: horizontal and the rest.
    hx, hz = lamp[2], -lamp[0]
    length = math.sqrt(hx * hx + hz * hz) + 1e-9
    hx, hz = hx / length, hz / length
    across = (rx * hx + rz * hz) / along
    ux, uy, uz = -hz * lamp[1], hz * lamp[0] - hx * lamp[2], hx * lamp[1]
    up = (rx * ux + ry * uy + rz * uz) / along
    edge = 0.25 * size
    one = min(max((size - abs(across)) / edge + 0.5, 0.0), 1.0)
    other = min(max((size - abs(up)) / edge + 0.5, 0.0), 1.0)
    return one * other


@njit(cache=True, fastmath=True, error_model="numpy")
def add_window(b: Floats, k: np.uintp, lamp: Floats, first: bool) -> None:
    """Add a lamp's window to sample k, which shows an eye."""
    if b[MX + k] * lamp[0] + b[MY + k] * lamp[1] + b[MZ + k] * lamp[2] <= 0:
        return
    occ = b[OCC + k]
    lit = (b[LIT + k] if first else 0.25 + 0.75 * occ) * (0.55 + 0.45 * occ)
    value = 0.55 * mirrored_window(b, k, lamp, 0.32) * lit * lamp[6]
    b[SR + k] += value * lamp[3]
    b[SG + k] += value * lamp[4]
    b[SB + k] += value * lamp[5]
