// The policy loss of reference/losses.py, slopes and metrics: a block a row, and one block for what all rows say.
//
// What depends on every row (how many tokens or answers there are) is one factor, which the second launch finds and the
// backward pass multiplies with.
#include "launch.cuh"

namespace rlaif::cuda {
namespace {

constexpr double NEAR = 1e-2, FAR = 20.0;  // as in reference/losses.py

// KL by an estimator, of d = log q - log p for a token of p, and its derivative with respect to log p.
template <typename Real>
__device__ inline Real distance(Real d, Estimator estimator) {
    if (estimator == Estimator::k1) return -d;
    if (estimator == Estimator::k2) return d * d / 2;
    const Real held = d > Real(FAR) ? Real(FAR) : d;
    if (fabs(held) < Real(NEAR)) return held * held / 2 * (1 + held / 3 + held * held / 12);
    return expm1(held) - held;
}

template <typename Real>
__device__ inline Real distance_slope(Real d, Estimator estimator) {
    if (estimator == Estimator::k1) return 1;
    return estimator == Estimator::k2 ? -d : -expm1(d > Real(FAR) ? Real(FAR) : d);
}

// min and max that keep NaN, as torch's do.
template <typename Real>
__device__ inline Real lesser(Real one, Real other) {
    return one < other || one != one ? one : other;
}
template <typename Real>
__device__ inline Real greater(Real one, Real other) {
    return one > other || one != one ? one : other;
}

// Of a token, or summed up over many. `below`, `above` and `floored` count what was clipped.
template <typename Real>
struct Sums {
    Real loss, count, below, above, floored, ratio, most, drift, entropy, distance;
};
static_assert(sizeof(Sums<double>) == SUMS * sizeof(double), "sums is [rows, SUMS]");

struct Add {
    template <typename Real>
    __device__ Sums<Real> operator()(const Sums<Real>& one, const Sums<Real>& other) const {
        return {one.loss + other.loss,         one.count + other.count,     one.below + other.below,
                one.above + other.above,       one.floored + other.floored, one.ratio + other.ratio,
                greater(one.most, other.most), one.drift + other.drift,     one.entropy + other.entropy,
                one.distance + other.distance};
    }
};

template <typename Real>
struct Gain {
    Real value, slope, below, above, floored;
};

// The gain of a token with ratio r and advantage A, and its derivative with respect to log r (or logp, for cispo).
// Where both branches of a minimum or maximum are equal, each has half of the gradient, as in torch: within its bounds
// both halves of a clipped ratio are its own.
template <typename Real>
__device__ Gain<Real> gain_of(const Policy<Real>& its, Real r, Real advantage, Real logp) {
    const Real bounded = r < its.least ? its.least : r > its.most ? its.most : r;
    if (its.cispo) {
        const Real factor = bounded * advantage;
        return {factor * logp, factor, Real(r < its.least), Real(r > its.most), 0};
    }
    const Real free = r * advantage, held = bounded * advantage;
    const bool stopped = free > held;
    Gain<Real> gain{lesser(free, held), stopped ? Real(0) : free, Real(stopped && r < 1), Real(stopped && r > 1), 0};
    if (advantage < 0 && its.dual < Real(INFINITY)) {
        const Real least = its.dual * advantage;
        gain.slope = gain.value < least ? Real(0) : gain.value == least ? gain.slope / 2 : gain.slope;
        gain.value = greater(gain.value, least);
        gain.floored = Real(r > its.dual);
    }
    return gain;
}

// A token's numbers, weighed but for the factor, and the derivatives of its loss: by way of r, and any other way.
template <typename Real>
struct Token {
    Sums<Real> sums;
    Real by_ratio, direct, weight;
};

template <typename Real>
__device__ Token<Real> token_at(const Policy<Real>& its, Size at, Real row_step, Real row_weight) {
    const Real logp = its.logp[at], apart = logp - its.old_logp[at];
    const Real r = exp(its.sequence ? row_step : apart);
    Gain<Real> gain = gain_of(its, r, its.advantages[at], logp);
    if (its.correction) gain.value *= its.correction[at], gain.slope *= its.correction[at];
    Real loss = -gain.value, direct = 0, away = 0;
    if (its.reference) {
        const Real d = its.reference[at] - logp;
        away = distance(d, Estimator::k3);
        if (its.kl != 0) {
            loss += its.kl * distance(d, its.kl_value);
            const Real weighing = its.kl_gradient == Estimator::k2 ? exp(apart) : Real(1);
            direct = its.kl * distance_slope(d, its.kl_gradient) * weighing;
        }
    }
    const Real entropy = its.entropy ? its.entropy[at] : Real(0);
    if (its.entropy_weight != 0) loss -= its.entropy_weight * entropy;
    const Real weight = its.share == Share::given ? its.weights[at] : row_weight;
    const Real drift = distance(apart, Estimator::k3);
    return {{weight * loss, 1, gain.below, gain.above, gain.floored, r, r, drift, entropy, away},
            -weight * gain.slope,
            weight * direct,
            weight};
}

template <typename Real>
struct Drift {
    Real sum, count;
};

template <typename Real>
__global__ void __launch_bounds__(THREADS) loss_of_rows(Policy<Real> its) {
    const Size first = Size(blockIdx.x) * its.steps;
    Real row_step = 0, row_weight = 1, count = 1;
    if (its.sequence || its.share == Share::sequence_mean) {
        Drift<Real> drift{0, 0};
        for (Size at = first + threadIdx.x; at < first + its.steps; at += blockDim.x) {
            if (its.mask[at]) drift.sum += its.logp[at] - its.old_logp[at], drift.count += 1;
        }
        drift = over_block(drift, [](Drift<Real> one, Drift<Real> other) {
            return Drift<Real>{one.sum + other.sum, one.count + other.count};
        });
        count = drift.count > 1 ? drift.count : Real(1);
        row_step = drift.sum / count;
        if (its.share == Share::sequence_mean) row_weight = 1 / count;
    }
    // Where all tokens of a row share a ratio, each has a part of every other's gradient by way of it.
    const bool shared = its.sequence && !its.cispo;
    Sums<Real> sums{};
    Real by_ratio = 0;
    for (Size at = first + threadIdx.x; at < first + its.steps; at += blockDim.x) {
        const bool there = its.mask[at];
        Token<Real> token{};
        if (there) token = token_at(its, at, row_step, row_weight), sums = Add{}(sums, token.sums);
        by_ratio += token.by_ratio;
        its.slopes[at] = shared ? token.direct : token.by_ratio + token.direct;
        if (its.entropy_slopes) its.entropy_slopes[at] = -its.entropy_weight * token.weight;
    }
    if (shared) {
        by_ratio = sum_over_block(by_ratio) / count;
        for (Size at = first + threadIdx.x; at < first + its.steps; at += blockDim.x) {
            if (its.mask[at]) its.slopes[at] += by_ratio;
        }
    }
    sums = over_block(sums, Add{});
    if (threadIdx.x != 0) return;
    reinterpret_cast<Sums<double>*>(its.sums)[blockIdx.x] = {sums.loss,    sums.count, sums.below, sums.above,
                                                             sums.floored, sums.ratio, sums.most,  sums.drift,
                                                             sums.entropy, sums.distance};
}

// One block: every thread adds up every THREADS-th row, and then the block.
template <typename Real>
__global__ void __launch_bounds__(THREADS) loss_of_all(Policy<Real> its) {
    Sums<double> sums{};
    double answers = 0;
    for (Size row = threadIdx.x; row < its.rows; row += THREADS) {
        const Sums<double> more = reinterpret_cast<const Sums<double>*>(its.sums)[row];
        sums = Add{}(sums, more);
        answers += more.count > 0 ? 1.0 : 0.0;
    }
    sums = over_block(sums, Add{});
    answers = sum_over_block(answers);
    if (threadIdx.x != 0) return;
    const double count = sums.count > 0 ? sums.count : 1.0;
    const double among = answers > 0 ? answers : 1.0;
    const double factor = its.share == Share::given        ? 1.0
                          : its.share == Share::token_mean ? 1.0 / count
                          : its.share == Share::constant   ? 1.0 / (among * its.length)
                                                           : 1.0 / among;
    *its.loss = Real(factor * sums.loss), *its.factor = Real(factor);
    const double metrics[] = {sums.below / count, sums.above / count, sums.floored / count, sums.ratio / count,
                              sums.most,          sums.drift / count, sums.entropy / count, sums.distance / count};
    for (int i = 0; i < 8; ++i) its.metrics[i] = Real(metrics[i]);
}

}  // namespace

template <typename Real>
void policy_loss(Queue queue, const Policy<Real>& its) {
    Call call("policy_loss", its.rows, its.steps, queue);
    call.launch("loss_of_rows", loss_of_rows<Real>, its.rows, THREADS, its);
    call.launch("loss_of_all", loss_of_all<Real>, 1, THREADS, its);
}
template void policy_loss(Queue, const Policy<float>&);
template void policy_loss(Queue, const Policy<double>&);

}  // namespace rlaif::cuda
