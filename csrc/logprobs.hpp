// Log-probabilities and entropies of rows of logits, and their gradient; kernels/rlaif_kernels/rows.py says what of.
//
// logprobs_rows.cpp computes, once for each of the variants in variants.hpp; logprobs.cpp shares out the rows.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kinds.hpp"

namespace rlaif::logprobs {

// Where rows begin: `inner` of them `stride` numbers apart, then the next `inner`, `outer` numbers behind the first; so that
// [B, T, width] may be part of something larger.
struct Steps {
    std::size_t inner, stride, outer;

    std::size_t operator()(std::size_t row) const { return row / inner * outer + row % inner * stride; }
};

// A block of columns of rows of logits. z = cap * tanh(scale * logit / cap) / temperature, or scale * logit /
// temperature where cap is 0.
struct Block {
    void* logits;  // [rows, width] of that kind
    Kind kind;
    Steps steps;
    std::size_t rows, width;
    std::int64_t first;  // which column of the whole vocabulary the first one is
    const std::int64_t* targets;  // [rows], columns of the whole vocabulary or `ignored`
    std::int64_t ignored;
    const float* temperatures;  // [rows], or null: `temperature` for all
    double temperature, scale, cap;

    double unit(std::size_t row) const {  // by how much y falls where the shift grows by 1
        if (cap > 0.0) return 1.0;
        return scale / (temperatures ? double(temperatures[row]) : temperature) * 1.4426950408889634;
    }
};

// What is known of a row of which some columns were taken in. With y = z / log 2 less a shift that makes no 2^y infinite
// nor the largest 0: the sums of 2^y and of 2^y y, and the target's y, or `unmet`. The shift is a logit, or where there is
// a cap a z / log 2.
struct State {
    float shift, mass, moment, chosen;
};
constexpr float unmet = __builtin_nanf("");

// How a loss depends on what was said of the rows; null: not at all. [rows] each.
struct Slopes {
    const float *logprobs, *entropies;    // the gradients
    const float *shifts, *logs, *spread;  // what was said: shift, log2 of the mass, and the entropy in nats
};

struct Variant {
    // The state of columns [begin, end) of a row's block alone; without `entropy` the moment is left at 0.
    State (*fold)(const Block& block, std::size_t row, std::size_t begin, std::size_t end, bool entropy);
    // The gradient of columns [begin, end) of a row's block, into the row of `out`, which may be the logits.
    void (*descend)(const Block& block, const Slopes& slopes, std::size_t row, std::size_t begin, std::size_t end,
                    void* out, const Steps& steps);
};

}  // namespace rlaif::logprobs
