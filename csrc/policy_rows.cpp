// The arithmetic of policy.hpp, compiled once for each of the variants in variants.hpp.
#include "policy.hpp"
#include "vectors.hpp"

namespace rlaif::policy {
namespace {

constexpr float far = 20.0f;  // log-ratios above which e^d is not let grow further

// e^d - 1 - d, of d and e^d: by its series where the difference would round away.
inline Vector excess(Vector d, Vector power) {
    Vector series = d * (1.0f / 9.0f) + 1.0f;  // d^2 / 2 (1 + d / 3 (1 + d / 4 (...)))
    series = series * (d * (1.0f / 8.0f)) + 1.0f;
    series = series * (d * (1.0f / 7.0f)) + 1.0f;
    series = series * (d * (1.0f / 6.0f)) + 1.0f;
    series = series * (d * (1.0f / 5.0f)) + 1.0f;
    series = series * (d * (1.0f / 4.0f)) + 1.0f;
    series = series * (d * (1.0f / 3.0f)) + 1.0f;
    const Vector size = d < 0.0f ? -d : d;
    return size < 0.5f ? series * (d * d * 0.5f) : power - 1.0f - d;
}
inline Vector k3(Vector d, Vector power) {
    return excess(at_most(far, d), at_most(485165195.41f, power));  // e^20
}
// Of d = log q - log p, for a token of p; `third` is k3, which is measured anyway.
inline Vector value(Vector d, Vector third, Estimator estimator) {
    return estimator == Estimator::k1 ? -d : estimator == Estimator::k2 ? d * d * 0.5f : third;
}
// The derivative of that with respect to log p.
inline Vector slope(Vector d, Vector third, Estimator estimator) {
    if (estimator == Estimator::k1) return all(1.0f);
    return estimator == Estimator::k2 ? -d : -(third + at_most(far, d));
}

// A row, a vector at a time; 0 where a token is masked, whatever stands there.
struct Row {
    const Batch& batch;
    std::size_t start;

    Integers here(std::size_t at) const { return load_flags_part(batch.mask + start + at, batch.steps - at); }
    Vector of(const float* values, std::size_t at, Integers here) const {
        return here ? load_part(values + start + at, batch.steps - at) : Vector{};
    }
    void write(float* values, std::size_t at, Vector given) const { store_part(values + start + at, given, batch.steps - at); }
};

inline Vector one_where(Integers flags) { return flags ? all(1.0f) : Vector{}; }

// The sums of a row so far, a lane each; few terms are added in float32 before they go to a double.
struct Lanes {
    Vector loss{}, below{}, above{}, floored{}, ratio{}, most{}, drift{}, entropy{}, distance{};
    std::size_t terms = 0;

    void flush(Sums& into) {
        into.loss += double(sum(loss)), into.below += double(sum(below)), into.above += double(sum(above));
        into.floored += double(sum(floored)), into.ratio += double(sum(ratio)), into.drift += double(sum(drift));
        into.entropy += double(sum(entropy)), into.distance += double(sum(distance));
        const double largest_yet = double(largest(most));
        into.most = largest_yet > into.most ? largest_yet : into.most;
        *this = Lanes{};
    }
};

Sums row(const Batch& batch, std::size_t number) {
    const Row its{batch, number * batch.steps};
    Vector tokens{}, drifted{};
    for (std::size_t at = 0; at < batch.steps; at += lanes) {
        const Integers here = its.here(at);
        tokens += one_where(here);
        if (batch.sequence) drifted += its.of(batch.logp, at, here) - its.of(batch.old, at, here);
    }
    const float count = sum(tokens);
    const float mean = batch.sequence && count > 0.0f ? sum(drifted) / count : 0.0f;
    Sums sums{};
    sums.tokens = count;
    Lanes totals;
    const Vector share = batch.weights ? Vector{} : all(batch.shares[number]);
    Vector pulled{};  // with one ratio a row, what all tokens of it share
    for (std::size_t at = 0; at < batch.steps; at += lanes) {
        const Integers here = its.here(at);
        const Vector logp = its.of(batch.logp, at, here), apart = logp - its.of(batch.old, at, here);
        const Vector advantage = its.of(batch.advantages, at, here), weight = batch.weights ? its.of(batch.weights, at, here) : share;
        const Vector token_ratio = exponential(apart), ratio = batch.sequence ? exponential(all(mean)) : token_ratio;
        const Vector bounded = at_most(batch.most, at_least(batch.least, ratio));
        Integers below, above, floored{};
        Vector gain, pull;  // the gain and its derivative with respect to the log-ratio
        if (batch.constant_ratio) {
            below = ratio < batch.least, above = ratio > batch.most;
            pull = bounded * advantage;
            gain = pull * logp;
        } else {
            const Vector free = ratio * advantage, held = bounded * advantage;
            const Integers stopped = free > held;
            below = stopped & (ratio < 1.0f), above = stopped & (ratio > 1.0f);
            floored = (advantage < 0.0f) & (ratio > batch.dual);
            gain = stopped ? held : free;
            gain = free != free ? free : gain;
            gain = floored ? batch.dual * advantage : gain;
            pull = (stopped | floored) ? Vector{} : free;
        }
        if (batch.correction) {
            const Vector correction = its.of(batch.correction, at, here);
            gain *= correction, pull *= correction;
        }
        Vector loss = -gain, of_logp = -pull * weight;
        if (batch.sequence && !batch.constant_ratio) {
            pulled += of_logp;
            of_logp = Vector{};
        }
        Vector distance{};
        if (batch.reference) {
            const Vector d = its.of(batch.reference, at, here) - logp;
            distance = k3(d, exponential(d));
            if (batch.kl != 0.0f) {
                loss += batch.kl * value(d, distance, batch.kl_value);
                const Vector flow = slope(d, distance, batch.kl_gradient);
                of_logp += weight * batch.kl * (batch.kl_gradient == Estimator::k2 ? token_ratio * flow : flow);
            }
        }
        const Vector entropy = batch.entropy ? its.of(batch.entropy, at, here) : Vector{};
        if (batch.entropy_weight != 0.0f) loss -= batch.entropy_weight * entropy;
        if (batch.of_logp) its.write(batch.of_logp, at, here ? of_logp : Vector{});
        if (batch.of_entropy) its.write(batch.of_entropy, at, here ? -batch.entropy_weight * weight : Vector{});
        totals.loss += here ? weight * loss : Vector{};
        totals.below += one_where(here & below);
        totals.above += one_where(here & above);
        totals.floored += one_where(here & floored);
        totals.ratio += here ? ratio : Vector{};
        totals.most = larger(totals.most, here ? ratio : Vector{});
        totals.drift += k3(apart, token_ratio);  // 0, as the next two, where nothing is read
        totals.entropy += entropy;
        totals.distance += distance;
        if (++totals.terms == 64) totals.flush(sums);
    }
    totals.flush(sums);
    if (batch.of_logp && batch.sequence && !batch.constant_ratio && count > 0.0f) {
        const float each = sum(pulled) / count;
        for (std::size_t at = 0; at < batch.steps; at += lanes) {
            const Integers here = its.here(at);
            its.write(batch.of_logp, at, its.of(batch.of_logp, at, here) + (here ? all(each) : Vector{}));
        }
    }
    return sums;
}

}  // namespace

extern const Variant RLAIF_VARIANT;
const Variant RLAIF_VARIANT{row};

}  // namespace rlaif::policy
