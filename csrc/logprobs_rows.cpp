// The arithmetic of logprobs.hpp, compiled once for each of the variants in variants.hpp.
//
// A piece of a row is computed by the same operations in the same order wherever it lies and whatever the others are.
#include "logprobs.hpp"
#include "vectors.hpp"

namespace rlaif::logprobs {
namespace {

constexpr std::size_t tile = 512 * lanes;  // columns that are summed before anything is added to what is large already
constexpr float nothing = -200.0f;        // 2 to this is 0, and 0 times it is no NaN, as it would be with -inf

// How y is found of a logit.
enum class Form {
    difference,  // outer * (logit - shift) - less: exact where the logit lies near the shift
    fused,       // outer * logit - product: an operation less, but off by what the product was rounded by, the same for all
    capped       // outer * tanh(inner * logit) - shift - less
};
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
constexpr Form plain = Form::fused;
#else
constexpr Form plain = Form::difference;  // for where each product is rounded, each is off by another amount
#endif

// A row, a vector at a time, as y = z / log 2 less a shift and what else is to be taken off; behind its end there is -inf,
// which has no probability. The shift is a logit, or where there is a cap a z / log 2.
template <typename Number, Form form>
struct Row {
    const Number* logits;
    std::size_t size;
    float inner, outer, shift = 0.0f, less = 0.0f, product = 0.0f;

    Row(const Block& block, std::size_t row)
        : logits(static_cast<const Number*>(block.logits) + block.steps(row)), size(block.width) {
        const double temperature = block.temperatures ? double(block.temperatures[row]) : block.temperature;
        inner = form == Form::capped ? float(block.scale / block.cap) : float(block.scale);
        outer = float((form == Form::capped ? block.cap : block.scale) / temperature * 1.4426950408889634);
    }

    void look_from(float from, float taken = 0.0f) { shift = from, less = taken, product = from * outer + taken; }
    // y where the logit is the shift, as it is computed.
    float ground() const { return form == Form::fused ? __builtin_fmaf(shift, outer, -product) : -less; }
    bool able() const {  // whether the product is rounded by little
        const float lack = ground() + less;
        return form != Form::fused || (lack > -0.001f && lack < 0.001f);
    }
    Vector below(Vector logit) const {
        if (form == Form::fused) return logit * outer - product;
        if (form == Form::capped) return tanh(logit * inner) * outer - shift - less;
        return (logit - shift) * outer - less;
    }
    float unit() const { return form == Form::capped ? 1.0f : outer; }  // by how much y falls where the shift grows by 1
    Vector part(std::size_t at, std::size_t end) const { return load_part(logits + at, end - at); }  // at most a vector
    Vector below(std::size_t at, std::size_t end) const {
        Vector y = below(part(at, end));
        for (std::size_t lane = 0; lane < lanes; ++lane) y[lane] = at + lane < end ? y[lane] : -__builtin_inff();
        return y;
    }
    // The shift that makes the largest y 0; no NaN. It is not asked often enough to stand in each place.
    __attribute__((noinline)) float most(std::size_t begin, std::size_t end) const {
        const float sign = unit() < 0.0f ? -1.0f : 1.0f;
        const auto height = [&](Vector logit) {
            return form == Form::capped ? tanh(logit * inner) * outer : logit * sign;
        };
        const Vector none = all(-__builtin_inff());
        Vector found[4] = {none, none, none, none};
        std::size_t at = begin;
        for (; at + 4 * lanes <= end; at += 4 * lanes) {
            for (std::size_t way = 0; way < 4; ++way) {
                found[way] = larger(found[way], height(load(logits + at + way * lanes)));
            }
        }
        for (; at < end; at += lanes) {
            const Vector rest = height(part(at, end));
            for (std::size_t lane = 0; lane < lanes && at + lane < end; ++lane) {
                if (rest[lane] > found[0][lane]) found[0][lane] = rest[lane];
            }
        }
        return sign * largest(larger(larger(found[0], found[1]), larger(found[2], found[3])));
    }
};

// Sums over a tile, of 2^y and of 2^y y, with a shift that may not fit it.
struct Sums {
    float mass, moment;
};

// Without `careful`, an infinite y makes the moment a NaN.
template <bool entropy, bool careful, typename Its>
Sums summed(const Its& row, std::size_t begin, std::size_t end) {
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
            take(row.below(logits.first), way);
            take(row.below(logits.second), way + 1);
        }
    }
    for (std::size_t way = 0; at < end; at += lanes, ++way) take(at_least(nothing, row.below(at, end)), way);
    return {sum((mass[0] + mass[1]) + (mass[2] + mass[3])), sum((moment[0] + moment[1]) + (moment[2] + moment[3]))};
}

// The sums over a row so far, in double precision.
template <typename Its>
struct Total {
    Its& row;
    double unit, mass = 0.0, moment = 0.0;
    double top = 1.0, beside = 0.0;  // where the logit is the shift, 2^y and 2^y y as they are computed

    Total(Its& row, float shift) : row(row), unit(double(row.unit())) { look_from(shift); }

    void look_from(float shift) {
        row.look_from(shift);
        const float ground = row.ground(), power = power_of_two(all(ground))[0], product = power * ground;
        top = power, beside = product;
    }
    // As if both were what they should be, 1 and 0: what weighs most then weighs 1 to the bit, and little entropy is kept.
    void add(const Sums& sums) {
        const double times = double(sums.mass) / top;
        mass += times;
        moment += (double(sums.moment) - times * beside) / top;
    }
    void move(float to) {
        const double by = (double(row.shift) - double(to)) * unit;
        look_from(to);
        if (mass == 0.0) return;  // what 2^by, which may be infinite, does not change
        const double share = __builtin_exp2(by);
        moment = share * (moment + by * mass);
        mass *= share;
    }
};

template <bool entropy, typename Its>
State fold(Its& row, std::size_t begin, std::size_t end) {
    constexpr float infinite = __builtin_inff();
    constexpr float many = 4.0f * tile, few = 0x1p-100f;
    const float guess = row.most(begin, smaller(begin + 8 * lanes, end));
    constexpr State unknown{0.0f, unmet, 0.0f, unmet};
    Total<Its> total(row, guess > -infinite && guess < infinite ? guess : 0.0f);
    bool careful = false;  // from the first infinite y on
    for (std::size_t start = begin; start < end; start += tile) {
        const std::size_t stop = smaller(start + tile, end);
        const auto sums_of = [&] {
            return careful ? summed<entropy, true>(row, start, stop) : summed<entropy, false>(row, start, stop);
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
                return unknown;  // an infinite z
            }
        }
        if (!row.able()) return unknown;
        total.add(sums);
        // Stay near what weighs most, so that little cancels in the entropy.
        if (sums.mass > 64.0f) total.move(row.shift + float(power_in(sums.mass)) / row.unit());
    }
    return {row.shift, float(total.mass), float(total.moment), unmet};
}

// d logp / dz_j = [j is the target] - p_j and d entropy / dz_j = -p_j (log p_j + entropy)
template <typename Number, Form form, bool entropy>
void descend(const Block& block, const Slopes& slopes, std::size_t number, std::size_t begin, std::size_t end,
             Number* out) {
    constexpr bool capped = form == Form::capped;
    Row<Number, form> row(block, number);
    const float of_logprob = slopes.logprobs ? slopes.logprobs[number] : 0.0f;
    const float of_entropy = entropy && slopes.entropies ? slopes.entropies[number] : 0.0f;
    const float spread = entropy && slopes.entropies ? slopes.spread[number] : 0.0f;
    constexpr float log_of_2 = 0.693147181f;
    const float temperature = block.temperatures ? block.temperatures[number] : float(block.temperature);
    const float factor = float(block.scale) / temperature;  // dz / d logit, where the cap does not bend
    const float constant = -(of_logprob + of_entropy * spread) * factor, linear = -of_entropy * log_of_2 * factor;
    const auto slope = [&](Vector logit, Vector logp, float linear, float constant) {
        logp = at_least(nothing, logp);
        const Vector p = power_of_two(logp);
        Vector value = entropy ? p * (logp * linear + constant) : p * constant;
        if (capped) {
            const Vector bent = tanh(logit * row.inner);
            value *= 1.0f - bent * bent;
        }
        return value;
    };
    const float shift = slopes.shifts[number], log = slopes.logs[number];
    const std::int64_t target = block.targets[number] - block.first;
    const bool here = target >= std::int64_t(begin) && target < std::int64_t(end);
    Number chosen[lanes];  // the target's, found before it may be written over, and as exactly as may be
    if (here) {
        Row<Number, capped ? form : Form::difference> exact(block, number);
        exact.look_from(shift, log);
        const Vector logit = exact.part(std::size_t(target), std::size_t(target) + 1);
        const Vector bent = capped ? tanh(logit * row.inner) : Vector{};
        store(chosen, slope(logit, exact.below(logit), linear, constant) + of_logprob * factor * (1.0f - bent * bent));
    }
    row.look_from(shift, log);
    // What log2 p is too small by, and p too, as a factor.
    const float lack = -log - row.ground();
    const float share = power_of_two(all(-log))[0] / power_of_two(all(row.ground()))[0];
    const float a = linear * share, b = (constant + lack * linear) * share;
    const auto its = [&](Vector logit) { return slope(logit, row.below(logit), a, b); };
    std::size_t at = begin;
    for (; at + 2 * lanes <= end; at += 2 * lanes) {
        const Pair logits = load_pair(row.logits + at);
        store_pair(out + at, {its(logits.first), its(logits.second)});
    }
    for (; at < end; at += lanes) store_part(out + at, its(row.part(at, end)), end - at);
    if (here) out[target] = chosen[0];
}

// The function for the kind of numbers, whether there is a cap and whether entropies matter.
template <typename Number>
State fold_kind(const Block& block, std::size_t row, std::size_t begin, std::size_t end, bool entropy) {
    const auto of = [&](auto its) { return entropy ? fold<true>(its, begin, end) : fold<false>(its, begin, end); };
    const std::int64_t target = block.targets[row] - block.first;
    const auto with = [&](State state, auto its) {
        if (target >= std::int64_t(begin) && target < std::int64_t(end)) {
            its.look_from(state.shift);
            state.chosen = its.below(std::size_t(target), std::size_t(target) + 1)[0];
        }
        return state;
    };
    using Capped = Row<Number, Form::capped>;
    using Exact = Row<Number, Form::difference>;
    if (block.cap > 0.0) return with(of(Capped(block, row)), Capped(block, row));
    State state = of(Row<Number, plain>(block, row));
    if (plain != Form::difference && state.mass != state.mass) state = of(Exact(block, row));
    return with(state, Exact(block, row));
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
        slopes.entropies ? descend<Number, Form::capped, true>(block, slopes, row, begin, end, its)
                         : descend<Number, Form::capped, false>(block, slopes, row, begin, end, its);
    } else if (Row<Number, plain> seen(block, row); seen.look_from(slopes.shifts[row], slopes.logs[row]), seen.able()) {
        slopes.entropies ? descend<Number, plain, true>(block, slopes, row, begin, end, its)
                         : descend<Number, plain, false>(block, slopes, row, begin, end, its);
    } else {  // so rare that one copy of it does for both
        descend<Number, Form::difference, true>(block, slopes, row, begin, end, its);
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
