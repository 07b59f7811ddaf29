// What both directions of the row kernels share: where a row begins, and z of a logit.
#pragma once

#include "numbers.cuh"

namespace rlaif::cuda {

// A row is one of a grid's blocks or fewer, so 32 bits divide it, which is much faster than 64.
__device__ inline Size start_of(const Layout& layout, Size row) {
    const unsigned number = unsigned(row), group = unsigned(layout.group);
    return Size(number / group) * layout.far + Size(number % group) * layout.near;
}

constexpr float LOG2_E = 1.4426950408889634f;

// z of a logit, and dz / d logit.
template <bool CAPPED>
struct Transform {
    float inner, outer;  // z = outer * logit, or outer * tanh(inner * logit)

    __device__ Transform(const Asked& asked, Size row) {
        const float temperature = asked.temperatures ? asked.temperatures[row] : asked.temperature;
        inner = CAPPED ? asked.scale / asked.cap : 1.0f;
        outer = (CAPPED ? asked.cap : asked.scale) / temperature;
    }
    // Rounded, not left to be fused with what z is subtracted from: the largest z is then exactly 0 below itself.
    __device__ float z(float logit) const { return __fmul_rn(outer, CAPPED ? tanhf(inner * logit) : logit); }
    __device__ float slope(float z) const {
        if (!CAPPED) return outer;
        const float bent = z / outer;
        return (1.0f - bent * bent) * (inner * outer);
    }
};

// Runs `task` with the type of the logits and whether they are capped.
template <typename Task>
void for_logits(Number number, bool capped, Task task) {
    for_numbers(number, [&](auto type) {
        if (capped) task(type, std::true_type{});
        else task(type, std::false_type{});
    });
}

}  // namespace rlaif::cuda
