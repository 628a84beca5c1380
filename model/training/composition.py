"""Composes small objects in wide scenes from the pictures of a batch, for data sets of large, centred objects."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

SHARE = 1 / 3
"""Largest share of the pictures of a batch that is composed."""

AREAS = (0.012, 0.2)
"""Smallest and largest area of a composed object as a share of its picture; drawn uniformly on a logarithmic scale."""

LEAST_AREA = 0.04
"""Smallest area of an object that is cut out, as a share of its picture; smaller ones show too little."""

LEAST_STRIP = 0.3
"""Smallest width of a strip beside the object that serves as a background, as a share of the picture's side."""

MOST_ENLARGED = 1.7
"""Largest factor by which a background is enlarged."""

MOST_TINTED = 0.6
"""Largest weight of the background's mean colour in the mean colour of the object."""


def compose(images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Shrink the objects of some pictures and put them at random places on the backgrounds of others.

    A background is the widest strip beside an object, mirrored until it fills the square, so that it shows no salient
    object. Only objects that do not touch the edge of their picture are cut out. A batch without such objects or strips
    is returned unchanged.

    Takes and returns images, float32 N×3×S×S in [0, 1], and masks, float32 N×1×S×S in [0, 1]; each composed picture
    replaces the one that its object comes from.
    """
    side = images.shape[-1]
    inside = masks[:, 0] > 0.5
    boxes = _boxes(inside)
    strips, widths = _widest_strips(boxes, side)
    areas = inside.float().mean((1, 2))
    whole = (areas > LEAST_AREA) & (boxes[:, 0] > 0).all(1) & (boxes[:, 1] < side).all(1)
    wide = widths >= LEAST_STRIP * side
    fronts, backs = (_shuffled(each.nonzero()[:, 0]) for each in (whole, wide))
    fronts = fronts[: round(SHARE * len(images))]
    if not len(fronts) or not len(backs):
        return images, masks

    backs = backs[torch.arange(len(fronts), device=backs.device) % len(backs)]
    scenes = _fill(images[backs], strips[backs])
    objects, covers = _place(torch.cat([images, masks], 1)[fronts], boxes[fronts], areas[fronts])
    objects = _tint(objects, covers, scenes)
    images, masks = images.clone(), masks.clone()
    images[fronts] = torch.lerp(scenes, objects, covers).clamp(0, 1)
    masks[fronts] = covers
    return images, masks


def _boxes(inside: Tensor) -> Tensor:
    """Return each object's box, N×2×2: begin and end (dim 1) of columns and rows (dim 2); 0 and S without an object."""
    side = inside.shape[-1]
    taken = torch.stack([inside.any(1), inside.any(2)], 2).int()  # N×S×2
    first, last = taken.argmax(1), side - taken.flip(1).argmax(1)
    return torch.stack([first, last], 1).float()


def _widest_strips(boxes: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Return the widest strip to the left of, above, to the right of or below each box, as a box, and its width."""
    count = len(boxes)
    strips = torch.tensor([0.0, side], device=boxes.device).view(1, 1, 2, 1).repeat(count, 4, 1, 2)
    for axis in (0, 1):
        strips[:, axis, 1, axis] = boxes[:, 0, axis]
        strips[:, 2 + axis, 0, axis] = boxes[:, 1, axis]
    widths, widest = (strips[:, :, 1] - strips[:, :, 0]).amin(2).max(1)
    return strips[torch.arange(count, device=boxes.device), widest], widths


def _fill(images: Tensor, strips: Tensor) -> Tensor:
    """Fill whole squares with the strips: enlarged, moved at random, and mirrored repeatedly at their edges."""
    count, side = len(images), images.shape[-1]
    first, width = strips[:, :1], strips[:, 1:] - strips[:, :1]  # K×1×2 each
    zoom = 1 + (MOST_ENLARGED - 1) * torch.rand(count, 1, 1, device=images.device)
    start = 2 * width * torch.rand(count, 1, 2, device=images.device)
    steps = start + torch.arange(side, device=images.device).view(1, side, 1) / zoom
    turned = steps.remainder(2 * width)
    # Half a pixel or more from each edge, because the interpolation would mix in pixels of the object.
    places = first + torch.minimum(turned, 2 * width - turned).clamp(min=0.5).minimum(width - 0.5)
    return _sample(images, places)


def _place(pictures: Tensor, boxes: Tensor, areas: Tensor) -> tuple[Tensor, Tensor]:
    """Shrink and move pictures, whose fourth channel is the mask, so that each box lies inside the square."""
    count, side = len(pictures), pictures.shape[-1]
    least, most = map(math.log, AREAS)
    wanted = (least + (most - least) * torch.rand(count, device=pictures.device)).exp()
    extent = boxes[:, 1] - boxes[:, 0]
    scale = (wanted / areas).sqrt().minimum(side / extent.amax(1)).view(-1, 1, 1)
    room = (side - scale[:, 0] * extent).clamp_min(0)
    corner = room * torch.rand(count, 2, device=pictures.device)
    pixels = torch.arange(side, device=pictures.device).view(1, side, 1) + 0.5
    places = (pixels - corner.unsqueeze(1)) / scale + boxes[:, :1]
    placed = _sample(pictures, places)
    for factor in (2, 4):  # antialiasing: the sampling alone would skip pixels
        smaller = _sample(F.avg_pool2d(pictures, factor), places / factor)
        placed = torch.where(scale.unsqueeze(1) < 1.2 / factor, smaller, placed)
    return placed[:, :3], placed[:, 3:]


def _sample(images: Tensor, places: Tensor) -> Tensor:
    """Sample images at places, K×T×2: the T columns and T rows of a grid, in pixels; outside is black."""
    scaled = 2 * places / images.shape[-1] - 1
    columns, rows = scaled[..., 0], scaled[..., 1]
    side = places.shape[1]
    grid = torch.stack([columns.unsqueeze(1).expand(-1, side, -1), rows.unsqueeze(2).expand(-1, -1, side)], 3)
    return F.grid_sample(images, grid, align_corners=False)


def _tint(objects: Tensor, covers: Tensor, scenes: Tensor) -> Tensor:
    """Move the colours of objects towards those of their new scenes."""
    own = (objects * covers).sum((2, 3), keepdim=True) / covers.sum((2, 3), keepdim=True).clamp_min(1)
    way = scenes.mean((2, 3), keepdim=True) - own
    return objects + MOST_TINTED * torch.rand(len(objects), 1, 1, 1, device=objects.device) * way


def _shuffled(indices: Tensor) -> Tensor:
    return indices[torch.randperm(len(indices), device=indices.device)]
