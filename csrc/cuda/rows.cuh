// What both directions of the row kernels share: numbers of three kinds, widened to float32, and z of a logit.
#pragma once

#include <stdexcept>

#include "device.cuh"
#include "kernels.hpp"

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

namespace rlaif::cuda {

__device__ inline float widened(float x) { return x; }
__device__ inline float widened(__half x) { return __half2float(x); }
__device__ inline float widened(__nv_bfloat16 x) { return __bfloat162float(x); }

template <typename T>
__device__ inline T narrowed(float x) {
    if constexpr (sizeof(T) == 4) return x;
    else if constexpr (std::is_same_v<T, __half>) return __float2half_rn(x);
    else return __float2bfloat16_rn(x);
}

// A row is one of a grid's blocks or fewer, so 32 bits divide it, which is much faster than 64.
__device__ inline Size start_of(const Layout& layout, Size row) {
    const unsigned number = unsigned(row), group = unsigned(layout.group);
    return Size(number / group) * layout.far + Size(number % group) * layout.near;
}

// What a thread takes in at a time, and how many numbers that are.
template <typename T>
inline constexpr int PACK = 16 / sizeof(T);
template <typename T>
using Pack = Run<T, PACK<T>>;

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
void for_numbers(Number number, bool capped, Task task) {
    const auto with = [&](auto type) {
        if (capped) task(type, std::true_type{});
        else task(type, std::false_type{});
    };
    if (number == Number::f32) with(float{});
    else if (number == Number::bf16) with(__nv_bfloat16{});
    else if (number == Number::f16) with(__half{});
    else throw std::invalid_argument("logits are float32, bfloat16 or float16");
}

}  // namespace rlaif::cuda
