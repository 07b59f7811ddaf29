// What the kernels are written in: neighbours moved sixteen bytes at a time, values that travel between lanes, and
// reductions over a block in a fixed order.
#pragma once

#include <cstdint>
#include <cstring>
#include <math.h>
#include <type_traits>

#ifdef __CUDACC__
#include <cuda_runtime.h>
#else
#include "emulator.hpp"  // the tests compile these very files for the CPU
#endif

namespace rlaif::cuda {

inline constexpr int LANES = 32, MOST_WARPS = 8, THREADS = LANES * MOST_WARPS;  // THREADS: the most in a block
inline constexpr unsigned EVERY_LANE = 0xffffffffu;

__device__ inline int lane() { return threadIdx.x % LANES; }
__device__ inline int warp() { return threadIdx.x / LANES; }
__device__ inline int warps() { return blockDim.x / LANES; }

// N neighbours in as few words as there can be, by intrinsics, which the compiler does not take apart; one by one where
// they are not aligned, or fewer than N are `there`. A thread has the same neighbours either way, and so the same sums.
template <typename T, int N>
struct Run {
    static constexpr int BYTES = N * sizeof(T);
    using Word = std::conditional_t<BYTES % 16 == 0, uint4, std::conditional_t<BYTES == 8, uint2, std::uint32_t>>;
    static constexpr int WORDS = BYTES / sizeof(Word);
    static_assert(BYTES % sizeof(Word) == 0, "whole words");
    T at[N];

    static __host__ __device__ bool is_aligned(const T* address) {
        return reinterpret_cast<std::uintptr_t>(address) % sizeof(Word) == 0;
    }
    // All of them, aligned.
    __device__ void load_whole(const T* from) {
        Word words[WORDS];
#pragma unroll
        for (int i = 0; i < WORDS; ++i) words[i] = __ldca(reinterpret_cast<const Word*>(from) + i);
        memcpy(at, words, BYTES);
    }
    __device__ void load(const T* from, std::int64_t there) {
        if (there >= N && is_aligned(from)) {
            load_whole(from);
        } else {
#pragma unroll
            for (int i = 0; i < N; ++i) at[i] = i < there ? from[i] : T{};
        }
    }
    __device__ void store(T* to, std::int64_t there) const {
        if (there >= N && is_aligned(to)) {
#pragma unroll
            for (int i = 0; i < WORDS; ++i) {
                Word word;
                memcpy(&word, &at[i * (N / WORDS)], sizeof(Word));
                __stcg(reinterpret_cast<Word*>(to) + i, word);
            }
        } else {
#pragma unroll
            for (int i = 0; i < N; ++i) {
                if (i < there) to[i] = at[i];
            }
        }
    }
};

// A value of any plain type as words of 32 bits, each sent through `send`.
template <typename Value, typename Send>
__device__ inline Value sent(const Value& value, Send send) {
    constexpr int words = (sizeof(Value) + 3) / 4;
    static_assert(sizeof(Value) % 4 == 0, "whole words");
    std::uint32_t word[words];
    memcpy(word, &value, sizeof(Value));
#pragma unroll
    for (int at = 0; at < words; ++at) word[at] = send(word[at]);
    Value result;
    memcpy(&result, word, sizeof(Value));
    return result;
}

template <typename Value>
__device__ inline Value from_partner(const Value& value, int bit) {
    return sent(value, [bit](std::uint32_t word) { return __shfl_xor_sync(EVERY_LANE, word, bit); });
}
// The value of the lane `by` further on; beyond the last lane, one's own.
template <typename Value>
__device__ inline Value from_later(const Value& value, int by) {
    return sent(value, [by](std::uint32_t word) { return __shfl_down_sync(EVERY_LANE, word, by); });
}

// All threads' values in one, the same in every thread: lanes in a butterfly, then the warps one after the other. The
// order is fixed, so the result is. `merge` must be commutative to the last bit, as + and max are.
template <typename Value, typename Merge>
__device__ inline Value over_block(Value value, Merge merge) {
    __shared__ Value of_warps[MOST_WARPS];
#pragma unroll
    for (int bit = LANES / 2; bit > 0; bit /= 2) value = merge(value, from_partner(value, bit));
    __syncthreads();  // until nobody reads what the call before this one put there
    if (lane() == 0) of_warps[warp()] = value;
    __syncthreads();
    Value all = of_warps[0];
    for (int other = 1; other < warps(); ++other) all = merge(all, of_warps[other]);
    return all;
}

template <typename Real>
__device__ inline Real sum_over_block(Real value) {
    return over_block(value, [](Real one, Real other) { return one + other; });
}

}  // namespace rlaif::cuda
