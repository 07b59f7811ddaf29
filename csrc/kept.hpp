// Products of hidden states with a few rows of a matrix each, and their gradients: what log-probs over the tokens that a
// sampler kept are made of. kept_rows.cpp computes, once for each of the variants in variants.hpp.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kinds.hpp"

namespace rlaif::kept {

// ids[n][k] chooses a row of `weight` for hidden state n; below 0: none.
struct Choice {
    const void *hidden, *weight;  // [rows, width], [vocabulary, width]
    Kind kind;
    std::size_t rows, width, many;
    const std::int64_t* ids;  // [rows, many]
};

struct Variant {
    // products[n][k] = hidden[n] . weight[ids[n][k]], 0 where there is none, for rows [first, end).
    void (*products)(const Choice& choice, std::size_t first, std::size_t end, float* products);
    // of_hidden[n] = sum over k of slopes[n][k] weight[ids[n][k]].
    void (*of_hidden)(const Choice& choice, const float* slopes, std::size_t first, std::size_t end, float* of_hidden);
    // of_weight[v] += sum over all n and k with ids[n][k] = v of slopes[n][k] hidden[n], in their order; for those v that
    // leave `share` when divided by `of`.
    void (*of_weight)(const Choice& choice, const float* slopes, std::size_t share, std::size_t of, float* of_weight);
};

}  // namespace rlaif::kept
