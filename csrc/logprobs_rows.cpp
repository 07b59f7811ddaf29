// The arithmetic of logprobs.hpp, compiled once for each of the variants in variants.hpp.
//
// A row is computed by the same operations in the same order wherever it lies and whatever the other rows are.
#include "logprobs.hpp"
#include "vectors.hpp"

namespace rlaif::logprobs {
namespace {

// tanh to about 1e-7 of itself: near 0 by a series (that of Cephes), elsewhere by e^2x.
inline Vector tanh(Vector x) {
    const Vector square = x * x, power = exponential(2.0f * (x > 40.0f ? all(40.0f) : x));
    Vector series = square * -5.70498872745e-3f + 2.06390887954e-2f;
    series = series * square - 5.37397155531e-2f;
    series = series * square + 1.33314422036e-1f;
    series = series * square - 3.33332819422e-1f;
    return square < 0.390625f ? series * square * x + x : 1.0f - 2.0f / (power + 1.0f);
}

// A row's z, a vector at a time; behind its end there is -inf, which has no probability.
struct Row {
    const float* logits;
    std::size_t size;
    float scale, cap, factor;  // z = factor * logit, or factor * tanh(scale * logit) where there is a cap

    Row(const Rows& its, std::size_t row) : logits(its.logits + row * its.stride), size(its.vocabulary), cap(its.cap) {
        const float temperature = its.temperatures ? its.temperatures[row] : its.temperature;
        scale = cap > 0.0f ? its.scale / cap : its.scale;
        factor = (cap > 0.0f ? cap : its.scale) / temperature;
    }

    Vector loaded(std::size_t at) const {
        if (at + lanes <= size) return load(logits + at);
        float filled[lanes];
        for (std::size_t lane = 0; lane < lanes; ++lane) filled[lane] = at + lane < size ? logits[at + lane] : 0.0f;
        return load(filled);
    }
    Vector z(std::size_t at) const {
        const Vector logit = loaded(at);
        Vector value = cap > 0.0f ? tanh(logit * scale) * factor : logit * factor;
        for (std::size_t lane = size - at; lane < lanes; ++lane) value[lane] = -__builtin_inff();
        return value;
    }
    float z_of(std::int64_t target) const { return z(std::size_t(target) / lanes * lanes)[target % lanes]; }
    // dz / d logit
    Vector slope(std::size_t at) const {
        if (!(cap > 0.0f)) return all(factor);
        const Vector bent = tanh(loaded(at) * scale);
        return (1.0f - bent * bent) * (scale * factor);
    }
    float slope_of(std::int64_t target) const { return slope(std::size_t(target) / lanes * lanes)[target % lanes]; }
};

void forward(const Rows& its, const Results& results, std::size_t first, std::size_t end) {
    for (std::size_t number = first; number < end; ++number) {
        const bool ignored = its.targets[number] == its.ignored;
        const Row row(its, number);
        Vector most = all(-__builtin_inff()), mass{}, moment{};
        for (std::size_t at = 0; !ignored && at < row.size; at += lanes) {
            const Vector z = row.z(at);
            most = z > most ? z : most;
        }
        float largest = most[0];  // a row of NaN alone finds none, and then everything becomes NaN, as it should
        for (std::size_t lane = 1; lane < lanes; ++lane) largest = most[lane] > largest ? most[lane] : largest;
        for (std::size_t start = 0; !ignored && start < row.size; start += 64 * lanes) {
            Vector part{}, moments{};  // few at a time, so that small terms are not lost on a large sum
            for (std::size_t at = start; at < smaller(start + 64 * lanes, row.size); at += lanes) {
                const Vector below = row.z(at) - largest, power = exponential(below);
                part += power;
                moments += power * (below < -87.0f ? Vector{} : below);  // without probability: 0, not 0 * -inf
            }
            mass += part;
            moment += moments;
        }
        const float total = sum(mass), logsum = __builtin_logf(total);
        results.largest[number] = ignored ? 0.0f : largest;
        results.logsums[number] = ignored ? 0.0f : logsum;
        results.logprobs[number] = ignored ? 0.0f : row.z_of(its.targets[number]) - largest - logsum;
        // Both terms are at least 0, so nothing cancels where a distribution is peaked.
        if (results.entropies) results.entropies[number] = ignored ? 0.0f : logsum - sum(moment) / total;
    }
}

// d logp / dz_j = [j is the target] - p_j and d entropy / dz_j = -p_j (log p_j + entropy)
void backward(const Rows& its, const Results& results, const Slopes& slopes, std::size_t first, std::size_t end) {
    for (std::size_t number = first; number < end; ++number) {
        float* gradient = slopes.gradient + number * its.vocabulary;
        const Row row(its, number);
        const bool ignored = its.targets[number] == its.ignored;
        const float of_logprob = slopes.logprobs ? slopes.logprobs[number] : 0.0f;
        const float of_entropy = slopes.entropies ? slopes.entropies[number] : 0.0f;
        const float entropy = slopes.entropies ? results.entropies[number] : 0.0f;
        const float largest = results.largest[number], logsum = results.logsums[number];
        for (std::size_t at = 0; at < row.size; at += lanes) {
            Vector slope{};
            if (!ignored) {
                const Vector logp = row.z(at) - largest - logsum, p = exponential(logp);
                slope = p * -of_logprob;
                if (slopes.entropies) slope -= p * of_entropy * ((logp < -87.0f ? Vector{} : logp) + entropy);
                slope *= row.slope(at);
            }
            if (at + lanes <= row.size) {
                store(gradient + at, slope);
            } else {
                for (std::size_t lane = 0; at + lane < row.size; ++lane) gradient[at + lane] = slope[lane];
            }
        }
        if (!ignored) gradient[its.targets[number]] += of_logprob * row.slope_of(its.targets[number]);
    }
}

}  // namespace

extern const Variant RLAIF_VARIANT;
const Variant RLAIF_VARIANT{forward, backward};

}  // namespace rlaif::logprobs
