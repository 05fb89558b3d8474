"""Schedules of times for flow models: ComfyUI's, and converted ones made for noise-predicting models.

Each takes the number of steps and the shift, and returns descending times in (0, 1] followed by 0. ComfyUI's are those of
its ``ModelSamplingSD3`` (a table of 1000 shifted times) to the last digit, oddities included: ``normal`` shifts its low end
twice, ``ddim_uniform`` does not start at 1, ``beta`` and ``ddim_uniform`` don't always have the requested number of steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy

from .flow import TABLE_SIZE, shift_time, sigma_to_time, time_to_sigma, unshift_time

EPS_SIGMAS = (0.0291675, 14.614642)
"""Smallest and largest noise level of Stable Diffusion's own table (1.5 and XL alike)."""
ALIGNED_STEPS = (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029)
"""Align Your Steps' noise levels for SDXL (arXiv 2404.14507)."""


@dataclass(frozen=True)
class Shape:
    """Parameters of a schedule's shape that the user may set.

    :param rho: rho of Karras and Polyexponential; ``None`` for their defaults, 7 and 1
    :param alpha: alpha of the Beta distribution
    :param beta: beta of the Beta distribution
    """

    rho: float | None = None
    alpha: float = 0.6
    beta: float = 0.6


Schedule = Callable[[int, float, Shape], list[float]]
"""Function from number of steps, shift and shape to times."""


def simple(steps: int, shift: float, shape: Shape = Shape()) -> list[float]:
    """Return entries of the table at equal strides from its top."""
    places = [TABLE_SIZE - int(i * TABLE_SIZE / steps) for i in range(steps)]
    return [*(shift_time(place / TABLE_SIZE, shift) for place in places), 0.0]


def ddim_uniform(steps: int, shift: float, shape: Shape = Shape()) -> list[float]:
    """Return equal strides over the table from its second entry up."""
    places = range(2, TABLE_SIZE + 1, max(TABLE_SIZE // steps, 1))
    return [*(shift_time(place / TABLE_SIZE, shift) for place in reversed(places)), 0.0]


def normal(steps: int, shift: float, shape: Shape = Shape()) -> list[float]:
    """Return times that are linear from 1 to the table's first entry, then shifted."""
    return [*(shift_time(t, shift) for t in _line(1.0, shift_time(1 / TABLE_SIZE, shift), steps)), 0.0]


def sgm_uniform(steps: int, shift: float, shape: Shape = Shape()) -> list[float]:
    """Return linear times, without the end point of :func:`normal`."""
    return [*(shift_time(t, shift) for t in _line(1.0, shift_time(1 / TABLE_SIZE, shift), steps + 1)[:-1]), 0.0]


def beta(steps: int, shift: float, shape: Shape = Shape()) -> list[float]:
    """Return quantiles of a Beta distribution (arXiv 2407.12173), dense at both ends; entries of the table, each once."""
    quantiles = [beta_quantile(1 - i / steps, shape.alpha, shape.beta) for i in range(steps)]
    places = dict.fromkeys(round(quantile * (TABLE_SIZE - 1)) for quantile in quantiles)
    return [*(shift_time((place + 1) / TABLE_SIZE, shift) for place in places), 0.0]


def karras(steps: int, shift: float, shape: Shape = Shape()) -> list[float]:
    """Return the schedule of Karras et al. (arXiv 2206.00364, equation 5)."""
    rho = shape.rho or 7.0
    low, high = (sigma ** (1 / rho) for sigma in EPS_SIGMAS)
    return _converted([root**rho for root in _line(high, low, steps)], shift)


def exponential(steps: int, shift: float, shape: Shape = Shape()) -> list[float]:
    """Return times that are linear in the logarithm of the noise level."""
    return polyexponential(steps, shift, Shape(rho=1.0))


def polyexponential(steps: int, shift: float, shape: Shape = Shape()) -> list[float]:
    """Return times for which the logarithm of the noise level follows a power of the progress."""
    low, high = (math.log(sigma) for sigma in EPS_SIGMAS)
    ways = [way ** (shape.rho or 1.0) for way in _line(1.0, 0.0, steps)]
    return _converted([math.exp(low + way * (high - low)) for way in ways], shift)


def kl_optimal(steps: int, shift: float, shape: Shape = Shape()) -> list[float]:
    """Return times that are linear in the arc tangent of the noise level (arXiv 2404.14507, theorem 3.1)."""
    low, high = (math.atan(sigma) for sigma in EPS_SIGMAS)
    return _converted([math.tan(angle) for angle in _line(high, low, steps)], shift)


def align_your_steps(steps: int, shift: float, shape: Shape = Shape()) -> list[float]:
    """Return Align Your Steps, interpolated between its points by the logarithm."""
    points = numpy.linspace(0, 1, len(ALIGNED_STEPS))
    logs = numpy.interp(_line(0.0, 1.0, steps), points, numpy.log(ALIGNED_STEPS))
    return _converted([math.exp(log) for log in logs], shift)


SCHEDULES: dict[str, Schedule] = {
    "Uniform": normal,
    "Karras": karras,
    "Exponential": exponential,
    "Polyexponential": polyexponential,
    "SGM Uniform": sgm_uniform,
    "KL Optimal": kl_optimal,
    "Align Your Steps": align_your_steps,
    "Simple": simple,
    "Normal": normal,
    "DDIM": ddim_uniform,
    "Beta": beta,
}
"""Schedules by their names in WebUIs."""


def flow_times(schedule: str, steps: int, shift: float, end: float = 0.0, shape: Shape = Shape()) -> list[float]:
    """Return the times of a schedule that WebUIs offer, always ``steps`` of them and a final 0.

    :param schedule: a key of :data:`SCHEDULES`
    :param shift: above 0
    :param end: minimum of the last time before 0, see :func:`with_end`; 0 leaves the schedule unchanged
    :raises KeyError: for another schedule
    """
    times = SCHEDULES[schedule](steps, shift, shape)
    if len(times) != steps + 1:  # the table is too coarse for so many steps
        times = resampled(times, steps)
    return [min(t, 1.0) for t in with_end(times, shift, end)]


def with_end(times: list[float], shift: float, end: float) -> list[float]:
    """Return the schedule with its last time before 0 at least at ``end``; unshifted times are stretched, and 1 stays 1.

    To solvers in ``log(sigma)`` a step from 0.1 to 0.001 is as long as one from 1 to 0.01, which makes them inaccurate.
    """
    if len(times) < 3 or times[-2] >= end:
        return times
    last, wanted = unshift_time(times[-2], shift), unshift_time(end, shift)
    stretched = [1 - (1 - unshift_time(t, shift)) * (1 - wanted) / (1 - last) for t in times[:-1]]
    return [*(shift_time(t, shift) for t in stretched), 0.0]


def resampled(times: list[float], steps: int) -> list[float]:
    """Return the requested number of times, along the same curve, with the same first and last."""
    known = times[:-1]
    places = _line(0.0, len(known) - 1, steps)
    return [*(float(t) for t in numpy.interp(places, range(len(known)), known)), 0.0]


def times_to_sigmas(times: list[float], latest: float) -> list[float]:
    """Return noise levels of the variance-exploding latent, with times capped at ``latest``.

    Times above it are spaced evenly down to the first time below it: no two levels are equal, as solvers divide by
    their distances.
    """
    above = sum(t >= latest for t in times)
    capped = [*_line(latest, times[above], above + 1)[:-1], *times[above:]] if above else times
    return [time_to_sigma(t) for t in capped]


def _converted(sigmas: list[float], shift: float) -> list[float]:
    """Convert noise levels meant for a noise-predicting model to times of equal noise, with the first stretched to 1.

    The last one keeps its noise level at any shift.
    """
    first, last = (sigma_to_time(sigma) for sigma in reversed(EPS_SIGMAS))
    ways = [(sigma_to_time(sigma) - last) / (first - last) for sigma in sigmas]
    lowest = unshift_time(last, shift)
    return [*(shift_time(lowest + max(way, 0.0) * (1 - lowest), shift) for way in ways), 0.0]


def _line(start: float, end: float, number: int) -> list[float]:
    return [float(value) for value in numpy.linspace(start, end, number)]


def beta_quantile(p: float, a: float, b: float) -> float:
    """Return the point at which the Beta distribution's cumulative probability is ``p``, by bisection.

    :param p: in [0, 1]
    :param a: above 0
    :param b: above 0
    """
    if p in (0.0, 1.0) or (p == 0.5 and a == b):
        return p
    low, high = 0.0, 1.0
    for _ in range(64):
        middle = (low + high) / 2
        low, high = (middle, high) if _beta_probability(middle, a, b) < p else (low, middle)
    return (low + high) / 2


def _beta_probability(x: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function; its continued fraction converges fast below the mean (DLMF 8.17.22)."""
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta_probability(1 - x, b, a)
    if x == 0.0:
        return 0.0
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    fraction = 1.0
    for i in range(100, 0, -1):
        m = i // 2
        if i % 2:
            numerator = -(a + m) * (a + b + m) / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            numerator = m * (b - m) / ((a + 2 * m - 1) * (a + 2 * m))
        fraction = 1 + numerator * x / fraction
    return math.exp(log_front) / a / fraction
