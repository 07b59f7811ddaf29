// Enough of CUDA to run the kernels of csrc/cuda on a CPU, for tests: every thread of a block is a fiber of one thread.
//
// Blocks run one after the other, and a warp runs as far as it gets before the next one does: whoever completes a
// barrier is far ahead of all others behind it. Order is not part of what a kernel may count on, so it can be turned
// round, and results that then differ betray a missing barrier. A barrier that not all threads reach is an error, where
// on a device it would hang.
#pragma once

#include <math.h>
#include <setjmp.h>
#include <ucontext.h>

#include <cstdint>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __launch_bounds__(...)
#define __shared__ static  // blocks run one at a time

struct alignas(8) uint2 {
    std::uint32_t x, y;
};
struct alignas(16) uint4 {
    std::uint32_t x, y, z, w;
};

inline float __fmul_rn(float one, float other) { return one * other; }

// Loads and stores of whole words, for which a device has intrinsics; here they also see to the alignment.
template <typename Word>
inline Word __ldca(const Word* from) {
    if (reinterpret_cast<std::uintptr_t>(from) % alignof(Word)) throw std::logic_error("a load that is not aligned");
    return *from;
}
template <typename Word>
inline void __stcg(Word* to, Word word) {
    if (reinterpret_cast<std::uintptr_t>(to) % alignof(Word)) throw std::logic_error("a store that is not aligned");
    *to = word;
}

// ---- the runtime, as far as it is called ------------------------------------------------------------------------

using cudaError_t = int;
using cudaStream_t = void*;
inline constexpr cudaError_t cudaSuccess = 0;

namespace emulator {

struct Seen {  // what tests ask for, through emulator.cpp
    int device = 0, waits = 0, launches = 0, fail_after = -1;
    std::vector<std::pair<int, std::uintptr_t>> queues;  // device and stream of each launch
    bool backwards = false;
};
inline Seen seen;

}  // namespace emulator

inline cudaError_t cudaGetDevice(int* device) { return *device = emulator::seen.device, cudaSuccess; }
inline cudaError_t cudaSetDevice(int device) { return emulator::seen.device = device, cudaSuccess; }
inline cudaError_t cudaGetLastError() { return emulator::seen.fail_after == 0 ? 700 : cudaSuccess; }
inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return ++emulator::seen.waits, cudaSuccess; }
inline const char* cudaGetErrorString(cudaError_t) { return "an error that the emulator was asked for"; }

// ---- half precision, by its bits --------------------------------------------------------------------------------

struct __half {
    std::uint16_t bits;
};
struct __nv_bfloat16 {
    std::uint16_t bits;
};

namespace emulator {

inline float as_float(std::uint32_t bits) {
    float x;
    return std::memcpy(&x, &bits, 4), x;
}
inline std::uint32_t as_bits(float x) {
    std::uint32_t bits;
    return std::memcpy(&bits, &x, 4), bits;
}

}  // namespace emulator

inline float __bfloat162float(__nv_bfloat16 x) { return emulator::as_float(std::uint32_t(x.bits) << 16); }
inline __nv_bfloat16 __float2bfloat16_rn(float x) {
    const std::uint32_t bits = emulator::as_bits(x);
    if (x != x) return {0x7fff};
    return {std::uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};  // to the nearest, ties to even
}
inline float __half2float(__half x) {
    const std::uint32_t sign = std::uint32_t(x.bits & 0x8000) << 16, exponent = x.bits >> 10 & 31, rest = x.bits & 1023;
    if (exponent == 31) return emulator::as_float(sign | 0x7f800000 | rest << 13);
    if (exponent == 0) return emulator::as_float(sign | emulator::as_bits(ldexpf(float(rest), -24)));
    return emulator::as_float(sign | (exponent + 112) << 23 | rest << 13);
}
inline __half __float2half_rn(float x) {
    const std::uint32_t bits = emulator::as_bits(x), sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
    if (size > 0x7f800000) return {0x7fff};
    if (size >= 0x477ff000) return {std::uint16_t(sign | 0x7c00)};  // from 65520 on: infinite
    if (size < 0x38800000) {                                        // below 2^-14: a multiple of 2^-24
        return {std::uint16_t(sign | std::uint32_t(nearbyintf(ldexpf(emulator::as_float(size), 24))))};
    }
    const std::uint32_t moved = size - (112u << 23);
    return {std::uint16_t(sign | (moved + 0xfff + (moved >> 13 & 1)) >> 13)};
}

// ---- threads ----------------------------------------------------------------------------------------------------

struct Index {
    unsigned x;
};
inline Index threadIdx, blockIdx, blockDim, gridDim;

namespace emulator {

constexpr unsigned LANES = 32;

struct Barrier {
    unsigned arrived = 0, generation = 0;
};
struct Warp {
    Barrier barrier;
    std::uint32_t room[2][LANES];  // two, so that a lane that is one exchange ahead overwrites nothing
};
struct Fiber {
    std::vector<char> stack = std::vector<char>(1 << 17);
    ucontext_t start;
    jmp_buf place;
    bool begun, done;
    Barrier* waits;
    unsigned generation, exchanges;
};

class Block {
public:
    // Runs `body` once in each of `threads` fibers.
    void run(unsigned threads, const std::function<void()>& body) {
        if (threads == 0 || threads % LANES != 0) throw std::logic_error("blocks are whole warps");
        while (fibers_.size() < threads) fibers_.push_back(std::make_unique<Fiber>());
        threads_ = threads, body_ = &body, barrier_ = {}, warps_.assign(threads / LANES, {});
        for (auto& fiber : fibers_) fiber->begun = fiber->done = false, fiber->waits = nullptr, fiber->exchanges = 0;
        failure_ = nullptr;
        for (unsigned left = threads; left > 0;) {
            const unsigned before = moves_, warps = threads / LANES;
            for (unsigned turn = 0; turn < warps; ++turn) left -= run_warp(seen.backwards ? warps - 1 - turn : turn);
            if (moves_ == before) throw std::logic_error("a barrier that some threads of the block did not reach");
        }
    }

    void sync() { wait(barrier_, threads_); }

    // What lane `source` passes to the same call; every lane of the warp must make it.
    std::uint32_t exchange(std::uint32_t word, unsigned source) {
        Warp& warp = warps_[now_ / LANES];
        std::uint32_t* room = warp.room[fibers_[now_]->exchanges++ % 2];
        room[now_ % LANES] = word;
        wait(warp.barrier, LANES);
        return room[source];
    }

private:
    // As far as it gets; how many of its threads came to their end.
    unsigned run_warp(unsigned warp) {
        unsigned ended = 0;
        for (unsigned before = moves_ - 1; before != moves_;) {
            before = moves_;
            for (unsigned turn = 0; turn < LANES; ++turn) {
                now_ = warp * LANES + (seen.backwards ? LANES - 1 - turn : turn);
                Fiber& fiber = *fibers_[now_];
                if (fiber.done || (fiber.waits && fiber.waits->generation == fiber.generation)) continue;
                resume(fiber);
                if (failure_) std::rethrow_exception(failure_);
                ++moves_, ended += fiber.done;
            }
        }
        return ended;
    }

    void wait(Barrier& barrier, unsigned all) {
        if (++barrier.arrived == all) {
            barrier.arrived = 0, ++barrier.generation;
            return;
        }
        Fiber& fiber = *fibers_[now_];
        fiber.waits = &barrier, fiber.generation = barrier.generation;
        if (_setjmp(fiber.place) == 0) _longjmp(scheduler_, 1);
    }

    // A context is made and entered once; later switches are jumps, which ask nothing of the kernel.
    void resume(Fiber& fiber) {
        threadIdx.x = now_;
        fiber.waits = nullptr;
        if (_setjmp(scheduler_) != 0) return;
        if (fiber.begun) _longjmp(fiber.place, 1);
        fiber.begun = true;
        getcontext(&fiber.start);
        fiber.start.uc_stack.ss_sp = fiber.stack.data();
        fiber.start.uc_stack.ss_size = fiber.stack.size();
        fiber.start.uc_link = nullptr;
        makecontext(&fiber.start, &enter, 0);
        setcontext(&fiber.start);
    }
    static void enter();

    std::vector<std::unique_ptr<Fiber>> fibers_;
    std::vector<Warp> warps_;
    Barrier barrier_;
    jmp_buf scheduler_;
    unsigned threads_ = 0, now_ = 0, moves_ = 0;
    const std::function<void()>* body_ = nullptr;
    std::exception_ptr failure_;
};
inline Block block;

inline void Block::enter() {
    try {
        (*block.body_)();
    } catch (...) {  // nobody is below on this stack
        block.failure_ = std::current_exception();
    }
    block.fibers_[block.now_]->done = true;
    _longjmp(block.scheduler_, 1);
}

inline void run(unsigned blocks, unsigned threads, cudaStream_t stream, const std::function<void()>& body) {
    seen.queues.emplace_back(seen.device, reinterpret_cast<std::uintptr_t>(stream));
    ++seen.launches, seen.fail_after -= seen.fail_after > 0;
    gridDim.x = blocks, blockDim.x = threads;
    for (unsigned turn = 0; turn < blocks; ++turn) {
        blockIdx.x = seen.backwards ? blocks - 1 - turn : turn;
        block.run(threads, body);
    }
}

}  // namespace emulator

inline void __syncthreads() { emulator::block.sync(); }
inline std::uint32_t __shfl_xor_sync(unsigned, std::uint32_t word, int bits) {
    return emulator::block.exchange(word, threadIdx.x % emulator::LANES ^ unsigned(bits));
}
inline std::uint32_t __shfl_down_sync(unsigned, std::uint32_t word, int by) {
    const unsigned lane = threadIdx.x % emulator::LANES, source = lane + unsigned(by);
    return emulator::block.exchange(word, source < emulator::LANES ? source : lane);
}
