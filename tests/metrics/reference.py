"""Every metric a second time: one image, float64, loops over cells, straight from the papers' formulas.

Maps are arrays (*size), masks bool arrays (*size), images (c, *size), scores functions of one image. Nothing
here is shared with the library, and nothing is made fast. Where cells are tied, all orders are tried.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

Array = np.ndarray
Score = Callable[[Array], float]
Place = tuple[int, ...]


def places(size: Sequence[int]) -> Iterator[Place]:
    return itertools.product(*(range(side) for side in size))


def positive(map_: Array) -> Array:
    return np.maximum(map_, 0)


# Localisation


def pointing_game(map_: Array, mask: Array, tolerance: float = 0) -> float:
    hits = []
    for place in places(map_.shape):
        if map_[place] == map_.max():
            distances = [math.dist(place, other) for other in places(mask.shape) if mask[other]]
            hits.append(min(distances) <= tolerance)
    return sum(hits) / len(hits)


def energy_inside(map_: Array, mask: Array) -> float:
    inside = sum(max(map_[place], 0) for place in places(map_.shape) if mask[place])
    return inside / sum(max(map_[place], 0) for place in places(map_.shape))


def grid_pointing_game(map_: Array, number: int, grid: int) -> float:
    cells = list(places([min(grid, side) for side in map_.shape]))
    inside = sum(max(map_[p], 0) for p in places(map_.shape) if grid_cell(p, map_.shape, grid) == cells[number])
    return inside / sum(max(map_[p], 0) for p in places(map_.shape))


def top_k_intersection(map_: Array, mask: Array, k: int) -> float:
    """Mean over all orders of all cells that sort the map: only for maps of few cells."""
    cells, inside = map_.ravel(), mask.ravel()
    shares = []
    for order in itertools.permutations(range(len(cells))):
        if all(cells[a] >= cells[b] for a, b in itertools.pairwise(order)):
            shares.append(sum(inside[one] for one in order[:k]) / k)
    return sum(shares) / len(shares)


def relevance_rank_accuracy(map_: Array, mask: Array) -> float:
    return top_k_intersection(map_, mask, int(mask.sum()))


def intersection_over_union(map_: Array, mask: Array, threshold: float) -> float:
    hot = map_ >= threshold * map_.max()
    return (hot & mask).sum() / (hot | mask).sum()


def pixel_average_precision(map_: Array, mask: Array) -> float:
    area, before = 0.0, 0.0
    for heat in sorted(set(map_.ravel().tolist()), reverse=True):
        taken = map_ >= heat
        precision, recall = (taken & mask).sum() / taken.sum(), (taken & mask).sum() / mask.sum()
        area, before = area + (recall - before) * precision, recall
    return area


def regions(mask: Array, diagonal: bool) -> list[set[Place]]:
    """Connected regions by flood fill, in reading order of their first cell."""
    left = [place for place in places(mask.shape) if mask[place]]
    found: list[set[Place]] = []
    while left:
        region, edge = {left[0]}, [left[0]]
        while edge:
            here = edge.pop()
            for there in left:
                steps = [abs(a - b) for a, b in zip(here, there, strict=True)]
                near = max(steps) == 1 if diagonal else sum(steps) == 1
                if near and there not in region:
                    region.add(there)
                    edge.append(there)
        found.append(region)
        left = [place for place in left if place not in region]
    return found


def box_overlap(map_: Array, mask: Array, threshold: float, diagonal: bool) -> float:
    largest = max(regions(map_ >= threshold * map_.max(), diagonal), key=len)
    boxes = []
    for region in (largest, {place for place in places(mask.shape) if mask[place]}):
        lows, highs = np.min(list(region), axis=0), np.max(list(region), axis=0)
        boxes.append({p for p in places(mask.shape) if all(lows <= np.array(p)) and all(np.array(p) <= highs)})
    return len(boxes[0] & boxes[1]) / len(boxes[0] | boxes[1])


def max_box_accuracy(map_: Array, mask: Array, threshold: float, overlap: float, diagonal: bool) -> float:
    return float(box_overlap(map_, mask, threshold, diagonal) >= overlap)


# Faithfulness


def average_drop(score: Score, image: Array, map_: Array) -> float:
    return max(0.0, score(image) - score(image * map_)) / score(image)


def increase_in_confidence(score: Score, image: Array, map_: Array) -> float:
    return 1.0 if score(image * map_) > score(image) else 0.0


def average_gain(score: Score, image: Array, map_: Array) -> float:
    return max(0.0, score(image * map_) - score(image)) / (1 - score(image))


def path(score: Score, before: Array, after: Array, map_: Array, steps: int, sign: int = -1) -> list[float]:
    """Scores on the way from one image to another, cells without ties, hottest first (sign -1)."""
    order = sorted(places(map_.shape), key=lambda place: sign * map_[place])
    steps = min(steps, len(order))
    scores = []
    for step in range(steps + 1):
        image = before.copy()
        for place in order[: round(step * len(order) / steps)]:
            image[(slice(None), *place)] = after[(slice(None), *place)]
        scores.append(score(image))
    return scores


def area(scores: list[float], cells: int) -> float:
    """Trapezoids over the share of cells that have changed."""
    steps = len(scores) - 1
    at = [round(step * cells / steps) / cells for step in range(steps + 1)]
    return sum((at[i + 1] - at[i]) * (scores[i] + scores[i + 1]) / 2 for i in range(steps))


def rise_blur(image: Array, length: int = 11, deviation: float = 5.0) -> Array:
    """RISE's code, after Petsiuk et al. 2018: a Gaussian filter of one cell of a kernel, reflected at its ends, and a
    convolution with zeros beyond the border."""
    reach = int(4 * deviation + 0.5)
    weights = [math.exp(-((offset / deviation) ** 2) / 2) for offset in range(-reach, reach + 1)]
    kernel = np.zeros(length)
    for offset, weight in zip(range(-reach, reach + 1), weights, strict=True):
        place = length // 2 + offset
        while not 0 <= place < length:
            place = -1 - place if place < 0 else 2 * length - 1 - place
        kernel[place] += weight / sum(weights)
    result = np.zeros_like(image, dtype=float)
    for place in places(image.shape[1:]):
        for steps in places([length] * (image.ndim - 1)):
            there = tuple(spot + step - length // 2 for spot, step in zip(place, steps, strict=True))
            if all(0 <= spot < side for spot, side in zip(there, image.shape[1:], strict=True)):
                weight = math.prod(kernel[step] for step in steps)
                result[(slice(None), *place)] += weight * image[(slice(None), *there)]
    return result


def insertion_auc(score: Score, image: Array, map_: Array, empty: Array, steps: int) -> float:
    return area(path(score, empty, image, map_, steps), map_.size)


def deletion_auc(score: Score, image: Array, map_: Array, empty: Array, steps: int) -> float:
    return area(path(score, image, empty, map_, steps), map_.size)


def pixel_flipping_morf(score: Score, image: Array, map_: Array, empty: Array, steps: int) -> float:
    scores = path(score, image, empty, map_, steps)
    return sum(scores[0] - one for one in scores) / len(scores)


def pixel_flipping_lerf(score: Score, image: Array, map_: Array, empty: Array, steps: int) -> float:
    scores = path(score, image, empty, map_, steps, sign=1)
    return sum(scores[0] - one for one in scores) / len(scores)


def imputed(image: Array, gone: Array) -> Array:
    """Removed pixels of (c, h, w) as the solution of a dense system, one equation for each."""
    unknown = [place for place in places(gone.shape) if gone[place]]
    matrix, right = np.zeros((len(unknown), len(unknown))), np.zeros((len(unknown), len(image)))
    for line, (row, column) in enumerate(unknown):
        for down, along in itertools.product((-1, 0, 1), repeat=2):
            other = row + down, column + along
            inside = 0 <= other[0] < gone.shape[0] and 0 <= other[1] < gone.shape[1]
            if (down, along) == (0, 0) or not inside:
                continue
            weight = 1 / 6 if 0 in (down, along) else 1 / 12
            matrix[line, line] += weight
            if gone[other]:
                matrix[line, unknown.index(other)] -= weight
            else:
                right[line] += weight * image[:, other[0], other[1]]
    result = image.copy()
    for (row, column), values in zip(unknown, np.linalg.solve(matrix, right), strict=True):
        result[:, row, column] = values
    return result


def road_scores(score: Score, image: Array, map_: Array, shares: Sequence[float], sign: int) -> list[float]:
    order = sorted(places(map_.shape), key=lambda place: sign * map_[place])
    scores = []
    for share in shares:
        gone = np.zeros(map_.shape, dtype=bool)
        for place in order[: round(share * len(order))]:
            gone[place] = True
        scores.append(score(imputed(image, gone)))
    return scores


def road_morf(score: Score, image: Array, map_: Array, shares: Sequence[float]) -> float:
    return sum(road_scores(score, image, map_, shares, -1)) / len(shares) - score(image)


def road_lerf(score: Score, image: Array, map_: Array, shares: Sequence[float]) -> float:
    return sum(road_scores(score, image, map_, shares, 1)) / len(shares) - score(image)


def road_combined(score: Score, image: Array, map_: Array, shares: Sequence[float]) -> float:
    return (road_lerf(score, image, map_, shares) - road_morf(score, image, map_, shares)) / 2


def sums_and_losses(
    score: Score, image: Array, map_: Array, sets: Sequence[Array], empty: Array
) -> tuple[list[float], list[float]]:
    sums, losses = [], []
    for chosen in sets:
        without = image.copy()
        total = 0.0
        for place in places(map_.shape):
            if chosen[place]:
                without[(slice(None), *place)] = empty[(slice(None), *place)]
                total += map_[place]
        sums.append(total)
        losses.append(score(image) - score(without))
    return sums, losses


def sensitivity_n(score: Score, image: Array, map_: Array, sets: Sequence[Array]) -> float:
    return pearson(*sums_and_losses(score, image, map_, sets, np.zeros_like(image)))


def faithfulness_correlation(score: Score, image: Array, map_: Array, sets: Sequence[Array], empty: Array) -> float:
    return pearson(*sums_and_losses(score, image, map_, sets, empty))


def mu_fidelity(score: Score, image: Array, map_: Array, sets: Sequence[Array], empty: Array) -> float:
    return spearman(*sums_and_losses(score, image, map_, sets, empty))


def grid_cell(place: Place, size: Sequence[int], grid: int) -> tuple[int, ...]:
    """The cell of a grid that holds a place."""
    return tuple(spot * min(grid, side) // side for spot, side in zip(place, size, strict=True))


def single_deletion(score: Score, image: Array, map_: Array, grid: int, empty: Array) -> float:
    size, sums, losses = map_.shape, [], []
    for cell in places([min(grid, side) for side in size]):
        without, total = image.copy(), 0.0
        for place in places(size):
            if grid_cell(place, size, grid) == cell:
                without[(slice(None), *place)] = empty[(slice(None), *place)]
                total += map_[place]
        sums.append(total)
        losses.append(score(image) - score(without))
    return spearman(sums, losses)


def infidelity(score: Score, image: Array, map_: Array, taken: Sequence[Array], scaled: bool) -> float:
    foreseen, losses = [], []
    for part in taken:
        foreseen.append(sum(part[(c, *p)] * map_[p] for p in places(map_.shape) for c in range(len(part))))
        losses.append(score(image) - score(image - part))
    scale = 1.0
    if scaled:
        scale = np.mean([a * b for a, b in zip(foreseen, losses, strict=True)]) / np.mean(np.square(foreseen))
    return float(np.mean([(scale * a - b) ** 2 for a, b in zip(foreseen, losses, strict=True)]))


# Similarity


def pearson(first: Sequence[float] | Array, second: Sequence[float] | Array) -> float:
    left, right = np.ravel(first), np.ravel(second)
    above = sum((a - left.mean()) * (b - right.mean()) for a, b in zip(left, right, strict=True))
    return float(
        above / math.sqrt(sum((a - left.mean()) ** 2 for a in left) * sum((b - right.mean()) ** 2 for b in right))
    )


def ranks(values: Sequence[float] | Array) -> list[float]:
    cells = np.ravel(values)
    return [sum(b < a for b in cells) + (sum(b == a for b in cells) + 1) / 2 for a in cells]


def spearman(first: Sequence[float] | Array, second: Sequence[float] | Array) -> float:
    return pearson(ranks(first), ranks(second))


def ssim(first: Array, second: Array, length: int, deviation: float, data_range: float) -> float:
    """Mean over all places where a Gaussian window of `length` cells fits."""
    centre = (length - 1) / 2
    window = np.zeros((length,) * first.ndim)
    for place in places(window.shape):
        window[place] = math.exp(-sum((p - centre) ** 2 for p in place) / (2 * deviation**2))
    window /= window.sum()
    small, smaller = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    values = []
    for corner in places([side - length + 1 for side in first.shape]):
        view = tuple(slice(start, start + length) for start in corner)
        a, b = first[view], second[view]
        mean_a, mean_b = (window * a).sum(), (window * b).sum()
        var_a, var_b = (window * (a - mean_a) ** 2).sum(), (window * (b - mean_b) ** 2).sum()
        shared = (window * (a - mean_a) * (b - mean_b)).sum()
        values.append(
            (2 * mean_a * mean_b + small)
            * (2 * shared + smaller)
            / ((mean_a**2 + mean_b**2 + small) * (var_a + var_b + smaller))
        )
    return float(np.mean(values))


# Stability and sanity


def relative_changes(explain: Callable[[Array], Array], image: Array, noises: Sequence[Array]) -> list[float]:
    still = explain(image)
    size = math.sqrt(sum(one**2 for one in still.ravel()))
    return [math.sqrt(((explain(image + noise) - still) ** 2).sum()) / size for noise in noises]


def max_sensitivity(explain: Callable[[Array], Array], image: Array, noises: Sequence[Array]) -> float:
    return max(relative_changes(explain, image, noises))


def average_sensitivity(explain: Callable[[Array], Array], image: Array, noises: Sequence[Array]) -> float:
    return sum(relative_changes(explain, image, noises)) / len(noises)


def coherency(explain: Callable[[Array], Array], image: Array, map_: Array) -> float:
    return (pearson(map_, explain(image * map_)) + 1) / 2


def random_logit_similarity(maps: Array, asked: int, other: int) -> float:
    return spearman(maps[asked], maps[other])


def parameter_randomisation(maps: Sequence[Array]) -> float:
    """The first map is the one before; the rest are those after each stage."""
    return float(np.mean([spearman(maps[0], one) for one in maps[1:]]))


# Complexity


def sparseness(map_: Array) -> float:
    """Gini index as half the relative mean difference of all pairs."""
    sizes = np.abs(map_).ravel()
    gaps = sum(abs(a - b) for a in sizes for b in sizes)
    return gaps / (2 * len(sizes) * sizes.sum())


def entropy(map_: Array) -> float:
    chances = [one / np.abs(map_).sum() for one in np.abs(map_).ravel()]
    return -sum(p * math.log(p) for p in chances if p > 0) / math.log(len(chances))


def complexity(map_: Array) -> float:
    return sum(map_.ravel().tolist()) / map_.size


def effective_complexity(map_: Array, threshold: float) -> float:
    return sum(abs(one) > threshold * np.abs(map_).max() for one in map_.ravel()) / map_.size


def near_ends(place: Place, size: Sequence[int], width: float) -> int:
    rims = [max(1, round(width * side)) for side in size]
    return sum(p < rim or p >= side - rim for p, side, rim in zip(place, size, rims, strict=True))


def border_energy(map_: Array, width: float) -> float:
    energy = positive(map_)
    rim = sum(energy[place] for place in places(map_.shape) if near_ends(place, map_.shape, width) >= 1)
    return rim / energy.sum()


def corner_energy(map_: Array, width: float) -> float:
    energy = positive(map_)
    corners = sum(energy[place] for place in places(map_.shape) if near_ends(place, map_.shape, width) == map_.ndim)
    return corners / energy.sum()


def spread(map_: Array) -> float:
    def distance(energy: Array) -> float:
        total = energy.sum()
        at = {
            p: np.array([(i + 0.5) / side for i, side in zip(p, energy.shape, strict=True)])
            for p in places(energy.shape)
        }
        centre = sum(energy[p] * at[p] for p in at) / total
        return math.sqrt(sum(energy[p] * ((at[p] - centre) ** 2).sum() for p in at) / total)

    return distance(positive(map_)) / distance(np.ones(map_.shape))


# Combined


def adcc(coherency: float, complexity: float, average_drop: float) -> float:
    parts = [coherency, 1 - complexity, 1 - average_drop]
    return 0.0 if 0 in parts else 3 / sum(1 / part for part in parts)


def arcc(coherency: float, complexity: float, road_combined: float) -> float:
    parts = [coherency, 1 - complexity, min(max(2 * road_combined, 0.0), 1.0)]
    return 0.0 if 0 in parts else 3 / sum(1 / part for part in parts)
