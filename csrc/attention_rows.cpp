// The arithmetic of attention.hpp, compiled once for each of the variants in variants.hpp.
#include "attention.hpp"
#include "vectors.hpp"

namespace rlaif::attention {
namespace {

// One query's scores turn into powers of two of what they are above the highest; what is masked weighs nothing, whatever
// stands there. Returns the sum of the powers, 0 where no key is seen.
float powers_of(const Map& map, const bool* mask, float* row, std::size_t begin, std::size_t end) {
    const float factor = float((map.cap > 0.0 ? map.cap : map.scale) * 1.4426950408889634);
    const float inner = map.cap > 0.0 ? float(map.scale / map.cap) : 0.0f;
    Vector most = all(-__builtin_inff());
    for (std::size_t at = begin; at < end; at += lanes) {
        const std::size_t count = smaller(lanes, end - at);
        Vector y = load_part(row + at, count);
        y = (map.cap > 0.0 ? tanh(y * inner) : y) * factor;
        if (mask) y = load_flags_part(mask + at, count) ? y : all(-__builtin_inff());
        for (std::size_t lane = count; lane < lanes; ++lane) y[lane] = -__builtin_inff();
        most = larger(most, y);
        store_part(row + at, y, count);
    }
    const float highest = largest(most), top = highest > -__builtin_inff() ? highest : 0.0f;  // a NaN stays to be seen
    Vector total{};
    for (std::size_t at = begin; at < end; at += lanes) {
        const std::size_t count = smaller(lanes, end - at);
        Vector power = power_of_two(load_part(row + at, count) - top);
        for (std::size_t lane = count; lane < lanes; ++lane) power[lane] = 0.0f;
        total += power;
        store_part(row + at, power, count);
    }
    return sum(total);
}

void add(const Map& map, std::size_t sample, std::size_t head, float each, float* column) {
    for (std::size_t query = 0; query < map.queries; ++query) {
        const float weight = map.weights ? map.weights[sample * map.queries + query] : 1.0f;
        const std::size_t past = map.keys - map.queries + query + 1;
        const std::size_t end = map.causal ? past : map.keys;
        const std::size_t begin = map.window && past > map.window ? past - map.window : 0;
        if (weight == 0.0f) continue;
        float* row = map.scores + ((sample * map.heads + head) * map.queries + query) * map.keys;
        const float total = powers_of(map, map.mask ? map.mask + sample * map.keys : nullptr, row, begin, end);
        if (total == 0.0f) continue;
        const float share = each * weight / total;
        for (std::size_t at = begin; at < end; at += lanes) {
            const std::size_t count = smaller(lanes, end - at);
            store_part(column + at, load_part(column + at, count) + share * load_part(row + at, count), count);
        }
    }
}

}  // namespace

extern const Variant RLAIF_VARIANT;
const Variant RLAIF_VARIANT{add};

}  // namespace rlaif::attention
