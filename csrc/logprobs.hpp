// Log-probabilities and entropies of rows of logits, and their gradient; kernels/rlaif_kernels/reference.py defines them.
//
// logprobs_rows.cpp computes, once for each of the variants in variants.hpp; logprobs.cpp is the Python side.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rlaif::logprobs {

// z = cap * tanh(scale * logit / cap) / temperature, or scale * logit / temperature where cap is 0.
struct Rows {
    const float* logits;  // [rows, vocabulary], rows `stride` floats apart
    std::size_t stride, rows, vocabulary;
    const std::int64_t* targets;  // [rows], each in [0, vocabulary) or `ignored`
    std::int64_t ignored;
    const float* temperatures;  // [rows], or null: `temperature` for all
    float temperature, scale, cap;
};

// What the forward pass gives: log-probs, entropies and, for the backward pass, the row's largest z and the logarithm
// of the sum of exp(z - largest). [rows] each; entropies may be null. 0 where the target is ignored.
struct Results {
    float *logprobs, *entropies, *largest, *logsums;
};

// What the backward pass reads beside the results; either gradient may be null. gradient [rows, vocabulary] is written.
struct Slopes {
    const float *logprobs, *entropies;
    float* gradient;
};

struct Variant {
    void (*forward)(const Rows& rows, const Results& results, std::size_t first, std::size_t end);
    void (*backward)(const Rows& rows, const Results& results, const Slopes& slopes, std::size_t first, std::size_t end);
};

}  // namespace rlaif::logprobs
