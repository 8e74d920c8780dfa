"""Every method a second time: float64, loops over channels and cells, straight from the papers' formulas.

Arrays are `activations` A (k, *grid) and `gradients` g (k, *grid) of one image and one target, unless said
otherwise. Nothing here is shared with the library, and nothing is made fast.
"""

import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np

Array = np.ndarray
Score = Callable[[Array], float]


def cells(grid: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """All positions of a grid."""
    return itertools.product(*(range(length) for length in grid))


def combined(weights: list[float], activations: Array) -> Array:
    """sum_k w_k A_k."""
    result = np.zeros(activations.shape[1:])
    for position in cells(result.shape):
        for k, weight in enumerate(weights):
            result[position] += weight * activations[(k, *position)]
    return result


def channel_sum(channel: Array) -> float:
    """sum_ij of one channel."""
    return math.fsum(channel[position] for position in cells(channel.shape))


def gradcam(activations: Array, gradients: Array) -> Array:
    """Equations 1 and 2 of arXiv 1610.02391, without the ReLU."""
    return combined([channel_sum(one) / one.size for one in gradients], activations)


finercam = gradcam  # of another target


def gradcam_plusplus(activations: Array, gradients: Array) -> Array:
    """Equations 5 and 19 of arXiv 1710.11063 with Y = exp(S): derivatives are g, g^2, g^3 times exp(S)."""
    weights = []
    for channel, gradient in zip(activations, gradients, strict=True):
        total, weight = channel_sum(channel), 0.0
        for position in cells(gradient.shape):
            g = gradient[position]
            if g > 0:
                weight += g * g**2 / (2 * g**2 + total * g**3)
        weights.append(weight)
    return combined(weights, activations)


def xgradcam(activations: Array, gradients: Array) -> Array:
    """Equation 8 of arXiv 2008.02312; a channel that sums to zero has no weight."""
    weights = []
    for channel, gradient in zip(activations, gradients, strict=True):
        total = channel_sum(channel)
        weights.append(channel_sum(channel * gradient) / total if total != 0 else 0.0)
    return combined(weights, activations)


def _cellwise(activations: Array, gradients: Array, term: Callable[[float, float], float]) -> Array:
    result = np.zeros(activations.shape[1:])
    for position in cells(result.shape):
        for k in range(len(activations)):
            result[position] += term(activations[(k, *position)], gradients[(k, *position)])
    return result


def layercam(activations: Array, gradients: Array) -> Array:
    """sum_k relu(g) A."""
    return _cellwise(activations, gradients, lambda a, g: max(g, 0.0) * a)


def hirescam(activations: Array, gradients: Array) -> Array:
    """sum_k g A."""
    return _cellwise(activations, gradients, lambda a, g: g * a)


def gradcam_elementwise(activations: Array, gradients: Array) -> Array:
    """sum_k relu(g A)."""
    return _cellwise(activations, gradients, lambda a, g: max(g * a, 0.0))


def fem(activations: Array, sigmas: float = 2.0) -> Array:
    """Channel mean times the indicator of A > mean + sigmas * standard deviation."""
    result = np.zeros(activations.shape[1:])
    for channel in activations:
        mean = channel_sum(channel) / channel.size
        deviation = math.sqrt(channel_sum((channel - mean) ** 2) / channel.size)
        for position in cells(channel.shape):
            if channel[position] > mean + sigmas * deviation and channel.min() < channel.max():
                result[position] += mean
    return result


def turned(projection: Array, guide: Array) -> Array:
    """The projection with the sign that makes its covariance with the guide positive."""
    covariance = float(((projection - projection.mean()) * (guide - guide.mean())).sum())
    return projection if covariance >= 0 else -projection


def principal(features: Array) -> Array:
    """First principal component by a full decomposition of the centred cells x channels matrix."""
    matrix = np.array(
        [[features[(k, *position)] for k in range(len(features))] for position in cells(features.shape[1:])]
    )
    for k in range(matrix.shape[1]):
        matrix[:, k] -= math.fsum(matrix[:, k]) / len(matrix)
    _, _, directions = np.linalg.svd(matrix, full_matrices=True)
    return (matrix @ directions[0]).reshape(features.shape[1:])


def activation_energy(activations: Array) -> Array:
    """Mean over channels of A^2."""
    return _cellwise(activations, activations, lambda a, _: a * a) / len(activations)


def eigencam(activations: Array) -> Array:
    """arXiv 2008.00299, turned towards the activation energy."""
    return turned(principal(activations), activation_energy(activations))


def eigengradcam(activations: Array, gradients: Array) -> Array:
    """The same of g A, turned towards their sum."""
    return turned(principal(activations * gradients), hirescam(activations, gradients))


def kpcacam(activations: Array, kernel: str = "sigmoid", gamma: float | None = None) -> Array:
    """arXiv 2410.00267: leading eigenvector of the centred kernel matrix, pair of cells by pair of cells."""
    grid = activations.shape[1:]
    rows = np.array([[activations[(k, *position)] for k in range(len(activations))] for position in cells(grid)])
    rows = rows - rows.mean(axis=0)
    gamma = 1 / len(activations) if gamma is None else gamma
    similarity = np.zeros((len(rows), len(rows)))
    for i, j in cells(similarity.shape):
        product, distance = float(rows[i] @ rows[j]), float(((rows[i] - rows[j]) ** 2).sum())
        similarity[i, j] = {
            "sigmoid": math.tanh(gamma * product + 1),
            "rbf": math.exp(-gamma * distance),
            "poly": (gamma * product + 1) ** 3,
            "linear": product,
        }[kernel]
    centring = np.eye(len(rows)) - 1 / len(rows)
    values, vectors = np.linalg.eigh(centring @ similarity @ centring)
    projection = vectors[:, -1] * math.sqrt(max(values[-1], 0.0))
    return turned(projection.reshape(grid), activation_energy(activations))


def resized(image: Array, size: tuple[int, ...], *, align_corners: bool = False) -> Array:
    """Linear interpolation, one output cell at a time, as the sum over the corners around it."""
    result = np.zeros(size)
    for position in cells(size):
        axes = []
        for place, new, old in zip(position, size, image.shape, strict=True):
            if align_corners:
                source = place * (old - 1) / (new - 1) if new > 1 else 0.0
            else:
                source = max((place + 0.5) * old / new - 0.5, 0.0)
            low = min(int(source), old - 1)
            high = min(low + 1, old - 1)
            axes.append(((low, 1 - (source - low)), (high, source - low)))
        for corner in itertools.product(*axes):
            share = math.prod(weight for _, weight in corner)
            result[position] += share * image[tuple(index for index, _ in corner)]
    return result


def min_max(values: Array) -> Array:
    """To [0, 1]; zero where there is no range."""
    span = values.max() - values.min()
    return (values - values.min()) / span if span > 0 else np.zeros_like(values)


def softmax(values: list[float]) -> list[float]:
    """exp(v) / sum exp(v)."""
    powers = [math.exp(value - max(values)) for value in values]
    return [power / math.fsum(powers) for power in powers]


def scorecam(activations: Array, image: Array, score: Score, variants: list[Callable[[Array], Array]]) -> Array:
    """Equations 3 to 6 of arXiv 1910.01279: mean over variants of Y(x * mask) - Y(0), softmax, sum.

    `image` (c, *spatial), `score` of one image. Channels without range are left out.
    """
    chosen = [k for k, channel in enumerate(activations) if channel.max() > channel.min()]
    baseline, increases = score(np.zeros_like(image)), []
    for k in chosen:
        mask = min_max(resized(activations[k], image.shape[1:], align_corners=True))
        scores = [score(image * variant(mask)[None]) for variant in variants]
        increases.append(math.fsum(scores) / len(scores) - baseline)
    weights = [0.0] * len(activations)
    for k, weight in zip(chosen, softmax(increases) if chosen else [], strict=True):
        weights[k] = weight
    return combined(weights, activations)


def ablationcam(activations: Array, score_of_features: Score) -> Array:
    """Equation 3 of Ablation-CAM: (Y - Y_k) / Y with channel k set to zero."""
    clean, weights = score_of_features(activations), []
    for k in range(len(activations)):
        without = activations.copy()
        without[k] = 0
        weights.append((clean - score_of_features(without)) / clean)
    return combined(weights, activations)


def smooth_gradcam_plusplus(activations: Array, gradients: list[Array]) -> Array:
    """arXiv 1908.01224 with exponential scores: moments of the samples' gradients for derivatives."""
    weights = []
    for k, channel in enumerate(activations):
        total, weight = channel_sum(channel), 0.0
        for position in cells(channel.shape):
            sample = [gradient[(k, *position)] for gradient in gradients]
            first, second, third = (math.fsum(g**power for g in sample) / len(sample) for power in (1, 2, 3))
            if first > 0:
                weight += first * second / (2 * second + total * third)
        weights.append(weight)
    return combined(weights, activations)


def shapleycam(activations: Array, gradients: Array, hessian: Array) -> Array:
    """arXiv 2501.06261: weights mean(g - H A / 2) with the full Hessian (cells x cells)."""
    product = (hessian @ activations.reshape(-1)).reshape(activations.shape)
    return gradcam(activations, gradients - product / 2)


def fullgrad(image: Array, input_gradient: Array, bias_terms: list[tuple[Array, Array]]) -> Array:
    """Equation 7 of arXiv 1905.00780, psi = resize(min_max(|.|)) channel by channel."""
    size = image.shape[1:]
    result = np.zeros(size)
    for channel, gradient in zip(image, input_gradient, strict=True):
        result += min_max(np.abs(channel * gradient))
    for biases, gradients in bias_terms:
        for bias, gradient in zip(biases, gradients, strict=True):
            result += resized(min_max(np.abs(bias * gradient)), size)
    return result


def fusion(layers: list[tuple[Array, Array]], gamma: float = 2.0) -> Array:
    """Section IV of LayerCAM: tanh(gamma M / max M) per layer, elementwise maximum at the finest grid."""
    maps = [np.maximum(layercam(activations, gradients), 0) for activations, gradients in layers]
    finest = max((one.shape for one in maps), key=math.prod)
    scaled = [np.tanh(gamma * one / one.max()) if one.max() > 0 else one for one in maps]
    return np.max([resized(one, finest) for one in scaled], axis=0)


def saliency(gradients: Array) -> Array:
    """Section 3.1 of arXiv 1312.6034: the largest magnitude over the colours, pixel by pixel."""
    result = np.zeros(gradients.shape[1:])
    for position in cells(result.shape):
        result[position] = max(abs(channel[position]) for channel in gradients)
    return result


def gradientxinput(image: Array, gradients: Array) -> Array:
    """arXiv 1605.01713: value times gradient, summed over the colours."""
    return _cellwise(image, gradients, lambda value, g: value * g)


def rise_mask(grid: Array, shift: tuple[int, ...], size: tuple[int, ...]) -> Array:
    """Section 3.2 of arXiv 1806.07421: enlarge to (cells + 1) steps per axis, and cut out at the shift."""
    steps = [math.ceil(length / grid.shape[0]) for length in size]
    large = resized(grid, tuple((grid.shape[0] + 1) * step for step in steps))
    return large[tuple(slice(start, start + length) for start, length in zip(shift, size, strict=True))]


def rise(image: Array, score: Score, masks: list[Array], keep: float, *, centred: bool = True) -> Array:
    """Equation 6 of arXiv 1806.07421; centred: divided by what was really shown, less the mean score."""
    scores = [score(image * mask[None]) for mask in masks]
    result = np.zeros(image.shape[1:])
    for position in cells(result.shape):
        weighted = math.fsum(value * mask[position] for value, mask in zip(scores, masks, strict=True))
        if centred:
            shown = math.fsum(mask[position] for mask in masks)
            result[position] = weighted / shown - math.fsum(scores) / len(scores)
        else:
            result[position] = weighted / (keep * len(masks))
    return result


def winsorcam(layers: list[tuple[Array, Array]], percentile: float = 90.0, floor: float = 0.1) -> Array:
    """arXiv 2507.10846: Grad-CAM maps weighed by mean channel weights, those above the percentile cut to it."""
    maps = [np.maximum(gradcam(activations, gradients), 0) for activations, gradients in layers]
    importances = [max(float(np.mean(g.reshape(len(g), -1).mean(axis=1))), 0.0) for _, g in layers]
    positive = sorted(one for one in importances if one > 0)
    finest = max((one.shape for one in maps), key=math.prod)
    result = np.zeros(finest)
    if not positive:
        return result
    place = percentile / 100 * (len(positive) - 1)
    low = int(place)
    high = min(low + 1, len(positive) - 1)
    limit = positive[low] + (place - low) * (positive[high] - positive[low])
    for one, importance in zip(maps, importances, strict=True):
        if importance > 0 and one.max() > 0:
            least, most = min(positive[0], limit), limit
            cut = min(importance, limit)
            share = floor + (1 - floor) * (cut - least) / (most - least) if most > least else 1.0
            result += share * resized(one / one.max(), finest)
    return result


def dff(maps: Array, contributions: list[float]) -> Array:
    """Concept maps (concepts, *grid) laid out so that each adds up to its contribution."""
    result = np.zeros(maps.shape[1:])
    for concept, contribution in zip(maps, contributions, strict=True):
        for position in cells(result.shape):
            if channel_sum(concept) > 0:
                result[position] += contribution * concept[position] / channel_sum(concept)
    return result


def guidedgradcam(guided: Array, activations: Array, gradients: Array) -> Array:
    """Section 3.2 of arXiv 1610.02391: guided backpropagation times the rectified Grad-CAM map, enlarged."""
    return guided * resized(np.maximum(gradcam(activations, gradients), 0), guided.shape)


def lime(present: Array, scores: Array, ridge: float, width: float) -> tuple[Array, float, float]:
    """Weights, intercept and weighted R squared of arXiv 1602.04938's linear model, by its normal equations."""
    segments = present.shape[1]
    near = []
    for row in present:
        distance = 1 - math.sqrt(row.sum() / segments)
        near.append(math.sqrt(math.exp(-(distance**2) / width**2)))
    design = np.array([[1.0, *row] for row in present])
    normal, right = np.zeros((segments + 1, segments + 1)), np.zeros(segments + 1)
    for weight, row, score in zip(near, design, scores, strict=True):
        normal += weight * np.outer(row, row)
        right += weight * row * score
    for j in range(1, segments + 1):
        normal[j, j] += ridge
    solution = np.linalg.solve(normal, right)
    mean = sum(w * y for w, y in zip(near, scores, strict=True)) / sum(near)
    residual = sum(w * (y - row @ solution) ** 2 for w, y, row in zip(near, scores, design, strict=True))
    total = sum(w * (y - mean) ** 2 for w, y in zip(near, scores, strict=True))
    return solution[1:], float(solution[0]), 1 - residual / total


def kernelshap(value: Callable[[frozenset[int]], float], players: int) -> list[float]:
    """Shapley values by their definition: the mean gain over all orders, equation 4 of arXiv 1705.07874."""
    shares = []
    for player in range(players):
        others = [other for other in range(players) if other != player]
        share = 0.0
        for size in range(players):
            chance = math.factorial(size) * math.factorial(players - size - 1) / math.factorial(players)
            for members in itertools.combinations(others, size):
                share += chance * (value(frozenset((*members, player))) - value(frozenset(members)))
        shares.append(share)
    return shares


def integrated_gradients(image: Array, baseline: Array, gradient: Callable[[Array], Array], steps: int) -> Array:
    """Equation 1 of arXiv 1703.01365 by the midpoint rule, summed over channels."""
    total = np.zeros_like(image)
    for step in range(steps):
        total += gradient(baseline + (step + 0.5) / steps * (image - baseline)) / steps
    return ((image - baseline) * total).sum(axis=0)


def smoothgrad(gradients: list[Array]) -> Array:
    """Equation 1 of arXiv 1706.03825: the mean of the gradients (c, *size), its largest channel by magnitude."""
    mean = np.zeros_like(gradients[0])
    for gradient in gradients:
        mean += gradient / len(gradients)
    return np.abs(mean).max(axis=0)


def occlusion(image: Array, score: Score, window: tuple[int, ...], stride: tuple[int, ...], baseline: float) -> Array:
    """Section 4.2 of arXiv 1311.2901: the mean fall of the score over all windows that cover a place."""
    size, clean = image.shape[1:], score(image)
    falls, covers = np.zeros(size), np.zeros(size)
    counts = [1 + math.ceil((length - wide) / step) for length, wide, step in zip(size, window, stride, strict=True)]
    for place in itertools.product(*(range(count) for count in counts)):
        corner = [number * step for number, step in zip(place, stride, strict=True)]
        part = tuple(slice(start, start + wide) for start, wide in zip(corner, window, strict=True))
        covered = image.copy()
        covered[(slice(None), *part)] = baseline
        falls[part] += clean - score(covered)
        covers[part] += 1
    return falls / covers


def guided_backprop(image: Array, weights: list[Array]) -> Array:
    """Section 3.4 of arXiv 1412.6806 for a score w_n relu(... relu(W_1 x)): what comes back at x."""
    signals = [image]
    for weight in weights[:-1]:
        signals.append(np.maximum(weight @ signals[-1], 0))
    back = weights[-1]
    for weight, signal in zip(reversed(weights[:-1]), reversed(signals[1:]), strict=True):
        passed = np.where((signal > 0) & (back > 0), back, 0)
        back = passed @ weight
    return back


def deeplift(image: Array, baseline: Array, weights: list[Array]) -> Array:
    """The rescale rule, equation 11 of arXiv 1704.02685, for the same score; parts of each input."""
    here, there, before = image, baseline, []
    for weight in weights[:-1]:
        before.append((weight @ here, weight @ there))
        here, there = np.maximum(before[-1][0], 0), np.maximum(before[-1][1], 0)
    multipliers = weights[-1]
    for weight, (one, other) in zip(reversed(weights[:-1]), reversed(before), strict=True):
        slopes = (np.maximum(one, 0) - np.maximum(other, 0)) / (one - other)
        multipliers = (multipliers * slopes) @ weight
    return multipliers * (image - baseline)


def token_shares(tokens: Array, blocks: list[dict[str, Array]], readout: Array, heads: int) -> Array:
    """Contribution of each token (N,) to `readout` @ first token after pre-norm transformer blocks.

    arXiv 2411.16760: with the deviations of layer norms, the attention weights and gelu(x) / x held at their values,
    the blocks are linear apart from their biases. So each token is passed through them alone, without the biases.
    """
    tokens = np.asarray(tokens, dtype=np.float64)
    alone = [np.where(np.arange(len(tokens))[:, None] == j, tokens, 0.0) for j in range(len(tokens))]
    for block in blocks:
        scale1 = 1 / np.sqrt(tokens.var(axis=1, keepdims=True) + 1e-5)
        normed = _centered(tokens) * scale1 * block["norm1.weight"] + block["norm1.bias"]
        queries, keys, _ = np.split(normed @ block["in.weight"].T + block["in.bias"], 3, axis=1)
        weights = [
            _attention_weights(q, k)
            for q, k in zip(np.split(queries, heads, axis=1), np.split(keys, heads, axis=1), strict=True)
        ]
        middle = tokens + _attended(normed, weights, block, biases=True)
        alone_middle = [
            one + _attended(_centered(one) * scale1 * block["norm1.weight"], weights, block, biases=False)
            for one in alone
        ]
        scale2 = 1 / np.sqrt(middle.var(axis=1, keepdims=True) + 1e-5)
        hidden = (_centered(middle) * scale2 * block["norm2.weight"] + block["norm2.bias"]) @ block["up.weight"].T
        hidden = hidden + block["up.bias"]
        ratio = np.array([[(1 + math.erf(value / math.sqrt(2))) / 2 for value in row] for row in hidden])
        tokens = middle + (hidden * ratio) @ block["down.weight"].T + block["down.bias"]
        alone = [
            one
            + ((_centered(one) * scale2 * block["norm2.weight"]) @ block["up.weight"].T * ratio)
            @ block["down.weight"].T
            for one in alone_middle
        ]
    return np.array([readout @ one[0] for one in alone])


def _centered(tokens: Array) -> Array:
    return tokens - tokens.mean(axis=1, keepdims=True)


def _attention_weights(queries: Array, keys: Array) -> Array:
    """softmax(q k / sqrt(width)) of one head."""
    logits = queries @ keys.T / math.sqrt(queries.shape[1])
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _attended(normed: Array, weights: list[Array], block: dict[str, Array], *, biases: bool) -> Array:
    """Attention with given weights."""
    values = normed @ np.split(block["in.weight"], 3)[2].T
    if biases:
        values = values + np.split(block["in.bias"], 3)[2]
    heads = [weight @ value for weight, value in zip(weights, np.split(values, len(weights), axis=1), strict=True)]
    output = np.concatenate(heads, axis=1) @ block["out.weight"].T
    return output + block["out.bias"] if biases else output


def attention(weights: Array, rows: list[int], head: int | None = None) -> Array:
    """Attention (heads, queries, keys): mean of some rows, of one head or of the mean of the heads."""
    heads = range(len(weights)) if head is None else [head]
    chosen = [weights[h][row] for h in heads for row in rows]
    return np.array([math.fsum(values) / len(chosen) for values in zip(*chosen, strict=True)])


def rollout(layers: list[Array]) -> Array:
    """Equation 1 of arXiv 2005.00928: the product over layers of the mean over heads and the identity."""
    flow = np.eye(layers[0].shape[-1])
    for weights in layers:
        mean = sum(weights[h] for h in range(len(weights))) / len(weights)
        mixed = 0.5 * mean + 0.5 * np.eye(len(mean))
        flow = (mixed / mixed.sum(axis=1, keepdims=True)) @ flow
    return flow


def gae(layers: list[Array], gradients: list[Array]) -> Array:
    """Equations 5 and 6 of arXiv 2103.15679, for self-attention."""
    relevance = np.eye(layers[0].shape[-1])
    for weights, slopes in zip(layers, gradients, strict=True):
        mean = np.zeros(weights.shape[1:])
        for h in range(len(weights)):
            mean += np.maximum(slopes[h] * weights[h], 0) / len(weights)
        relevance = relevance + mean @ relevance
    return relevance


def legrad(gradients: list[Array]) -> Array:
    """Equations 6 to 9 of arXiv 2404.03214, from gradients (heads, queries, keys) of each layer's own score."""
    maps = []
    for slopes in gradients:
        total = np.zeros(slopes.shape[2])
        for h in range(slopes.shape[0]):
            for query in range(slopes.shape[1]):
                total += np.maximum(slopes[h, query], 0)
        maps.append(total / (slopes.shape[0] * slopes.shape[1]))
    return sum(maps) / len(maps)
