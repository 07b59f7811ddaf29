// Numbers of three kinds, all widened to float32 before anything is done with them.
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

// What a thread takes in at a time, and how many numbers that are.
template <typename T>
inline constexpr int PACK = 16 / sizeof(T);
template <typename T>
using Pack = Run<T, PACK<T>>;

// Runs `task` with a number of the type.
template <typename Task>
void for_numbers(Number number, Task task) {
    if (number == Number::f32) task(float{});
    else if (number == Number::bf16) task(__nv_bfloat16{});
    else if (number == Number::f16) task(__half{});
    else throw std::invalid_argument("the numbers of rows are float32, bfloat16 or float16");
}

}  // namespace rlaif::cuda
