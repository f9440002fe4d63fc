"""Mitsuba behind one object: arrays in, linear picture and exact part numbers out.

One scene lives as long as the process; per picture only arrays change, so compiled kernels are used again.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simvg_core.errors import RenderError

Array = NDArray[np.float64]
F32 = NDArray[np.float32]

MAX_POINTS = 240_000
MAX_FACES = 200_000
ENVIRONMENT = (64, 128)
BURIED_Z = -10_000.0
LIBRARIES = Path("/usr/lib")
LLVM_PATTERNS = ("*/libLLVM-19.so*", "*/libLLVM.so.19*", "llvm-19/lib/libLLVM*.so*")


@dataclass(frozen=True, slots=True)
class View:
    """A pinhole camera: position and target in mm, horizontal field of view in degrees, roll in radians."""

    origin: tuple[float, float, float]
    target: tuple[float, float, float]
    fov: float
    roll: float
    width: int
    height: int

    def axes(self) -> tuple[Array, Array, Array]:
        """Unit vectors right, up and forward."""
        forward = np.subtract(self.target, self.origin)
        forward = forward / np.linalg.norm(forward)
        right = np.cross(forward, [0.0, 0, 1])
        if np.linalg.norm(right) < 1e-6:
            right = np.array([1.0, 0, 0])
        right = right / np.linalg.norm(right)
        up = np.cross(right, forward)
        c, s = np.cos(self.roll), np.sin(self.roll)
        return c * right + s * up, -s * right + c * up, forward

    @property
    def reach(self) -> float:
        """Half the picture's width at distance 1."""
        return float(np.tan(np.radians(self.fov) / 2))

    def project(self, points: Array) -> Array:
        """World points (n, 3) in mm → pixels (n, 2); points behind the camera are NaN."""
        right, up, forward = self.axes()
        seen = points - np.asarray(self.origin)
        depth = seen @ forward
        with np.errstate(divide="ignore", invalid="ignore"):
            x = (seen @ right) / depth / self.reach
            y = (seen @ up) / depth / self.reach
        pixels = np.stack([(x + 1) / 2 * self.width, self.height / 2 - y * self.width / 2], 1)
        pixels[depth <= 1e-6] = np.nan
        return pixels

    def rays(self, columns: Array, rows: Array) -> Array:
        """Directions (n, 3) through pixel positions, not normalised."""
        right, up, forward = self.axes()
        x = (columns / self.width * 2 - 1) * self.reach
        y = (self.height / 2 - rows) * 2 / self.width * self.reach
        return forward + x[:, None] * right + y[:, None] * up


@dataclass(frozen=True, slots=True)
class Trace:
    """``color`` (H, W, 3) linear and denoised; per pixel the ``face`` hit (−1: none) and its texture place ``uv``."""

    color: F32
    face: NDArray[np.int64]
    uv: F32


def _find_llvm() -> None:
    if "DRJIT_LIBLLVM_PATH" in os.environ:
        return
    for pattern in LLVM_PATTERNS:
        found = sorted(LIBRARIES.glob(pattern))
        if found:
            os.environ["DRJIT_LIBLLVM_PATH"] = str(found[0])
            return
    raise RenderError(
        "the renderer needs LLVM 19: install it with `apt-get install -y libllvm19`, "
        "or name its library in DRJIT_LIBLLVM_PATH"
    )


class Tracer:
    """Renders meshes with one atlas of textures under one environment light."""

    def __init__(self, *, samples: int = 6, atlas: int = 1280) -> None:
        """``samples`` per pixel before denoising; ``atlas`` side in pixels. Raises RenderError without LLVM 19."""
        _find_llvm()
        import drjit as dr
        import mitsuba as mi
        import pyoidn

        mi.set_variant("llvm_ad_rgb")
        dr.set_thread_count(0)
        self._dr, self._mi, self._oidn = dr, mi, pyoidn
        self.samples = samples
        self._device = pyoidn.Device()
        self._device.set_bool("setAffinity", False)
        self._device.set_int("numThreads", 1)
        self._device.commit()
        mesh = mi.Mesh(
            "parts",
            MAX_POINTS,
            MAX_FACES,
            has_vertex_normals=True,
            has_vertex_texcoords=True,
            props=self._material(atlas),
        )
        params = mi.traverse(mesh)
        params["vertex_positions"] = dr.full(mi.Float, BURIED_Z, 3 * MAX_POINTS)
        params["faces"] = dr.zeros(mi.UInt, 3 * MAX_FACES)
        params.update()
        light = np.full((*ENVIRONMENT, 3), 0.5, np.float32)
        self._scene: Any = mi.load_dict(
            {
                "type": "scene",
                "integrator": {"type": "path", "max_depth": 5, "rr_depth": 4},
                "parts": mesh,
                "light": {
                    "type": "envmap",
                    "bitmap": mi.Bitmap(light),
                    "to_world": mi.ScalarTransform4f().rotate([1, 0, 0], 90),
                },
            }
        )
        self._params = mi.traverse(self._scene)
        self._names = {
            name: self._key(name) for name in ("vertex_positions", "vertex_normals", "vertex_texcoords", "faces")
        }
        self._maps = {
            name: self._key(ending)
            for name, ending in (
                ("base", "base_color.data"),
                ("roughness", "roughness.data"),
                ("metallic", "metallic.data"),
                ("bump", "nested_texture.data"),
            )
        }
        self._sensors: dict[tuple[int, int], Any] = {}

    def _material(self, atlas: int) -> Any:
        mi = self._mi

        def map_of(channels: int, value: float) -> dict[str, Any]:
            data = np.full((atlas, atlas, channels), value, np.float32)
            return {
                "type": "bitmap",
                "bitmap": mi.Bitmap(data),
                "raw": True,
                "filter_type": "bilinear",
                "wrap_mode": "clamp",
            }

        properties = mi.Properties()
        properties["bsdf"] = mi.load_dict(
            {
                "type": "bumpmap",
                "arbitrary": map_of(1, 0.0),
                "scale": 1.0,
                "bsdf": {
                    "type": "principled",
                    "base_color": map_of(3, 0.5),
                    "roughness": map_of(1, 0.5),
                    "metallic": map_of(1, 0.0),
                    "specular": 0.5,
                },
            }
        )
        return properties

    def _key(self, ending: str) -> str:
        found = [key for key, _ in self._params if key.endswith(ending)]
        if len(found) != 1:
            raise RenderError(f"the scene has {len(found)} parameters {ending!r}: {[k for k, _ in self._params]}")
        return str(found[0])

    def _sensor(self, view: View) -> Any:
        mi, size = self._mi, (view.width, view.height)
        right, up, forward = view.axes()
        # Mitsuba's camera looks along +z with +x to the left of the picture
        matrix = np.eye(4)
        matrix[:3, 0], matrix[:3, 1], matrix[:3, 2], matrix[:3, 3] = -right, up, forward, view.origin
        if size not in self._sensors:
            self._sensors[size] = mi.load_dict(
                {
                    "type": "perspective",
                    "fov": view.fov,
                    "fov_axis": "x",
                    "near_clip": 1.0,
                    "far_clip": 1e5,
                    "film": {
                        "type": "hdrfilm",
                        "width": view.width,
                        "height": view.height,
                        "pixel_format": "rgb",
                        "component_format": "float32",
                        "rfilter": {"type": "box"},
                    },
                    "sampler": {"type": "independent", "sample_count": self.samples},
                }
            )
        sensor = self._sensors[size]
        params = mi.traverse(sensor)
        params["to_world"] = mi.Transform4f(matrix)
        params["x_fov"] = float(view.fov)
        params.update()
        return sensor

    def load(
        self, points: Array, normals: Array, uv: Array, faces: NDArray[np.int64], maps: dict[str, F32], light: F32
    ) -> None:
        """Takes over one scene: mesh in mm, ``maps`` base (A, A, 3), roughness, metallic, bump (A, A), ``light``
        (64, 128, 3) radiance, latitude by longitude. Raises RenderError for a mesh over the limits."""
        if len(points) > MAX_POINTS or len(faces) > MAX_FACES:
            raise RenderError(
                f"a mesh of {len(points)} points and {len(faces)} faces is over {MAX_POINTS} and {MAX_FACES}"
            )
        mi, params = self._mi, self._params

        def padded(values: Array, count: int, fill: float) -> F32:
            out = np.full((count, values.shape[1]), fill, np.float32)
            out[: len(values)] = values
            return out.ravel()

        params[self._names["vertex_positions"]] = mi.Float(padded(points, MAX_POINTS, BURIED_Z))
        params[self._names["vertex_normals"]] = mi.Float(padded(normals, MAX_POINTS, 0.0))
        params[self._names["vertex_texcoords"]] = mi.Float(padded(uv, MAX_POINTS, 0.0))
        index = np.full((MAX_FACES, 3), MAX_POINTS - 1, np.uint32)
        index[: len(faces)] = faces
        params[self._names["faces"]] = mi.UInt(index.ravel())
        for name, key in self._maps.items():
            data = maps[name] if maps[name].ndim == 3 else maps[name][..., None]
            params[key] = mi.TensorXf(np.ascontiguousarray(data, np.float32))
        wide = np.concatenate([light, light[:, :1]], 1)  # an environment map repeats its first column at the end
        alpha = np.ones((*wide.shape[:2], 1), np.float32)
        shape = np.array(params["light.data"].shape)
        params["light.data"] = mi.TensorXf(
            np.concatenate([wide, alpha], 2)[:, : shape[1], : shape[2]].astype(np.float32)
        )
        params.update()

    def trace(self, view: View, maps: dict[str, F32], seed: int) -> Trace:
        """Renders what was loaded; ``maps`` as loaded (their colours guide the denoiser)."""
        mi = self._mi
        sensor = self._sensor(view)
        noisy = np.array(mi.render(self._scene, sensor=sensor, spp=self.samples, seed=seed), np.float32)
        noisy = np.nan_to_num(np.clip(noisy, 0, 50), nan=0.0)
        face, uv, albedo, normal = self._guides(view, maps["base"])
        return Trace(self._denoised(noisy, albedo, normal), face, uv)

    def _guides(self, view: View, base: F32) -> tuple[NDArray[np.int64], F32, F32, F32]:
        mi = self._mi
        height, width = view.height, view.width
        rows, columns = np.indices((height, width), np.float64)
        albedo = np.zeros((height * width, 3), np.float32)
        normal = np.zeros((height * width, 3), np.float32)
        for dx, dy in ((0.25, 0.25), (0.75, 0.75), (0.5, 0.5)):
            directions = view.rays(columns.ravel() + dx, rows.ravel() + dy)
            directions /= np.linalg.norm(directions, axis=1, keepdims=True)
            ray = mi.Ray3f(
                mi.Point3f(*(float(c) for c in view.origin)),
                mi.Vector3f(np.ascontiguousarray(directions.T, np.float32)),
            )
            hit = self._scene.ray_intersect(ray)
            valid = np.array(hit.is_valid())
            face = np.where(valid, np.array(hit.prim_index).astype(np.int64), -1)
            uv = np.array(hit.uv).T.astype(np.float32)
            side = len(base)
            pick = np.clip((uv * side).astype(int), 0, side - 1)
            albedo += np.where(valid[:, None], base[pick[:, 1], pick[:, 0]], 0) / 3
            normal += np.where(valid[:, None], np.array(hit.sh_frame.n).T, 0) / 3
        return (
            face.reshape(height, width),
            uv.reshape(height, width, 2),
            albedo.reshape(height, width, 3),
            normal.reshape(height, width, 3),
        )

    def _denoised(self, color: F32, albedo: F32, normal: F32) -> F32:
        oidn = self._oidn
        images = [np.ascontiguousarray(a, np.float32) for a in (color, albedo, normal, np.zeros_like(color))]
        height, width = color.shape[:2]
        with oidn.Filter(self._device, oidn.OIDN_FILTER_TYPE_RT) as denoise:
            for name, image in zip(
                (oidn.OIDN_IMAGE_COLOR, oidn.OIDN_IMAGE_ALBEDO, oidn.OIDN_IMAGE_NORMAL, oidn.OIDN_IMAGE_OUTPUT),
                images,
                strict=True,
            ):
                denoise.set_image(name, image, oidn.OIDN_FORMAT_FLOAT3, width, height)
            denoise.set_bool("hdr", True)
            denoise.set_bool("cleanAux", True)
            denoise.set_quality(oidn.OIDN_QUALITY_FAST)
            denoise.commit()
            denoise.execute()
        return np.nan_to_num(images[3])
