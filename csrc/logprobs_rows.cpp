// The arithmetic of logprobs.hpp, compiled once for each of the variants in variants.hpp.
//
// A piece of a row is computed by the same operations in the same order wherever it lies and whatever the others are.
#include "logprobs.hpp"
#include "vectors.hpp"

namespace rlaif::logprobs {
namespace {

constexpr std::size_t tile = 256 * lanes;  // columns that are summed before anything is added to what is large already
constexpr float nothing = -200.0f;        // 2 to this is 0, and 0 times it is no NaN, as it would be with -inf

// A row, a vector at a time, as y = z / log 2 less a shift; behind its end there is -inf, which has no probability. The
// shift is a logit, or where there is a cap a z / log 2: taken off first, it leaves a difference of large numbers exact.
template <typename Number, bool capped>
struct Row {
    const Number* logits;
    std::size_t size;
    float inner, outer;  // y = outer * (logit - shift), or outer * tanh(inner * logit) - shift where there is a cap

    Row(const Block& block, std::size_t row)
        : logits(static_cast<const Number*>(block.logits) + block.steps(row)), size(block.width) {
        const double temperature = block.temperatures ? double(block.temperatures[row]) : block.temperature;
        inner = capped ? float(block.scale / block.cap) : float(block.scale);
        outer = float((capped ? block.cap : block.scale) / temperature * 1.4426950408889634);
    }

    Vector less(Vector logit, float shift) const {
        return capped ? tanh(logit * inner) * outer - shift : (logit - shift) * outer;
    }
    float unit() const { return capped ? 1.0f : outer; }  // by how much y falls where the shift grows by 1
    Vector part(std::size_t at, std::size_t end) const { return load_part(logits + at, end - at); }  // at most a vector
    Vector less(std::size_t at, std::size_t end, float shift) const {
        Vector y = less(part(at, end), shift);
        for (std::size_t lane = 0; lane < lanes; ++lane) y[lane] = at + lane < end ? y[lane] : -__builtin_inff();
        return y;
    }
    float at(std::size_t column, float shift) const { return less(part(column, column + 1), shift)[0]; }
    float most(std::size_t begin, std::size_t end) const {  // the shift that makes the largest y 0; no NaN
        const float sign = unit() < 0.0f ? -1.0f : 1.0f;
        const auto height = [&](Vector logit) { return capped ? less(logit, 0.0f) : logit * sign; };
        Vector found = all(-__builtin_inff());
        std::size_t at = begin;
        for (; at + lanes <= end; at += lanes) found = larger(found, height(load(logits + at)));
        const Vector rest = height(part(at, end));
        for (std::size_t lane = 0; at + lane < end; ++lane) {
            if (rest[lane] > found[lane]) found[lane] = rest[lane];
        }
        return sign * largest(found);
    }
};

// Sums over a tile, relative to a shift that may not fit it.
struct Sums {
    float mass, moment;
};

// Without `careful`, an infinite y makes the moment a NaN.
template <bool entropy, bool careful, typename Its>
Sums summed(const Its& row, std::size_t begin, std::size_t end, float shift) {
    constexpr std::size_t ways = 4;  // independent sums, for the processor works on several operations at once
    Vector mass[ways] = {}, moment[ways] = {};
    const auto take = [&](Vector below, std::size_t way) {
        if (careful) below = at_least(nothing, below);
        const Vector power = power_of_two(below);
        mass[way] += power;
        if (entropy) moment[way] += power * below;
    };
    std::size_t at = begin;
    for (; at + ways * lanes <= end; at += ways * lanes) {
        for (std::size_t way = 0; way < ways; way += 2) {
            const Pair logits = load_pair(row.logits + at + way * lanes);
            take(row.less(logits.first, shift), way);
            take(row.less(logits.second, shift), way + 1);
        }
    }
    for (std::size_t way = 0; at < end; at += lanes, ++way) take(at_least(nothing, row.less(at, end, shift)), way);
    return {sum((mass[0] + mass[1]) + (mass[2] + mass[3])), sum((moment[0] + moment[1]) + (moment[2] + moment[3]))};
}

// The sums over a row so far, in double precision.
struct Total {
    float shift;
    double unit, mass = 0.0, moment = 0.0;

    void move(float to) {
        const double by = (double(shift) - double(to)) * unit;
        shift = to;
        if (mass == 0.0) return;  // what 2^by, which may be infinite, does not change
        const double share = __builtin_exp2(by);
        moment = share * (moment + by * mass);
        mass *= share;
    }
};

template <bool entropy, typename Its>
State fold(const Its& row, std::size_t begin, std::size_t end) {
    constexpr float infinite = __builtin_inff();
    constexpr float many = 4.0f * tile, few = 0x1p-100f;
    const float guess = row.most(begin, smaller(begin + 32 * lanes, end));
    Total total{guess > -infinite && guess < infinite ? guess : 0.0f, double(row.unit())};
    bool careful = false;  // from the first infinite y on
    for (std::size_t start = begin; start < end; start += tile) {
        const std::size_t stop = smaller(start + tile, end);
        const auto sums_of = [&] {
            return careful ? summed<entropy, true>(row, start, stop, total.shift)
                           : summed<entropy, false>(row, start, stop, total.shift);
        };
        Sums sums = sums_of();
        if (entropy && !careful && sums.moment != sums.moment) {
            careful = true;
            sums = sums_of();
        }
        // Where the guess was far off, sums vanish, or are so large that little is left of an entropy, or overflow. Not that
        // entropies are asked decides, for log-probs are the same bits with and without.
        if (sums.mass > many || (total.mass == 0.0 && sums.mass < few)) {
            const float most = row.most(start, stop);
            if (most > -infinite && most < infinite) {
                total.move(most);
                careful = true;  // what is far below may now be infinitely far
                sums = sums_of();
            } else if (sums.mass > many) {
                return {0.0f, unmet, 0.0f, unmet};  // an infinite z: nothing is known
            }
        }
        total.mass += double(sums.mass);
        total.moment += double(sums.moment);
        // Stay near what weighs most, so that little cancels in the entropy.
        if (sums.mass > 64.0f) total.move(total.shift + float(__builtin_log2(double(sums.mass)) / total.unit));
    }
    return {total.shift, float(total.mass), float(total.moment), unmet};
}

// d logp / dz_j = [j is the target] - p_j and d entropy / dz_j = -p_j (log p_j + entropy)
template <typename Number, bool capped, bool entropy>
void descend(const Block& block, const Slopes& slopes, std::size_t number, std::size_t begin, std::size_t end,
             Number* out) {
    const Row<Number, capped> row(block, number);
    const float of_logprob = slopes.logprobs ? slopes.logprobs[number] : 0.0f;
    const float of_entropy = entropy ? slopes.entropies[number] : 0.0f;
    const float shift = slopes.shifts[number], log = slopes.logs[number];
    const float spread = entropy ? slopes.spread[number] : 0.0f;
    constexpr float log_of_2 = 0.693147181f;
    const float temperature = block.temperatures ? block.temperatures[number] : float(block.temperature);
    const float factor = float(block.scale) / temperature;  // dz / d logit, where the cap does not bend
    const float constant = -(of_logprob + of_entropy * spread) * factor, linear = -of_entropy * log_of_2 * factor;
    const auto slope = [&](Vector logit, Vector below) {
        const Vector logp = at_least(nothing, below - log), p = power_of_two(logp);
        Vector value = entropy ? p * (logp * linear + constant) : p * constant;
        if (capped) {
            const Vector bent = tanh(logit * row.inner);
            value *= 1.0f - bent * bent;
        }
        return value;
    };
    const std::int64_t target = block.targets[number] - block.first;
    const bool here = target >= std::int64_t(begin) && target < std::int64_t(end);
    Number chosen[lanes];  // the target's, found before it may be written over
    if (here) {
        const Vector logit = row.part(std::size_t(target), std::size_t(target) + 1);
        const Vector bent = capped ? tanh(logit * row.inner) : Vector{};
        store(chosen, slope(logit, row.less(logit, shift)) + of_logprob * factor * (1.0f - bent * bent));
    }
    std::size_t at = begin;
    for (; at + 2 * lanes <= end; at += 2 * lanes) {
        const Pair logits = load_pair(row.logits + at);
        store_pair(out + at, {slope(logits.first, row.less(logits.first, shift)),
                              slope(logits.second, row.less(logits.second, shift))});
    }
    for (; at < end; at += lanes) {
        const Vector logit = row.part(at, end);
        store_part(out + at, slope(logit, row.less(logit, shift)), end - at);
    }
    if (here) out[target] = chosen[0];
}

// The function for the kind of numbers, whether there is a cap and whether entropies matter.
template <typename Number>
State fold_kind(const Block& block, std::size_t row, std::size_t begin, std::size_t end, bool entropy) {
    const auto with = [&](auto its) {
        State state = entropy ? fold<true>(its, begin, end) : fold<false>(its, begin, end);
        const std::int64_t target = block.targets[row] - block.first;
        if (target >= std::int64_t(begin) && target < std::int64_t(end)) {
            state.chosen = its.at(std::size_t(target), state.shift);
        }
        return state;
    };
    return block.cap > 0.0 ? with(Row<Number, true>(block, row)) : with(Row<Number, false>(block, row));
}

State fold_any(const Block& block, std::size_t row, std::size_t begin, std::size_t end, bool entropy) {
    if (block.kind == Kind::float32) return fold_kind<float>(block, row, begin, end, entropy);
    if (block.kind == Kind::bfloat16) return fold_kind<Bfloat16>(block, row, begin, end, entropy);
    return fold_kind<Float16>(block, row, begin, end, entropy);
}

template <typename Number>
void descend_kind(const Block& block, const Slopes& slopes, std::size_t row, std::size_t begin, std::size_t end,
                  void* out, const Steps& steps) {
    Number* its = static_cast<Number*>(out) + steps(row);
    const bool idle = block.targets[row] == block.ignored ||
                      ((!slopes.logprobs || slopes.logprobs[row] == 0.0f) &&
                       (!slopes.entropies || slopes.entropies[row] == 0.0f));
    if (idle) {
        for (std::size_t at = begin; at < end; ++at) its[at] = Number{};
    } else if (block.cap > 0.0) {
        slopes.entropies ? descend<Number, true, true>(block, slopes, row, begin, end, its)
                         : descend<Number, true, false>(block, slopes, row, begin, end, its);
    } else {
        slopes.entropies ? descend<Number, false, true>(block, slopes, row, begin, end, its)
                         : descend<Number, false, false>(block, slopes, row, begin, end, its);
    }
}

void descend_any(const Block& block, const Slopes& slopes, std::size_t row, std::size_t begin, std::size_t end,
                 void* out, const Steps& steps) {
    const auto run = block.kind == Kind::float32    ? descend_kind<float>
                     : block.kind == Kind::bfloat16 ? descend_kind<Bfloat16>
                                                    : descend_kind<Float16>;
    run(block, slopes, row, begin, end, out, steps);
}

}  // namespace

extern const Variant RLAIF_VARIANT;
const Variant RLAIF_VARIANT{fold_any, descend_any};

}  // namespace rlaif::logprobs
