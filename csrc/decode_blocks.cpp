// The arithmetic of decode.hpp, compiled once for each of the variants in variants.hpp.
//
// Every number of a row is computed by the same operations in the same order, whatever the other rows are, however many
// there are and however many threads share the work.
#include "decode.hpp"
#include "vectors.hpp"

namespace rlaif::decode {
namespace {

inline Vector silu(Vector x) {
    const Vector capped = x < -88.0f ? all(-88.0f) : x;
    return x / (1.0f + exponential(-capped));
}

// The first column of a panel; of paired panels, the column of the part that they belong to.
inline std::size_t column_of(const Linear& linear, std::size_t panel) {
    return (linear.paired ? panel / 2 : panel) * lanes;
}

// The sums of `Rows` rows with `Panels` neighbouring panels.
template <std::size_t Rows, std::size_t Panels>
inline void multiply(const Linear& linear, const float* x, std::size_t apart, std::size_t panel,
                     Vector (&sums)[Rows][Panels]) {
    const float* weight = linear.weight + panel * linear.in * lanes;
    for (std::size_t p = 0; p < Panels; ++p) {
        const Vector start = linear.bias ? load(linear.bias + (panel + p) * lanes) : Vector{};
        for (std::size_t row = 0; row < Rows; ++row) sums[row][p] = start;
    }
    for (std::size_t k = 0; k < linear.in; ++k) {
        Vector column[Panels];
        for (std::size_t p = 0; p < Panels; ++p) {
            column[p] = load(weight + (p * linear.in + k) * lanes);
            __builtin_prefetch(weight + (p * linear.in + k + Panels * linear.in) * lanes, 0, 2);
        }
        for (std::size_t row = 0; row < Rows; ++row) {
            for (std::size_t p = 0; p < Panels; ++p) sums[row][p] += x[row * apart + k] * column[p];
        }
    }
}

struct Result {
    float* to;
    std::size_t apart;
    bool added;  // to what is there
};

template <std::size_t Rows, std::size_t Panels>
inline void tile(const Linear& linear, const float* x, std::size_t apart, std::size_t panel, const Result& result) {
    Vector sums[Rows][Panels];
    multiply<Rows, Panels>(linear, x, apart, panel, sums);
    for (std::size_t row = 0; row < Rows; ++row) {
        float* line = result.to + row * result.apart;
        if constexpr (Panels == 2) {
            if (linear.paired) {  // a result's rows are whole vectors apart, so that this one may reach beyond its end
                store(line + column_of(linear, panel), silu(sums[row][0]) * sums[row][1]);
                continue;
            }
        }
        for (std::size_t p = 0; p < Panels; ++p) {
            const std::size_t column = column_of(linear, panel + p);
            float* to = line + column;
            if (column + lanes <= linear.out) {
                store(to, result.added ? load(to) + sums[row][p] : sums[row][p]);
            } else {
                for (std::size_t lane = 0; column + lane < linear.out; ++lane) {
                    to[lane] = result.added ? to[lane] + sums[row][p][lane] : sums[row][p][lane];
                }
            }
        }
    }
}

template <std::size_t Panels>
inline void rows_of_panels(const Linear& linear, const float* x, std::size_t apart, std::size_t rows, std::size_t panel,
                           const Result& result) {
    constexpr std::size_t many = lanes == 16 ? 8 : 4;  // as many sums as there are registers for
    std::size_t row = 0;
    const auto at = [&](std::size_t here) { return Result{result.to + here * result.apart, result.apart, result.added}; };
    for (; row + many <= rows; row += many) tile<many, Panels>(linear, x + row * apart, apart, panel, at(row));
    if constexpr (many == 8) {
        if (row + 4 <= rows) tile<4, Panels>(linear, x + row * apart, apart, panel, at(row)), row += 4;
    }
    if (row + 2 <= rows) tile<2, Panels>(linear, x + row * apart, apart, panel, at(row)), row += 2;
    if (row < rows) tile<1, Panels>(linear, x + row * apart, apart, panel, at(row));
}

// A member's share of x @ weight.T + bias. Panels are shared out, so each weight is read by one member alone.
void product(const Linear& linear, const float* x, std::size_t apart, std::size_t rows, const Result& result,
             const Member& member) {
    constexpr std::size_t most = 3;
    const std::size_t unit = linear.paired ? 2 : 1, units = panels(linear, lanes) / unit;
    std::size_t panel = units * member.number / member.of * unit;
    const std::size_t end = units * (member.number + 1) / member.of * unit;
    if (!linear.paired) {
        for (; panel + most <= end; panel += most) rows_of_panels<most>(linear, x, apart, rows, panel, result);
    }
    for (; panel + 2 <= end; panel += 2) rows_of_panels<2>(linear, x, apart, rows, panel, result);
    if (panel < end) rows_of_panels<1>(linear, x, apart, rows, panel, result);
}

// to = x / sqrt(mean(x^2) + epsilon) * gain (Zhang & Sennrich 2019, arXiv:1910.07467)
inline void normalise(const float* x, const float* gain, std::size_t size, float epsilon, float* to) {
    Vector squares{};
    std::size_t at = 0;
    for (; at + lanes <= size; at += lanes) squares += load(x + at) * load(x + at);
    float total = sum(squares);
    for (std::size_t rest = at; rest < size; ++rest) total += x[rest] * x[rest];
    const float scale = 1.0f / __builtin_sqrtf(total / float(size) + epsilon);
    for (at = 0; at + lanes <= size; at += lanes) store(to + at, load(x + at) * scale * load(gain + at));
    for (; at < size; ++at) to[at] = x[at] * scale * gain[at];
}

// Rotary position embedding of one head, in place (Su et al. 2021, arXiv:2104.09864; halves, not neighbours, as pairs).
inline void rotate(float* head, const float* cosines, const float* sines, std::size_t rotary) {
    const std::size_t half = rotary / 2;
    for (std::size_t i = 0; i < half; ++i) {
        const float left = head[i], right = head[i + half];
        head[i] = left * cosines[i] - right * sines[i];
        head[i + half] = right * cosines[i + half] + left * sines[i + half];
    }
}

inline float* keys_of(const Stack& its, const Block& block, std::size_t row, std::size_t group) {
    return block.keys + (row * its.groups + group) * its.room * its.width;
}

inline float* values_of(const Stack& its, const Block& block, std::size_t row, std::size_t group) {
    return block.values + (row * its.groups + group) * its.room * its.wide;
}

inline void put(const Stack& its, float* keys, float* values, std::size_t at, const float* key, const float* value) {
    float* column = keys + at / lanes * lanes * its.width + at % lanes;
    for (std::size_t i = 0; i < its.width; ++i) column[i * lanes] = key[i];
    float* place = values + at * its.wide;
    for (std::size_t i = 0; i < its.width; ++i) place[i] = value[i];
}

// The weighted sum of some channels of `count` values, times `scale`.
template <std::size_t Vectors>
inline void average(const float* values, std::size_t apart, const float* weights, std::size_t count, float scale,
                    float* to) {
    Vector sums[Vectors] = {};
    for (std::size_t at = 0; at < count; ++at) {
        for (std::size_t v = 0; v < Vectors; ++v) sums[v] += weights[at] * load(values + at * apart + v * lanes);
    }
    for (std::size_t v = 0; v < Vectors; ++v) store(to + v * lanes, sums[v] * scale);
}

// Softmax attention of one head over a row's first `count` tokens; `weights` is scratch for as many.
void attend(const Stack& its, const float* query, const float* keys, const float* values, std::size_t count,
            float* weights, float* to) {
    const std::size_t blocks = (count + lanes - 1) / lanes;
    float most = -__builtin_inff();
    for (std::size_t b = 0; b < blocks; ++b) {
        const float* key = keys + b * lanes * its.width;
        Vector first{}, second{}, third{}, fourth{};  // several sums, for each addition waits for the one before it
        std::size_t i = 0;
        for (; i + 4 <= its.width; i += 4) {
            first += query[i] * load(key + i * lanes);
            second += query[i + 1] * load(key + (i + 1) * lanes);
            third += query[i + 2] * load(key + (i + 2) * lanes);
            fourth += query[i + 3] * load(key + (i + 3) * lanes);
        }
        for (; i < its.width; ++i) first += query[i] * load(key + i * lanes);
        const Vector score = ((first + second) + (third + fourth)) * its.scaling;
        store(weights + b * lanes, score);
        for (std::size_t lane = 0; lane < smaller(lanes, count - b * lanes); ++lane) {
            most = score[lane] > most ? score[lane] : most;
        }
    }
    Vector total{};
    for (std::size_t b = 0; b < blocks; ++b) {
        store(weights + b * lanes, exponential(load(weights + b * lanes) - most));
        for (std::size_t at = count; at < (b + 1) * lanes; ++at) weights[at] = 0.0f;  // behind the last token
        total += load(weights + b * lanes);
    }
    const float scale = 1.0f / sum(total);
    std::size_t i = 0;
    for (; i + 4 * lanes <= its.wide; i += 4 * lanes) average<4>(values + i, its.wide, weights, count, scale, to + i);
    for (; i < its.wide; i += lanes) average<1>(values + i, its.wide, weights, count, scale, to + i);
}

// A member's share of a block's attention: for some rows and groups, the new token enters the cache and looks back.
void attention(const Stack& its, const Block& block, const Step& step, const Member& member) {
    const std::size_t units = its.rows * its.groups, share = its.heads / its.groups;
    float *query = member.scratch, *result = query + its.wide, *weights = result + its.wide;
    for (std::size_t unit = units * member.number / member.of; unit < units * (member.number + 1) / member.of; ++unit) {
        const std::size_t row = unit / its.groups, group = unit % its.groups, at = its.lengths[row];
        const float *cosines = step.cosines + row * its.rotary, *sines = step.sines + row * its.rotary;
        float* queries = its.qkv + row * stride((its.heads + 2 * its.groups) * its.width);
        float* key = queries + (its.heads + group) * its.width;
        const float* value = key + its.groups * its.width;
        float *keys = keys_of(its, block, row, group), *values = values_of(its, block, row, group);
        if (block.key) normalise(key, block.key, its.width, its.epsilon, key);
        rotate(key, cosines, sines, its.rotary);
        put(its, keys, values, at, key, value);
        for (std::size_t head = group * share; head < (group + 1) * share; ++head) {
            for (std::size_t i = 0; i < its.width; ++i) query[i] = queries[head * its.width + i];
            if (block.query) normalise(query, block.query, its.width, its.epsilon, query);
            rotate(query, cosines, sines, its.rotary);
            attend(its, query, keys, values, at + 1, weights, result);
            float* to = its.attended + row * stride(its.heads * its.width) + head * its.width;
            for (std::size_t i = 0; i < its.width; ++i) to[i] = result[i];
        }
    }
}

void arrange(const Linear& linear, const Part* parts, std::size_t count) {
    for (std::size_t panel = 0; panel < panels(linear, lanes); ++panel) {
        float* to = linear.weight + panel * linear.in * lanes;
        for (std::size_t lane = 0; lane < lanes; ++lane) {
            std::size_t part = linear.paired ? panel % 2 : 0, column = column_of(linear, panel) + lane;
            while (!linear.paired && part < count && column >= parts[part].out) column -= parts[part++].out;
            const bool real = part < count && column < parts[part].out;  // else it only fills the last panel
            const float* from = real ? parts[part].weight + column * linear.in : nullptr;
            for (std::size_t k = 0; k < linear.in; ++k) to[k * lanes + lane] = real ? from[k] : 0.0f;
            if (!linear.bias) continue;
            linear.bias[panel * lanes + lane] = real && parts[part].bias ? parts[part].bias[column] : 0.0f;
        }
    }
}

void remember(const Stack& its, const Block& block, std::size_t row, const float* keys, const float* values,
              std::size_t apart, std::size_t count) {
    for (std::size_t group = 0; group < its.groups; ++group) {
        for (std::size_t at = 0; at < count; ++at) {
            const std::size_t from = (group * apart + at) * its.width;
            put(its, keys_of(its, block, row, group), values_of(its, block, row, group), at, keys + from, values + from);
        }
    }
}

void step(const Stack& its, const Step& given, const Member& member) {
    const std::size_t hidden = stride(its.hidden);
    float* normed = member.scratch;  // each member's own copy, so that nobody waits for it
    const auto normed_by = [&](const float* gain) {
        for (std::size_t row = 0; row < its.rows; ++row) {
            normalise(its.x + row * hidden, gain, its.hidden, its.epsilon, normed + row * hidden);
        }
        return normed;
    };
    for (std::size_t row = member.number; row < its.rows; row += member.of) {
        for (std::size_t i = 0; i < its.hidden; ++i) its.x[row * hidden + i] = given.x[row * its.hidden + i];
    }
    member.wait(member);
    for (std::size_t layer = 0; layer < its.layers; ++layer) {
        const Block& block = its.blocks[layer];
        const Result qkv{its.qkv, stride(block.qkv.out), false}, residual{its.x, hidden, true};
        product(block.qkv, normed_by(block.before), hidden, its.rows, qkv, member);
        member.wait(member);
        attention(its, block, given, member);
        member.wait(member);
        product(block.projection, its.attended, stride(block.projection.in), its.rows, residual, member);
        member.wait(member);
        const Result between{its.between, stride(its.inner), false};
        product(block.gate_up, normed_by(block.between), hidden, its.rows, between, member);
        member.wait(member);
        product(block.down, its.between, stride(its.inner), its.rows, residual, member);
        member.wait(member);
    }
    product(its.head, normed_by(its.last), hidden, its.rows, Result{given.logits, its.vocabulary, false}, member);
}

}  // namespace

extern const Variant RLAIF_VARIANT;
const Variant RLAIF_VARIANT{lanes, arrange, remember, step};

}  // namespace rlaif::decode
