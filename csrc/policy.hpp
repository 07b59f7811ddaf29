// Policy-gradient losses by token, their gradient and what is measured of them; kernels/rlaif_kernels/reference/losses.py
// defines them. policy_rows.cpp computes, once for each of the variants in variants.hpp; policy.cpp shares out the rows.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rlaif::policy {

enum class Estimator : int { k1, k2, k3 };
enum class Aggregation : int { token_mean, sequence_mean, sequence_sum, constant, given };

struct Batch {
    std::size_t rows, steps;
    const float *logp, *old, *advantages;                    // [rows, steps]
    const float *weights, *shares;                           // of each token [rows, steps]; or if null, of each row's [rows]
    const bool* mask;                                        // [rows, steps]: nothing else is read where it is false
    const float *reference, *entropy, *correction;           // [rows, steps], or null
    bool constant_ratio, sequence;                           // CISPO: the ratio is a factor; GSPO: one ratio a row
    float least, most, dual;                                 // the ratio's bounds, infinite for none
    float kl, entropy_weight;
    Estimator kl_value, kl_gradient;
    float *of_logp, *of_entropy;                             // [rows, steps], written: the gradient; null: not wanted
};

// Sums over the unmasked tokens of a row.
struct Sums {
    double loss, below, above, floored, ratio, most, drift, entropy, distance, tokens;
};

struct Variant {
    Sums (*row)(const Batch& batch, std::size_t row);
};

}  // namespace rlaif::policy
